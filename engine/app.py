"""The Faust app with the engine under it.

``EngineApp`` is what the worker command runs; ``Engine`` is what its parts share.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import faust
from faust.types import TP
from prometheus_client import CollectorRegistry

from engine.batches import compress_fast
from engine.broker import BrokerKind, ensure_topics, probe
from engine.chunk import ChunkSchema
from engine.exits import EXIT_CODE, REFUSED, leave_now
from engine.flush import Flush
from engine.follower import Follower
from engine.global_store import GlobalStore
from engine.hooks import ChunkConsumer, ChunkTransport, check_sources
from engine.io_thread import IoThread
from engine.metrics import EngineMetrics
from engine.partition import Partition
from engine.status import StatusServer
from engine.step import Step, Watermark
from engine.work import Work
from models.errors import ConfigurationError, TopicMismatchError
from models.flow import StoreSpec
from models.settings import Settings

log = logging.getLogger("backbeat.engine")

SHUTDOWN_SECONDS = 9.0
"""After a stop was asked for, the process leaves after so long at the latest, whatever the broker does."""

DRAIN_SECONDS = 4.0
"""Of these, how long what has been read may still be folded and flushed."""

COMMIT_INTERVAL = 1.0

GC_THRESHOLDS = (50_000, 20, 50)
"""State is millions of objects that live for long; the default looks through them all the time."""


class Engine:
    """What steps, consumer hooks and the status page share."""

    def __init__(self, app: EngineApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.steps: dict[str, Step] = {}
        self.globals: list[GlobalStore] = []
        self.followers: list[Follower] = []
        self.metrics = EngineMetrics(CollectorRegistry())
        self.io = IoThread()
        self.flush: Flush
        self.broker_kind: BrokerKind = "kafka"
        self.metrics.watch(self._partitions)
        self._uncommitted: dict[TP, int] = {}

    def now(self) -> int:
        """Processing time, epoch ms."""
        return time.time_ns() // 1_000_000

    def _partitions(self) -> Iterable[tuple[str, Partition]]:
        for step in self.steps.values():
            for partition in list(step.partitions.values()):
                yield step.source, partition

    # -- the consumer's side ----------------------------------------------------------------

    def fetchable(self, active: set[TP] | None) -> set[TP]:
        """Partitions that may be fetched now; called on the consumer's thread."""
        if not all(store.is_complete for store in self.globals):
            return set()
        return {
            p.tp
            for step in self.steps.values()
            for p in list(step.partitions.values())
            if p.is_open and (active is None or p.tp in active)
        }

    @property
    def _consumer(self) -> ChunkConsumer:
        consumer = self.app.consumer
        assert isinstance(consumer, ChunkConsumer)  # noqa: S101 - our transport makes no other
        return consumer

    async def seek(self, tp: TP, offset: int) -> None:
        """Have the consumer read a partition from an offset."""
        await self._consumer.seek_to(tp, offset)

    def highwater(self, tp: TP) -> int | None:
        """The partition's end as last told by a fetch."""
        return self._consumer.highwater_of(tp)

    def stable(self, tp: TP) -> int | None:
        """The partition's last stable offset as last told by a fetch."""
        return self._consumer.stable_of(tp)

    async def is_member(self, generation: int) -> bool:
        """Whether the group still counts this worker to a generation."""
        return await self._consumer.is_member(generation)

    async def first_offsets(self, tps: Sequence[TP]) -> Mapping[TP, int]:
        """The earliest offsets still in the log."""
        return await self._consumer.first_offsets(tps)

    # -- what has been done -----------------------------------------------------------------

    def flushed(self, step: Step, work: Work) -> None:
        """A batch is durable: count it, and let the group's offset follow where it has not."""
        source = step.source
        self.metrics.records.labels(source).inc(len(work.batch.records))
        self.metrics.changes.labels(source).inc(len(work.changes))
        self.metrics.outputs.labels(source).inc(len(work.outputs))
        self.metrics.flush_seconds.labels(source).observe(work.partition.flush_seconds)
        if not self.flush.transactions:
            self._uncommitted[work.partition.tp] = work.next_offset

    async def commit(self) -> None:
        """Commit what is flushed, for lag tools; failing is logged, the changelog is the truth."""
        if not self._uncommitted:
            return
        offsets, self._uncommitted = self._uncommitted, {}
        try:
            await self._consumer.commit_offsets(offsets)
        except Exception as exc:  # noqa: BLE001 - a hint that could not be given
            log.warning("offsets not committed (the changelog has them): %s", exc)

    async def drain(self) -> bool:
        """Fold and flush what has been read; bounded. Whether all of it was."""
        for step in self.steps.values():
            for partition in step.partitions.values():
                partition.max_buffered = 0  # closes the gate
            step.draining = True
        deadline = time.monotonic() + DRAIN_SECONDS
        for step in self.steps.values():
            with suppress(TimeoutError):
                await asyncio.wait_for(step.idle.wait(), max(0.01, deadline - time.monotonic()))
        await self.commit()
        return all(step.idle.is_set() for step in self.steps.values())

    def status(self) -> dict[str, Any]:
        """What ``/health/ready`` and ``/health/live`` are made of."""
        return {
            # Asked for before the broker was found, there is no flush yet.
            "broker": {
                "kind": self.broker_kind,
                "guarantee": getattr(getattr(self, "flush", None), "guarantee", ""),
            },
            "globals": {store.topic: store.is_complete for store in self.globals},
            "followers": [follower.status() for follower in self.followers],
            "steps": {
                name: [p.status() for _, p in sorted(step.partitions.items())]
                for name, step in self.steps.items()
            },
        }


