"""The worker of the chaos tests: count, sum and 10 s panes per key, and a ledger of every change.

Run as ``faust -A tests.support.chaos_app worker``; configured by ``BACKBEAT_*`` and

``CHAOS_FAULT``       where to kill or freeze itself (``tests.support.chaos_faults``)
``CHAOS_BROKEN_KEY``  the fold raises on every record of this key
``CHAOS_BROKEN_ONCE`` the fold raises at its n-th call, and at no other

A batch writes one ledger line per key it changed: the key's count and sum before and after. Lines
that are all there once chain, each beginning where the last one ended.
"""

from __future__ import annotations

import os

import msgspec

from engine import EngineApp
from models.flow import Batch, Output, State, StoreSpec
from models.settings import Settings
from models.topics import DAY, TOPICS, Topic
from tests.support import chaos_faults
from tests.support.chaos_events import KEYS, PANE, PARTITIONS

EVENTS, LEDGER = "events", "ledger"
STEP = "tally"

Pair = tuple[int, int]


class Amount(msgspec.Struct):
    """What an event says."""

    at: int
    amount: int


class Line(msgspec.Struct, array_like=True):
    """One key's count and sum before and after a batch of a source partition."""

    key: str
    partition: int
    before: Pair
    after: Pair


_pack = msgspec.msgpack.Encoder().encode
_pair = msgspec.msgpack.Decoder(Pair).decode
_amount = msgspec.json.Decoder(Amount).decode
decode_line = msgspec.msgpack.Decoder(Line).decode

STORES = (StoreSpec("tally", _pack, _pair), StoreSpec("panes", _pack, _pair))

_fault = chaos_faults.Fault(os.environ.get("CHAOS_FAULT", ""))
_broken_key = os.environ.get("CHAOS_BROKEN_KEY", "").encode() or None
_broken_call = int(os.environ.get("CHAOS_BROKEN_ONCE", "0"))
_calls = 0


def tally(batch: Batch, state: State, now: int) -> list[Output]:
    """Fold one batch; raises on poison, and where the environment says so."""
    global _calls  # noqa: PLW0603 - which call raises is this process's business, not the state's
    _calls += bool(batch.records)
    if batch.records and _calls == _broken_call:
        raise RuntimeError("the handler fails this once")
    totals, panes = state["tally"], state["panes"]
    before: dict[str, Pair] = {}
    for record in batch.records:
        if record.key == _broken_key:
            raise RuntimeError("the handler fails on this key")
        event = _amount(record.value or b"")
        key = (record.key or b"").decode()
        count, total = totals.get(key, (0, 0))
        before.setdefault(key, (count, total))
        totals[key] = (count + 1, total + event.amount)
        pane = f"{key}|{event.at // PANE}"
        count, total = panes.get(pane, (0, 0))
        panes[pane] = (count + 1, total + event.amount)
    return [_line(batch.partition, key, was, totals[key]) for key, was in before.items()]


def _line(partition: int, key: str, before: Pair, after: Pair) -> Output:
    line = Line(key, partition, before, after)
    # Not the source's partition: a flush has to reach several.
    return Output(LEDGER, key.encode(), _pack(line), partition=int(key[-3:]) % KEYS % PARTITIONS)


class ChaosApp(EngineApp):
    """The engine's app with two more points for faults."""

    async def _on_partitions_assigned(self, assigned: set, generation_id: int = 0) -> None:
        _fault.reach("in-assigned")
        await super()._on_partitions_assigned(assigned, generation_id)

    async def _on_partitions_revoked(self, revoked: set) -> None:
        _fault.reach("in-revoked")
        await super()._on_partitions_revoked(revoked)


def create_app() -> EngineApp:
    """The app, from the environment."""
    chaos_faults.install(_fault)
    topics = [
        Topic(EVENTS, "in", "key", Amount, "Amounts by key.", retention=7 * DAY),
        Topic(LEDGER, "out", "key", Line, "Every change.", retention=7 * DAY),
        TOPICS["dead-letters"],
    ]
    app = ChaosApp(Settings(), topics=topics)
    step = app.step(STEP, EVENTS, STORES)

    @app.agent(app.source_of(step), name=STEP)
    async def keep_tally(stream):  # type: ignore[no-untyped-def]
        async for work in step.batches(stream):
            if work.batch.records:
                _fault.reach("before-fold")
            work.apply(tally)
            if work.batch.records:
                _fault.reach("after-fold")

    return app


app = create_app()
