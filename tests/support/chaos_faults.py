"""Faults at exact points of a flush, from inside the worker: killed there, or frozen there.

``CHAOS_FAULT=point:n[:action]`` in the environment of a worker; at the n-th time that the point is
reached the process kills itself (action ``kill``, the default) or stops itself (``freeze``), once; the
epoch second is left in the file ``CHAOS_MARK``.
Only the client library is patched: the engine does not know. Points:

``after-begin``     a transaction has begun, nothing is in it
``before-offsets``  before the group's offsets join the transaction
``before-commit``   all records of the flush are on the broker, none committed; flushes without an
                    output (a partition's first, which only says where it begins) do not count
``in-commit``       the commit is on its way, no answer has come
``after-commit``    the flush is durable, the worker has not yet gone on
``before-fold``, ``after-fold``            around the pure code of a batch
``in-assigned``, ``in-revoked``            at the begin of the app's rebalance callbacks

Without transactions the commit is the record batch that goes to the changelog.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

FLUSH_POINTS = ("after-begin", "before-offsets", "before-commit", "in-commit", "after-commit")
ACTIONS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}
IN_FLIGHT = 0.002
"""Seconds a commit is given to leave the process; the broker's answer may come or not."""

TAKES_EFFECT = 1.0
"""Seconds within which a process has stopped that stops itself."""


class Fault:
    """The fault that the environment asks for; ``reach`` is called wherever one may be."""

    def __init__(self, wish: str) -> None:
        point, _, rest = wish.partition(":")
        number, _, action = rest.partition(":")
        self.point = point
        self._left = int(number or 1)
        self._signal = ACTIONS[action or "kill"]

    def is_next(self, point: str) -> bool:
        """Count one arrival at a point; whether the fault is to happen at this one."""
        if point != self.point:
            return False
        self._left -= 1
        return self._left == 0

    def happen(self) -> None:
        """Kill or stop this process; a stopped one goes on from here when it is continued."""
        if mark := os.environ.get("CHAOS_MARK"):
            Path(mark).write_text(str(time.time()))
        os.kill(os.getpid(), self._signal)
        # The signal may reach another thread first: this one must not go on to what comes next.
        time.sleep(TAKES_EFFECT)

    def reach(self, point: str) -> None:
        """Have the fault happen if it is to happen here."""
        if self.is_next(point):
            self.happen()


def install(fault: Fault) -> None:
    """Patch the producer of the client library, for this process."""
    begin = AIOKafkaProducer.begin_transaction
    offsets = AIOKafkaProducer.send_offsets_to_transaction
    commit = AIOKafkaProducer.commit_transaction
    send_batch = AIOKafkaProducer.send_batch

    telling: set[int] = set()  # producers whose transaction has outputs

    async def beginning(self: Any) -> None:
        await begin(self)
        telling.discard(id(self))
        fault.reach("after-begin")

    async def joining(self: Any, *args: Any) -> None:
        fault.reach("before-offsets")
        await offsets(self, *args)

    async def committing(self: Any) -> None:
        if id(self) in telling and fault.is_next("before-commit"):
            await self.flush()
            fault.happen()
        if fault.is_next("in-commit"):
            under_way = asyncio.ensure_future(commit(self))
            await asyncio.sleep(IN_FLIGHT)
            fault.happen()
            await under_way
            return
        await commit(self)
        fault.reach("after-commit")

    async def sending(self: Any, batch: Any, topic: str, *, partition: int) -> Any:
        if self._txn_manager is not None and self._txn_manager.transactional_id is not None:
            if not topic.endswith("-changelog"):
                telling.add(id(self))
            return await send_batch(self, batch, topic, partition=partition)
        if not topic.endswith("-changelog"):
            return await send_batch(self, batch, topic, partition=partition)
        fault.reach("before-commit")
        future = await send_batch(self, batch, topic, partition=partition)
        if fault.is_next("after-commit"):
            await future
            fault.happen()
        return future

    AIOKafkaProducer.begin_transaction = beginning
    AIOKafkaProducer.send_offsets_to_transaction = joining
    AIOKafkaProducer.commit_transaction = committing
    AIOKafkaProducer.send_batch = sending
