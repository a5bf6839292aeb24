"""One run of the chaos worker: topics, workers under a supervisor, a producer that keeps pace, a verdict."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from tests.support import chaos_broker
from tests.support.chaos_app import EVENTS, STEP
from tests.support.chaos_events import PARTITIONS, Event, Expected, Plan
from tests.support.chaos_ledger import Verdict, judge
from tests.support.worker import Worker

APP = "tests.support.chaos_app"
SESSION = 6
PATIENCE = 300.0
"""Seconds in which something must go on; nothing is measured against it."""

LEFT = 70
"""The exit code of a worker that leaves by itself."""

PROMISED = 10
"""Seconds in which a worker that was asked to stop, or that has no broker, is gone."""

SLACK = 10
"""More of them for a machine that does other things too: a worker that hangs takes for ever."""

_SLICE = 2_000


class ChaosWorker(Worker):
    """A worker that may be frozen, and that a supervisor starts again when it leaves by itself."""

    label = ""
    supervised = True
    expects_to_die = False

    def start_with(self, fault: str = "") -> ChaosWorker:
        """Start, with a fault in this life only."""
        self.env["CHAOS_FAULT"] = fault
        self.env["CHAOS_MARK"] = str(self.folder / "fault-at")
        self.expects_to_die = bool(fault)
        self.start()
        return self

    @property
    def is_frozen(self) -> bool:
        """Whether the process is stopped (by SIGSTOP)."""
        if self.process is None or self.process.poll() is not None:
            return False
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    @property
    def fault_at(self) -> float:
        """When its fault happened, epoch seconds."""
        return float((self.folder / "fault-at").read_text())

    def send(self, sig: signal.Signals) -> None:
        """Send a signal and go on."""
        assert self.process is not None
        self.process.send_signal(sig)

    @property
    def is_up(self) -> bool:
        """Whether it answers and has met its broker."""
        return self.is_running and bool(self.status().get("broker", {}).get("guarantee"))

    def last_words(self) -> list[str]:
        """Why it left, as it said: the lines ``leaving with code N: why``."""
        return re.findall(r"leaving with code \d+: [^\n\"]*", self.log.read_text(errors="replace"))

    def places(self) -> list[dict[str, Any]]:
        """The partitions it says it has, with where each stands."""
        if not self.is_running or self.is_frozen:
            return []
        return [p for places in self.status().get("steps", {}).values() for p in places]


class Feeder(threading.Thread):
    """Sends a plan's events, each acknowledged once, no more than ``ahead`` in front of the worker."""

    def __init__(self, trial: Trial, end: int, ahead: int) -> None:
        super().__init__(daemon=True)
        self._trial = trial
        self._end = end
        self._ahead = ahead
        self._stop_asked = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._feed())
        except BaseException as exc:  # noqa: BLE001 - raised again where the trial waits
            self.error = exc

    def abandon(self) -> None:
        """Send no more; what is under way may still arrive."""
        self._stop_asked.set()

    async def _feed(self) -> None:
        trial = self._trial
        producer = AIOKafkaProducer(
            bootstrap_servers=trial.bootstrap, acks="all", enable_idempotence=True,
            request_timeout_ms=int(PATIENCE * 1000), max_batch_size=1 << 18, linger_ms=0,
        )  # fmt: skip
        await producer.start()
        try:
            for begin in range(trial.fed, self._end, _SLICE):
                end = min(begin + _SLICE, self._end)
                while end > trial.done + self._ahead and not self._stop_asked.is_set():
                    await asyncio.sleep(0.01)
                if self._stop_asked.is_set():
                    return
                await send(producer, trial.topic(EVENTS), list(trial.plan.make(begin, end)))
                trial.fed = end
        finally:
            await producer.stop()


async def send(producer: AIOKafkaProducer, topic: str, events: list[Event]) -> None:
    """Write events to their partitions, in order; all acknowledged on return."""
    futures = []
    for partition in range(PARTITIONS):
        builder = producer.create_batch()
        for event in events:
            if event.partition != partition:
                continue
            data = {"key": event.key, "value": event.value, "timestamp": None}
            assert builder.append(**data) is not None, "a slice is larger than a batch"
        if builder.record_count():
            builder.close()
            futures.append(await producer.send_batch(builder, topic, partition=partition))
    await asyncio.gather(*futures)


