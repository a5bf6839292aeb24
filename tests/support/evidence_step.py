"""The step that folds ``evidence``, for tests: on plain dictionaries, in one order or another."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from agents.attributing import EVIDENCE_STORES, AttributionConfig, fold_evidence
from models.flow import Batch, Output, Record, StoreSpec
from models.records import to_msgpack

T0 = 1_767_225_600_000


class EvidenceStep:
    """Values of the stores cross their bytes after every batch, as at a restart; also its counters."""

    config: AttributionConfig

    def __init__(self, stores: Sequence[StoreSpec] = EVIDENCE_STORES) -> None:
        self.counted: Counter[str] = Counter()
        self.stores = stores
        self.state: dict[str, Any] = {spec.name: {} for spec in stores}

    def count(self, name: str, reason: str, n: int = 1) -> None:
        self.counted[f"{name} {reason}"] += n

    def take(self, *told: Any) -> Any:
        """What a test's own step makes of :meth:`fold`."""
        return self.fold(told)

    def fold(self, told: Sequence[Any], now: int = T0) -> Sequence[Output]:
        """Fold what is told, or bytes as they are."""
        values = [t if isinstance(t, bytes) else to_msgpack(t) for t in told]
        records = [Record(i, T0, b"acme", v) for i, v in enumerate(values)]
        batch = Batch("evidence", 0, records, at_end=True)
        outputs = fold_evidence(batch, self.state, now, self.config)
        for spec in self.stores:
            store = self.state[spec.name]
            for key, value in store.items():
                store[key] = spec.decode(spec.encode(value))
        return outputs

    def take_all(self, logs: Sequence[Sequence[Any]], rng: random.Random | None) -> None:
        """Read logs of several partitions, each in its order: one after the other, or as dice fall."""
        rest = [list(log) for log in logs]
        while any(rest):
            log = rng.choice([own for own in rest if own]) if rng else next(o for o in rest if o)
            size = rng.choice((1, 2, 5)) if rng else 100
            self.take(*log[:size])
            del log[:size]
