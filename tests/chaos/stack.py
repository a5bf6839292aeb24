"""Everything the crash test runs and kills: worker, API, producers, and a webhook that listens."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.exits import EXIT_CODE
from tests.support.api_process import ApiProcess
from tests.support.plays import Sent
from tests.support.process import ServerProcess
from tests.support.topics import committed_of, ends_of, send_all
from tests.support.webhook import WebhookRecorder
from tests.support.worker import Worker, wait_until

POST_SIZE = 50
PATIENCE = 600.0
"""Seconds that anything may take before the test fails; nothing is measured against it."""

STEPS = {
    "plays": "plays", "windows": "partials", "attribution": "evidence", "alerts": "findings",
}  # fmt: skip
"""Steps of the worker in the order of the flow, and the topics they fold."""

SINK_GROUPS = {"": ("windows",), "-alerts": ("findings", "alerts", "deliveries")}
SINK_TOPICS = tuple(name for names in SINK_GROUPS.values() for name in names)


class Background(threading.Thread):
    """A thread whose failure is the test's."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except BaseException as exc:  # noqa: BLE001 - raised again where it is waited for
            self._error = exc

    def finish(self) -> None:
        """Wait for the end, and fail if it failed."""
        self.join(PATIENCE)
        assert not self.is_alive(), "a producer does not end"
        if self._error is not None:
            raise self._error


class Supervised(Worker):
    """A worker that is started again when it leaves with code 70, as any supervisor would.

    ``left`` counts how often: on a machine that stands still a flush may come too late.
    """

    left = 0

    def wait(self, what: Callable[[], Any], seconds: float, describe: str) -> Any:
        """As ``Worker.wait``, starting it again meanwhile."""

        def check() -> Any:
            if self.process is not None and self.process.poll() == EXIT_CODE:
                self.left += 1
                self.start()
            assert self.is_running, f"worker is gone while waiting for {describe}:\n{self.tail()}"
            return what()

        return wait_until(check, seconds, describe)


class Stack:
    """One worker with all roles, one API, on a broker that lives on.

    ``ahead``: how many plays may wait unread, so that kills happen while plays are coming.
    """

    def __init__(
        self, broker: ServerProcess, name: str, folder: Path, hook: WebhookRecorder, ahead: int
    ) -> None:
        self.bootstrap = broker.address
        self.name = name
        self.ahead = ahead
        self.acknowledged: list[str] = []
        self.database = folder / "data" / "backbeat.db"
        env = {
            "BACKBEAT_BROKER": f"kafka://{broker.address}",
            "BACKBEAT_APP_ID": name,
            "BACKBEAT_TOPIC_PREFIX": f"{name}-",
            "BACKBEAT_TENANTS": "demo,acme",
            "BACKBEAT_DATA_DIR": str(folder / "data"),
            "BACKBEAT_WEBHOOK_URL": hook.url,
            "BACKBEAT_FLUSH_RECORDS": "2000",
            "BACKBEAT_SESSION_TIMEOUT": "10",
        }
        roles = {"BACKBEAT_ROLES": "ingest,windows,alerts,notify,sqlite"}
        self.worker = Supervised("faust_app", folder, **env, **roles)
        self.api = ApiProcess(folder, **env)
        self._flushed = 0

    def topic(self, name: str) -> str:
        """The full name of a topic."""
        return f"{self.name}-{name}"

    def start(self) -> None:
        """Start worker and API, and wait until both are at work."""
        self.worker.start()
        self.api.start()
        self.worker.wait_ready(PATIENCE)
        self.api.wait_live(PATIENCE)

    def kill(self) -> None:
        """``kill -9`` both, at once."""
        for process in (self.worker.process, self.api.process):
            assert process is not None
            process.send_signal(signal.SIGKILL)
        self.worker.kill()
        self.api.kill()

    def flushed(self) -> int:
        """How many records of ``plays`` are in flushed state, by the last answer that was had."""
        steps: dict[str, Any] = self.worker.status().get("steps", {})
        places = steps.get("plays", [])
        if len(places) == 4 and all(p["ready"] for p in places):
            self._flushed = sum(p["next_offset"] for p in places)
        return self._flushed

    def wait_flushed(self, count: int) -> None:
        """Wait until so many plays are done."""
        self.worker.wait(lambda: self.flushed() >= count, PATIENCE, f"{count} plays flushed")

    # -- producers ----------------------------------------------------------------------------------

    def feed(self, records: Sequence[Sent], *, already: int = 0, paced: bool = True) -> None:
        """Send records, no more than ``ahead`` in front of the worker."""

        def may_send(sent: int) -> bool:
            return already + sent <= self._flushed + self.ahead

        sending = send_all(
            self.bootstrap, self.topic("plays"), records, timestamps=False,
            **({"may_send": may_send} if paced else {}),
        )  # fmt: skip
        asyncio.run(sending)

    def post(self, records: Sequence[Sent], total: int) -> None:
        """Post plays to the API as the others are flushed, each again until it is accepted.

        A post waits for what was sent until its own last play: ahead of the others it would move the
        watermark, and make as many of them late as chance has it.
        """
        for begin in range(0, len(records), POST_SIZE):
            part = [r.value or b"" for r in records[begin : begin + POST_SIZE]]
            share = total * (begin + len(part)) // len(records) + begin
            wait_until(lambda share=share: self.flushed() >= share, PATIENCE, "plays to go on")
            body = b"[" + b",".join(part) + b"]"
            wait_until(lambda body=body: self._accepted(body), PATIENCE, "a post to be accepted")
            self.acknowledged += [json.loads(value)["event_id"] for value in part]

    def _accepted(self, body: bytes) -> bool:
        status, answer = self.api.request("/api/v1/plays", body)
        assert status in {0, 202, 503}, answer
        return status == 202

    def crash(self, thresholds: Sequence[int], rng: random.Random) -> None:
        """Kill and start again, each time at a random instant after so many plays are done."""
        for threshold in thresholds:
            self.wait_flushed(threshold)
            threading.Event().wait(rng.random() / 2)  # the instant is random; nothing is awaited
            self.kill()
            self.start()

    # -- the end ------------------------------------------------------------------------------------

    def is_caught_up(self) -> bool:
        """Whether every reader has done all there is, and nothing new has come of it meanwhile."""
        wanted = [*STEPS.values(), *SINK_TOPICS, "notifications"]
        topics = [self.topic(name) for name in dict.fromkeys(wanted)]
        before = ends_of(self.bootstrap, topics)
        steps = self.worker.status().get("steps", {})
        for step, source in STEPS.items():
            done = [p["next_offset"] for p in steps.get(step, [])]
            if done != before[self.topic(source)]:
                return False
        for suffix, names in SINK_GROUPS.items():
            sunk = [self.topic(name) for name in names]
            group = f"{self.name}-sqlite{suffix}"
            if committed_of(self.bootstrap, group, sunk) != {t: before[t] for t in sunk}:
                return False
        return ends_of(self.bootstrap, topics) == before