class Trial:
    """A run on one broker. Use as a context manager: no worker outlives it.

    ``done`` counts the records that are in acknowledged state, by the last answers of the workers.
    """

    def __init__(
        self, bootstrap: str, url: str, name: str, folder: Path, plan: Plan, **env: str
    ) -> None:
        self.bootstrap = bootstrap
        self.name = name
        self.folder = folder
        self.plan = plan
        self.fed = 0
        self.workers: list[ChaosWorker] = []
        self.exits: list[tuple[str, int]] = []
        self.forgive: frozenset[int] = frozenset({LEFT})
        self.env = {
            "BACKBEAT_BROKER": url,
            "BACKBEAT_APP_ID": name,
            "BACKBEAT_TOPIC_PREFIX": f"{name}-",
            "BACKBEAT_FLUSH_INTERVAL": "0.05",
            "BACKBEAT_FLUSH_RECORDS": "2000",
            "BACKBEAT_SESSION_TIMEOUT": str(SESSION),
            **env,
        }
        self._places = [0] * PARTITIONS
        self._feeder: Feeder | None = None

    def topic(self, name: str) -> str:
        """The full name of a topic."""
        return f"{self.name}-{name}"

    @property
    def changelog(self) -> str:
        """The topic that holds the state."""
        return f"{self.name}-{STEP}-changelog"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._feeder is not None:
            self._feeder.abandon()
        for worker in self.workers:
            worker.kill()
        if self._feeder is not None:
            self._feeder.join(30)

    # -- workers ------------------------------------------------------------------------------------

    def worker(self, label: str, fault: str = "", **env: str) -> ChaosWorker:
        """Start one more worker of the app."""
        folder = self.folder / label
        folder.mkdir()
        worker = ChaosWorker(APP, folder, **self.env, **env)
        worker.label = label
        self.workers.append(worker)
        return worker.start_with(fault)

    def dismiss(self, worker: ChaosWorker) -> float:
        """Stop a worker for good with SIGTERM, which it must follow; how many seconds it took."""
        self.wait(
            lambda: worker.is_up, f"{worker.label} up"
        )  # its supervisor may just have started it
        began = time.monotonic()
        code = self.remove(worker, signal.SIGTERM)
        assert code == 0, f"{worker.label} left with {code}\n{worker.tail()}"
        return time.monotonic() - began

    def remove(self, worker: ChaosWorker, how: signal.Signals = signal.SIGKILL) -> int | None:
        """End a worker for good; its exit code."""
        self.workers.remove(worker)
        return worker.kill(how)

    def owned(self, worker: ChaosWorker) -> int:
        """How many partitions a worker has restored."""
        return sum(p["ready"] for p in worker.places())

    def tend(self) -> None:
        """Ask the workers how far they are, and start again who left, as a supervisor does."""
        for worker in self.workers:
            if worker.process is not None and worker.process.poll() is not None:
                self._ended(worker, worker.process.returncode)
            for place in worker.places():
                number = place["partition"]
                if place["ready"]:
                    self._places[number] = max(self._places[number], place["next_offset"])
        if self._feeder is not None and self._feeder.error is not None:
            raise AssertionError("the producer failed") from self._feeder.error

    def _ended(self, worker: ChaosWorker, code: int) -> None:
        if worker.expects_to_die and code == -signal.SIGKILL:
            return
        if not worker.supervised:
            return
        assert code in self.forgive, f"{worker.label} ended with {code}:\n{worker.tail()}"
        self.exits.append((worker.label, code))
        worker.start_with()

    @property
    def done(self) -> int:
        """Records in acknowledged state, over all partitions."""
        return sum(self._places)

    def wait(self, what: Callable[[], Any], describe: str, seconds: float = PATIENCE) -> Any:
        """Poll, tending the workers meanwhile."""
        deadline = time.monotonic() + seconds
        while True:
            self.tend()
            if result := what():
                return result
            assert time.monotonic() < deadline, f"not in {seconds} s: {describe}\n{self.story()}"
            time.sleep(0.05)

    def wait_done(self, share: float) -> None:
        """Until this share of all events is in acknowledged state."""
        wanted = int(share * self.plan.events)
        self.wait(lambda: self.done >= wanted, f"{wanted} events done")

    def wait_owned(self, worker: ChaosWorker, count: int) -> None:
        """Until a worker has restored this many partitions."""
        self.wait(lambda: self.owned(worker) == count, f"{worker.label} has {count} partitions")

    def wait_end(self, worker: ChaosWorker) -> int:
        """Until a worker's process is gone, the others going on; its exit code."""
        was, worker.supervised = worker.supervised, False
        self.wait(lambda: not worker.is_running, f"{worker.label} ends")
        worker.supervised = was
        assert worker.process is not None
        return int(worker.process.returncode)

    def is_balanced(self) -> bool:
        """Whether every partition is at work, and every worker up (one of three may have none)."""
        owned = sum(self.owned(worker) for worker in self.workers)
        return owned == PARTITIONS and all(worker.is_up for worker in self.workers)

    # -- events -------------------------------------------------------------------------------------

    def feed(self, share: float = 1.0, ahead: int = 12_000) -> None:
        """Send from now on up to this share of all events, whatever was asked for before."""
        if self._feeder is not None:
            self._feeder.abandon()
            self.wait_fed()
        self._feeder = Feeder(self, int(share * self.plan.events), ahead)
        self._feeder.start()

    def feed_all(self, share: float = 1.0) -> None:
        """Send up to this share of all events, at once, and wait until they are there."""
        self.feed(share, ahead=self.plan.events)
        self.wait_fed()

    def wait_fed(self) -> None:
        """Until the producer has sent what it was asked for."""
        self.wait(lambda: self._feeder is None or not self._feeder.is_alive(), "events sent")

    # -- the end ------------------------------------------------------------------------------------

    def finish(self, expected: Expected | None = None) -> Verdict:
        """Wait until all is done, stop the workers, read everything and compare."""
        expected = expected or self.plan.expected()
        self.wait(lambda: self._places == expected.ends, f"all of {expected.ends} done")
        self.wait(self.is_balanced, "every worker at work")
        for worker in list(self.workers):
            self.dismiss(worker)
        return judge(self.bootstrap, self.name, expected)

    def story(self) -> str:
        """Where things stand, for a failed wait."""
        logs = [
            f"-- {w.label} ({'up' if w.is_running else 'gone'}):\n{w.tail(12)}"
            for w in self.workers
        ]
        status = {
            w.label: [(p["partition"], p["next_offset"]) for p in w.places()] for w in self.workers
        }
        head = {"fed": self.fed, "done": self._places, "exits": self.exits, "owned": status}
        return "\n".join([json.dumps(head), *logs])

    def totals_written(self, until: Sequence[int] | None = None) -> list[list[ConsumerRecord]]:
        """Every total of a key that is physically in the changelog, superseded or not."""
        records = chaos_broker.read(self.bootstrap, self.changelog, "read_uncommitted", until)
        return [[r for r in rs if (r.key or b"").startswith(b"tally\x00")] for rs in records]

    def wait_compacted(self, before: list[list[ConsumerRecord]], until: float) -> float:
        """Until the cleaner has removed most of what was in the changelog; the share that is left.

        Events are sent meanwhile, up to a share of all: only an append closes a segment, and only a
        closed one is compacted.
        """
        ends = [rs[-1].offset + 1 if rs else 0 for rs in before]

        def left() -> float:
            share = self.fed / self.plan.events
            self.feed(min(share + 0.005, until))
            return max(chaos_broker.surviving(before, self.totals_written(ends)), 1e-9)

        return float(self.wait(lambda: (share := left()) < 0.3 and share, "compaction"))
