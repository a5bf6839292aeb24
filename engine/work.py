"""A unit of work: one batch of one source partition, and what a fold made of it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence

from engine.partition import Partition
from models.flow import Batch, Fold, Output

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
        self.error: str | None = None

    def apply(self, fold: Fold) -> None:
        """Run a fold over the batch. Never raises: a fold that does is dealt with at the flush."""
        self.fold = fold
        try:
            self.outputs = fold(self.batch, self.partition.state.stores, self.now)
        except Exception:
            self.error = traceback.format_exc(limit=20)
            log.exception(
                "fold of %s[%s] failed on %d records",
                self.batch.source, self.batch.partition, len(self.batch.records),
            )  # fmt: skip

    def split(self) -> tuple[Work, Work]:
        """The same work in two halves, in offset order; only for two records or more."""
        records = self.batch.records
        middle = len(records) // 2
        halves = (records[:middle], records[middle:])
        ends = (records[middle].offset, self.next_offset)
        first, second = (
            Work(
                self.partition,
                Batch(self.batch.source, self.batch.partition, half, at_end=False),
                end,
                self.now,
            )
            for half, end in zip(halves, ends, strict=True)
        )
        return first, second
