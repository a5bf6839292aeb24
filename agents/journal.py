"""The journal: a line for each event that did not count as sent, and for each change of an alert.

Pure code decides, counts and never logs. The journal stands around the folds, where outputs pass
anyway, and writes what can be found again by ``event_id`` or ``alert_id``. It is bounded: of each
kind and reason the first lines of a minute, then one line that says how many were left out.

An alert's line has no ``event_id``: rules look at windows, and sums do not remember their events.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from models.decoding import event_id_of
from models.flow import Batch, Counters, Fold, Output, State, header
from models.logs import JOURNAL, Quota
from models.records import decode_alert, decode_late
from models.topics import EVENT_ID_HEADER, FORWARDED_HEADER

log = logging.getLogger(JOURNAL)

REJECTED = "event rejected"
LATE = "event too late"
FORWARDED = "event forwarded"
FAILED = "event failed in its handler"


class _Letter(msgspec.Struct):
    """What of a dead letter goes into its line."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int


_letter = msgspec.json.Decoder(_Letter).decode


class Journal:
    """One per worker; its folds are called on one event loop. Time is the folds' ``now``."""

    def __init__(self, counters: Counters) -> None:
        self._quota = Quota()
        self._counters = counters
        self._broken: tuple[str, int, int] | None = None
        self._writers: dict[str, Callable[[Output, int], None]] = {
            "dead-letters": self._rejected,
            "late": self._late,
            "alerts": self._alert,
        }

    def around(self, fold: Fold) -> Fold:
        """The fold, with its outputs looked at. What it raises is written and raised."""

        def fold_and_write(batch: Batch, state: State, now: int) -> Sequence[Output]:
            try:
                outputs = fold(batch, state, now)
            except Exception as exc:
                self._failed(batch, exc, now)
                raise
            writers = self._writers
            for output in outputs:
                if output.topic in writers:
                    writers[output.topic](output, now)
                elif output.topic == batch.source:
                    self._forwarded(output, batch, now)
            self._say_left_out(now)
            return outputs

        return fold_and_write

    # Whoever has a flood of these (another partitioner, a replay that is late) pays for the check
    # of the quota, not for what a line needs.

    def _rejected(self, output: Output, now: int) -> None:
        letter = _letter(output.value or b"")
        if self._quota.admits((REJECTED, letter.reason), now):
            _write(
                logging.WARNING, REJECTED, letter.reason,
                event_id=header(output.headers, EVENT_ID_HEADER), detail=letter.detail,
                topic=letter.topic, partition=letter.partition, offset=letter.offset,
            )  # fmt: skip

    def _late(self, output: Output, now: int) -> None:
        if self._quota.admits((LATE, "beyond_grace"), now):
            late = decode_late(output.value or b"")
            _write(
                logging.WARNING, LATE, late.reason,
                event_id=header(output.headers, EVENT_ID_HEADER), tenant=late.tenant,
                stream=late.stream, behind_ms=late.watermark - late.at,
                topic=late.topic, partition=late.partition, offset=late.offset,
            )  # fmt: skip

    def _forwarded(self, output: Output, batch: Batch, now: int) -> None:
        if self._quota.admits((FORWARDED, "misrouted"), now):
            offset = (header(output.headers, FORWARDED_HEADER) or "").rpartition(":")[2]
            _write(
                logging.INFO, FORWARDED, "misrouted",
                event_id=event_id_of(output.headers, output.value), topic=batch.source,
                partition=batch.partition, offset=int(offset), to_partition=output.partition,
            )  # fmt: skip

    def _alert(self, output: Output, now: int) -> None:
        alert = decode_alert(output.value or b"")
        message = f"alert {alert.state}"
        if self._quota.admits((message, alert.rule), now):
            _write(
                logging.INFO, message, alert.reason,
                alert_id=alert.id, revision=alert.revision, tenant=alert.tenant, rule=alert.rule,
                severity=alert.severity, series=alert.series, stream=alert.stream,
                started_at=alert.started_at,
            )  # fmt: skip

    def _failed(self, batch: Batch, exc: Exception, now: int) -> None:
        """A fold that breaks on one record is tried twice; the second failure makes a dead letter."""
        if len(batch.records) != 1:
            return
        (record,) = batch.records
        place = (batch.source, batch.partition, record.offset)
        if place != self._broken:
            self._broken = place
        elif self._quota.admits((FAILED, "handler_failed"), now):
            _write(
                logging.WARNING, FAILED, "handler_failed",
                event_id=event_id_of(record.headers, record.value), detail=repr(exc)[:300],
                topic=batch.source, partition=batch.partition, offset=record.offset,
            )  # fmt: skip

    def _say_left_out(self, now: int) -> None:
        for (message, reason), number in self._quota.left_out(now):
            self._counters.count("log_lines", "over_limit", number)
            log.warning("%s: %d more were not logged", message, number,
                        extra={"reason": reason, "left_out": number})  # fmt: skip


def _write(level: int, message: str, reason: str, **fields: Any) -> None:
    log.log(level, message, extra={"reason": reason, **fields})
