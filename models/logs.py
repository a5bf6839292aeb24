"""How every process logs: one JSON object a line, or one line of text, to standard error."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from models.settings import Settings

QUIET = {
    "faust": "WARNING",
    "mode": "WARNING",
    "mode.timers": "ERROR",  # warns of every timer that was late, and under load all are
    "aiokafka": "WARNING",
    "uvicorn.access": "WARNING",
    "httpx": "WARNING",  # these two write whole addresses, and the webhook's is a secret
    "httpcore": "WARNING",
}
"""The least level that is written of others' loggers, whatever the settings' is."""

NOISY = ("aiokafka", "aiohttp", "faust", "httpx", "influxdb_client", "mode")
NOISY_PERIOD = 10.0
NOISY_LINES = 5

JOURNAL = "backbeat.journal"
"""The logger of lines about single events and alerts; whoever writes there keeps a ``Quota``."""

QUOTA_PERIOD = 60_000
QUOTA_LINES = 20

Subject = tuple[str, str]
"""What lines are about: the message and the reason; both from closed sets."""


class Quota:
    """The first 20 lines a minute of each subject; the number of the others, when it is over.

    Times are epoch ms and only ever compared, so that event loops and tests may bring their own.
    """

    def __init__(self) -> None:
        self._seen: dict[Subject, tuple[int, int]] = {}

    def admits(self, subject: Subject, now: int) -> bool:
        """Whether a line may be written; counts it if not."""
        began, lines = self._seen.get(subject, (now, 0))
        self._seen[subject] = (began, lines + 1)
        return lines < QUOTA_LINES

    def left_out(self, now: int) -> list[tuple[Subject, int]]:
        """The subjects whose minute is over, and how many of their lines were left out, if any."""
        over = [s for s, (began, _) in self._seen.items() if now - began >= QUOTA_PERIOD]
        counted = [(subject, self._seen.pop(subject)[1] - QUOTA_LINES) for subject in over]
        return [(subject, number) for subject, number in counted if number > 0]


class Unreadable:
    """Lines about records of topics that are not what they should be: a warning each, with a quota.

    Anybody may have written to a topic, and thousands of such records.
    """

    def __init__(self, log: logging.Logger, message: str) -> None:
        self._log = log
        self._message = message
        self._quota = Quota()

    def write(self, topic: str, why: Exception, **fields: object) -> None:
        """One line, if there is room for it, and the number of those that were left out."""
        now = time.time_ns() // 1_000_000
        if self._quota.admits((self._message, topic), now):
            self._log.warning(self._message, extra={"topic": topic, **fields, "error": str(why)})
        for (message, of), number in self._quota.left_out(now):
            self._log.warning("%s: %d more were not logged", message, number,
                              extra={"topic": of, "left_out": number})  # fmt: skip


class RateLimit(logging.Filter):
    """At most 5 lines in 10 s of one message of a client: without its broker it writes thousands a second.

    What was held back is said with the first line that passes again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line may pass."""
        if not record.name.startswith(NOISY):
            return True
        key = (record.name, str(record.msg)[:60])
        now = time.monotonic()
        began, lines = self._seen.get(key, (now, 0))
        if now - began >= NOISY_PERIOD:
            if lines > NOISY_LINES:
                record.msg = f"{record.msg} ({lines - NOISY_LINES} like this were held back)"
            began, lines = now, 0
        self._seen[key] = (began, lines + 1)
        return lines < NOISY_LINES


_NO_FIELDS = frozenset((*RESERVED_ATTRS, "message", "asctime", "color_message"))
"""What a record has that is not in ``extra=``; the last is uvicorn's message again, with colours."""


class JsonLine(JsonFormatter):
    """One JSON object; what is in ``extra=`` are fields of it, and ``time`` is UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """RFC 3339, in milliseconds."""
        at = datetime.fromtimestamp(record.created, UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextLine(logging.Formatter):
    """One line for people; what is in ``extra=`` stands behind the message, as ``reason=not_json``."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line, before any traceback."""
        fields = {k: v for k, v in vars(record).items() if k not in _NO_FIELDS and v is not None}
        shown = (f"{name}={_shown(value)}" for name, value in fields.items())
        return " ".join((super().formatMessage(record), *shown))


def _shown(value: object) -> str:
    text = str(value)
    bare = text and text.isprintable() and not set(' "') & set(text)
    return text if bare else json.dumps(text, ensure_ascii=False)


def logging_config(settings: Settings) -> dict[str, Any]:
    """A ``logging.config.dictConfig`` for workers and the API.

    Correlation fields (``event_id``, ``alert_id``, ``topic``, ``partition``, ``offset``) go in ``extra=``
    and come out as fields of the object.
    """
    level = settings.log_level.upper()
    formatter: dict[str, Any] = {
        "()": TextLine,
        "fmt": "%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    }
    if settings.log_format == "json":
        formatter = {
            "()": JsonLine,
            "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s",
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
            "reserved_attrs": sorted(_NO_FIELDS),
        }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "filters": {"noise": {"()": RateLimit}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["noise"],
            }
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            **{name: {"level": least} for name, least in QUIET.items()},
            # Without its own handlers, so that its lines are like all others.
            "uvicorn": {"level": level, "propagate": True},
        },
    }
