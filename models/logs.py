"""How every process logs: one JSON object a line, to standard error."""

from __future__ import annotations

import logging
import time
from typing import Any

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


def logging_config(settings: Settings) -> dict[str, Any]:
    """A ``logging.config.dictConfig`` for workers and the API.

    Correlation fields (``event_id``, ``alert_id``, ``topic``, ``partition``, ``offset``) go in ``extra=``
    and come out as fields of the object.
    """
    level = settings.log_level.upper()
    formatter: dict[str, Any] = {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"}
    if settings.log_format == "json":
        formatter = {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s",
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
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
        "loggers": {name: {"level": least} for name, least in QUIET.items()},
    }
