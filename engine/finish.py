"""The end of a batch: its flush, or the search for the record that breaks its fold."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from engine.exits import leave_now
from engine.flush import MAX_BATCH_BYTES
from engine.partition import UNKNOWN_END, Partition
from engine.store import Changes
from engine.work import Work
from models.errors import FencedError
from models.flow import TIMERS, Fold, Output, Record
from models.records import MAX_DEAD_LETTER_BYTES, DeadLetter, to_json

if TYPE_CHECKING:
    from engine.step import Step

log = logging.getLogger("backbeat.engine")

GUARDED_FLUSHES = 1_000
"""Flushes for which changes can be undone after a fold has failed: failures come in groups."""


async def finish(step: Step, work: Work) -> None:
    """Flush a batch, or isolate what broke its fold. Returns when done, or does not return."""
    partition = work.partition
    if partition.revoked:
        partition.changelog_end = UNKNOWN_END  # what the fold did is in the state, and not flushed
        return
    where = f"{step.topic}[{partition.tp.partition}]"
    try:
        if work.error is None and not _is_needed(work):
            return
        _freeze(work)
        if work.error is None:
            await _write(step, work)
        else:
            await _isolate(step, work)
    except asyncio.CancelledError:
        raise
    except FencedError as exc:
        leave_now(f"flush of {where} refused: {exc}")
    except (KafkaTimeoutError, TimeoutError) as exc:
        seconds = step.engine.settings.flush_deadline
        leave_now(f"flush of {where} not acknowledged in {seconds:g} s; nothing is lost", exc)
    except Exception as exc:  # noqa: BLE001 - the edge: nothing may be acknowledged by accident
        leave_now(f"flush of {where} failed: {exc!r}", exc)


def _is_needed(work: Work) -> bool:
    partition = work.partition
    moved = partition.state.meta is None or work.next_offset != partition.next_offset
    return moved or bool(work.outputs) or partition.state.is_dirty


def _freeze(work: Work) -> None:
    """Take what is to be written, before anything is awaited; too much of it is the fold's error."""
    if work.error is None:
        work.changes = work.partition.state.freeze(work.next_offset, work.now)
        work.error = _too_large(work.outputs, work.changes)


async def _write(step: Step, work: Work) -> None:
    partition = work.partition
    began = time.monotonic()
    assert partition.writer is not None  # noqa: S101 - a ready partition has one
    partition.changelog_end = await partition.writer.write(
        work.outputs, work.changes, work.next_offset, work.now
    )
    partition.state.flushed()
    partition.flushed(work.next_offset, began)
    step.engine.flushed(step, work)


def _too_large(outputs: Sequence[Output], changes: Changes) -> str | None:
    """Why the broker would refuse the flush for ever, or None."""
    limit = MAX_BATCH_BYTES - 1_000  # a batch's and a record's own fields, and headers
    for out in outputs:
        if len(out.value or b"") + len(out.key or b"") > limit:
            return f"{MessageSizeTooLargeError.__name__}: an output for {out.topic} is too large"
    # Of 20,000 changes this is what costs, so it loops in C.
    if max(map(len, filter(None, changes.values)), default=0) > limit // 2:
        for key, value in changes:
            if len(value or b"") + len(key) > limit:
                return (
                    f"{MessageSizeTooLargeError.__name__}: the state of {key[:80]!r} is too large"
                )
    return None


async def _isolate(step: Step, work: Work) -> None:
    """Find the record, or the timer, that breaks the fold; what the failed try did is undone.

    First the whole batch again (the error may pass), then halves, in offset order. Timers of a batch
    with records come back after the undoing, in a batch of their own.
    """
    partition, batch, fold = work.partition, work.batch, work.fold
    assert fold is not None  # noqa: S101 - an error can only come from a fold
    await _undo(step, partition)
    again = Work(partition, batch, work.next_offset, step.engine.now())
    _try(again, fold)
    if again.error is None:
        await _write(step, again)
        return
    await _undo(step, partition)
    if len(batch.records) + (0 if batch.records else len(batch.due)) > 1:
        for half in again.split():
            if partition.revoked:
                return
            _try(half, fold)
            await (_write if half.error is None else _isolate)(step, half)
        return
    if not batch.records and not batch.due:
        leave_now(f"fold of step {step.name} fails when only time passes:\n{again.error}")
    if not batch.records:
        _take_timers(work)
    last = Work(partition, batch, work.next_offset, again.now)
    last.outputs = [_dead_letter(step, again)]
    _freeze(last)
    await _write(step, last)


def _try(work: Work, fold: Fold) -> None:
    _take_timers(work)
    work.apply(fold)
    _freeze(work)


def _take_timers(work: Work) -> None:
    """Remove those that are in the batch: the undoing has brought them back."""
    timers = work.partition.state.stores[TIMERS]
    for due in work.batch.due:
        timers.pop(due.key, None)


async def _undo(step: Step, partition: Partition) -> None:
    """Back to the last flush: by the undo log, or, at the first failure, from the changelog."""
    if partition.state.is_guarded:
        partition.state.roll_back()
        return
    await step.reload(partition)
    partition.state.guard(GUARDED_FLUSHES)


def _dead_letter(step: Step, work: Work) -> Output:
    """The record that breaks the fold, or the timer's key where it is a timer."""
    step.engine.metrics.dead_letters.labels(step.source, "handler_failed").inc()
    batch, error = work.batch, work.error or ""
    record = (
        batch.records[0]
        if batch.records
        else Record(work.next_offset, batch.due[0].at, None, batch.due[0].key.encode())
    )
    value = record.value or b""
    letter = DeadLetter(
        reason="handler_failed",
        detail=error.strip().rsplit("\n", 1)[-1][:500],
        topic=step.source,
        partition=batch.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        value=value[:MAX_DEAD_LETTER_BYTES],
        key=record.key,
        size=len(value),
        truncated=len(value) > MAX_DEAD_LETTER_BYTES,
        traceback=error,
        at=work.now,
    )
    key = f"{step.source}:{batch.partition}:{record.offset}".encode()
    return Output("dead-letters", key, to_json(letter))
