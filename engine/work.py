"""A unit of work: one batch of one source partition, and what a fold made of it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence

from engine.partition import Partition
from engine.store import Changes
from models.flow import Batch, Due, Fold, Output, Record

log = logging.getLogger("backbeat.engine")


class Work:
    """What :meth:`Step.batches` yields. The agent's body calls :meth:`apply` and nothing else."""

    def __init__(self, partition: Partition, batch: Batch, next_offset: int, now: int) -> None:
        self.partition = partition
        self.batch = batch
        self.next_offset = next_offset
        self.now = now
        self.fold: Fold | None = None
        self.outputs: Sequence[Output] = ()
        self.changes = Changes()
        self.error: str | None = None

    def apply(self, fold: Fold) -> None:
        """Run a fold over the batch. Never raises: a fold that does is dealt with at the flush."""
        self.fold = fold
        try:
            self.outputs = fold(self.batch, self.partition.state.stores, self.now)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # an estimator's native code may panic with one
            self.error = traceback.format_exc(limit=20)
            log.exception(
                "fold of %s[%s] failed on %d records",
                self.batch.source, self.batch.partition, len(self.batch.records),
            )  # fmt: skip

    def split(self) -> tuple[Work, Work]:
        """The same work in two halves: its records in offset order, or its timers if it has none."""
        batch, end = self.batch, self.next_offset
        if not batch.records:
            middle = len(batch.due) // 2
            return self._part([], batch.due[:middle], end), self._part([], batch.due[middle:], end)
        middle = len(batch.records) // 2
        first, second = batch.records[:middle], batch.records[middle:]
        return self._part(first, (), second[0].offset), self._part(second, (), end)

    def _part(self, records: Sequence[Record], due: Sequence[Due], end: int) -> Work:
        batch = Batch(self.batch.source, self.batch.partition, records, at_end=False, due=due)
        return Work(self.partition, batch, end, self.now)