class EngineApp(faust.App):
    """A ``faust.App`` whose agents read batches through :class:`Step`."""

    engine: Engine

    def __init__(self, settings: Settings, *, topics: Sequence[Any], **options: Any) -> None:
        check_sources()
        compress_fast()
        self.settings = settings
        self.topic_table = topics
        self._starters: list[Callable[[], Awaitable[None]]] = []
        self._stoppers: list[Callable[[], Awaitable[None]]] = []
        session = settings.session_timeout
        super().__init__(
            settings.app_id,
            broker=settings.broker,
            store="memory://",
            datadir=settings.data_dir / "faust",
            autodiscover=False,
            web_enabled=False,
            stream_wait_empty=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=settings.group_instance_id,
            consumer_max_fetch_size=4 * 1024 * 1024,
            broker_session_timeout=session,
            broker_heartbeat_interval=min(3.0, session / 3),
            broker_rebalance_timeout=5.0 if settings.broker_kind == "tansu" else 2 * session,
            broker_request_timeout=max(40.0, 2 * session),
            broker_max_poll_interval=3600.0,
            processing_guarantee="at_least_once",
            **options,
        )
        self.engine = Engine(self, settings)
        self.status_server = StatusServer(self.engine)

    # -- declaring --------------------------------------------------------------------------

    def step(
        self,
        name: str,
        source: str,
        stores: Sequence[StoreSpec],
        *,
        watermark: Watermark | None = None,
    ) -> Step:
        """Declare a step; its agent reads :meth:`source_of` it.

        ``watermark`` says, of a partition's state, up to which event time (epoch ms) it is complete;
        it is called when metrics are asked for.
        """
        step = self.engine.steps[name] = Step(self.engine, name, source, stores, watermark)
        return step

    def source_of(self, step: Step) -> Any:
        """The Faust topic an agent of this step is declared on."""
        return self.topic(step.topic, schema=ChunkSchema(), maxsize=4)

    def global_store(self, name: str, decode: Callable[[bytes], Any]) -> GlobalStore:
        """A compacted topic that is read completely before anything is fetched."""
        store = GlobalStore(self.settings.bootstrap, self.settings.topic(name), decode)
        self.engine.globals.append(store)
        return store

    def on_engine_start(self, starter: Callable[[], Awaitable[None]]) -> None:
        """Have something awaited once broker and topics are ready, before consuming starts."""
        self._starters.append(starter)

    def on_engine_stop(self, stopper: Callable[[], Awaitable[None]]) -> None:
        """Have something awaited when the worker stops, in the order of declaration."""
        self._stoppers.append(stopper)

    # -- lifecycle --------------------------------------------------------------------------

    def _new_transport(self) -> Any:
        # Replaces the transport by URL with ours.
        return ChunkTransport(self.conf.broker_consumer, self)

    def on_init_dependencies(self) -> Iterable[Any]:
        """Faust's services; without steps (only followers) no consumer: it cannot read nothing."""
        self.producer_only = not self.engine.steps
        services: Iterable[Any] = super().on_init_dependencies()
        return services

    async def on_first_start(self) -> None:
        """Make the folder that Faust wants before anything else."""
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        await super().on_first_start()

    async def on_start(self) -> None:
        """Check the broker and its topics, connect the flush, then let Faust start."""
        self.status_server.start()
        try:
            await self._find_broker()
        except (ConfigurationError, TopicMismatchError) as exc:  # nothing to unwind
            leave_now(str(exc), exc, REFUSED)
        await self.engine.flush.start()
        log.info(
            "broker %s is %s; flush is %s",
            self.settings.bootstrap, self.engine.broker_kind,
            "exactly once: one transaction a batch" if self.engine.flush.transactions
            else "at least once: a crash repeats outputs, loses none",
        )  # fmt: skip
        for store in self.engine.globals:
            await store.start()
        for starter in self._starters:
            await starter()
        self.add_future(self._committer())
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        await super().on_start()

    async def _find_broker(self) -> None:
        kind = await probe(self.settings)
        self.engine.broker_kind = kind
        changelogs = [s.changelog for s in self.engine.steps.values()]
        await ensure_topics(self.settings, self.topic_table, changelogs, kind)
        self.engine.io.start()
        self.engine.flush = make_flush(self.settings, self.engine.io, kind)

    async def _committer(self) -> None:
        while not self.should_stop:
            await asyncio.sleep(COMMIT_INTERVAL)
            await self.engine.commit()

    async def stop(self) -> None:
        """Flush what has been read, then stop; bounded by a timer that ends the process.

        Once all is flushed nothing can be lost, and the timer ends the process with code 0: a client
        in a rebalance waits for the whole group.
        """
        if not getattr(self, "_stopping", False):
            self._stopping = True
            self.rebalancing = False
            began = time.monotonic()
            guard = _leave_after(SHUTDOWN_SECONDS, "stopping took too long", EXIT_CODE)
            if await self.engine.drain():
                guard.cancel()
                left = SHUTDOWN_SECONDS - (time.monotonic() - began)
                _leave_after(left, "all is flushed; the clients did not end in time", 0)
        await super().stop()

    def on_rebalance_start(self) -> None:
        """Once it stops, a rebalance is the others' business.

        Faust's fetcher would take its own end for a restart because of it, and crash.
        """
        if not getattr(self, "_stopping", False):
            super().on_rebalance_start()

    async def on_shutdown(self) -> None:
        """Disconnect what the engine connected."""
        await super().on_shutdown()
        for stopper in self._stoppers:
            await stopper()
        for store in self.engine.globals:
            await store.stop()
        for step in self.engine.steps.values():
            await step.close_writers(list(step.partitions.values()))
        if hasattr(self.engine, "flush"):
            await self.engine.flush.stop()
        self.engine.io.stop()
        self.status_server.stop()

    async def crash(self, reason: BaseException) -> None:
        """Leave at once: Faust would unwind, acknowledging on the way or waiting for ever."""
        leave_now(f"{type(reason).__name__}: {reason}", reason)

    async def _on_partitions_revoked(self, revoked: set[TP]) -> None:
        # Before Faust's own: partitions are given up while we still own them.
        by_topic = _numbers(revoked)
        for step in self.engine.steps.values():
            await step.revoke(by_topic.get(step.topic, []))
        await self.engine.commit()
        await super()._on_partitions_revoked(revoked)

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await super()._on_partitions_assigned(assigned, generation_id)
        by_topic = _numbers(assigned)
        for step in self.engine.steps.values():
            if numbers := by_topic.get(step.topic):
                self.add_future(step.assign(numbers, generation_id))


def make_flush(settings: Settings, io: IoThread, kind: BrokerKind) -> Flush:
    """The flush that the settings ask for.

    Raises:
        ConfigurationError: transactions are asked of a broker that has none.
    """
    if settings.flush == "transactions" and kind != "kafka":
        msg = f"BACKBEAT_FLUSH=transactions, but the broker is {kind}, which has none; use auto or plain"
        raise ConfigurationError(msg)
    transactions = kind == "kafka" and settings.flush != "plain"
    return Flush(settings, io, transactions=transactions, idempotent=kind == "kafka")


def _leave_after(seconds: float, reason: str, code: int) -> threading.Timer:
    guard = threading.Timer(max(0.1, seconds), leave_now, [reason, None, code])
    guard.daemon = True
    guard.start()
    return guard


def _numbers(tps: set[TP]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for tp in sorted(tps):
        found.setdefault(tp.topic, []).append(tp.partition)
    return found
