"""Trainings as jobs of this process: one at a time, a few waiting, cancellable, reported.

The work is done a few milliseconds at a time in a thread, so that requests are answered meanwhile.
Jobs live in memory: an API that restarts has forgotten them, the models that they made are kept.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from api.problems import BusyError, ConflictError, InvalidRequestError, UnknownResourceError
from api.services.history import HistoryReader
from api.services.models import Actor, ModelKeeper
from ml import forecast_training, training
from ml.specs import Spec
from models.errors import BackbeatError, ConfigurationError
from models.learning import Kind, Label, Selector
from storage.protocols import SeriesInfo

log = logging.getLogger(__name__)

UNFINISHED = 8
"""Jobs that run or wait, of all tenants; one tenant may have half of them."""

KEPT = 100
"""Finished jobs that can still be asked for."""

MAX_SERIES = 200
"""Series of one model: a state of 2 to 17 KB each goes to a topic that every worker reads."""

Learned = training.Learned | forecast_training.Learned
Step = Generator[int, None, Any]


class _Course(NamedTuple):
    """How a kind of model is trained; what is learned is the kind's own."""

    complete: Callable[[Spec], dict[str, str | float | int | bool]]
    train: Callable[[Spec, training.History], Step]
    summarise: Callable[[Spec, Sequence[Any], Sequence[Label]], training.Summary]


_COURSES: dict[Kind, _Course] = {
    "detector": _Course(training.complete, training.train, training.summarise),
    "forecaster": _Course(
        forecast_training.complete, forecast_training.train, forecast_training.summarise
    ),
}


@dataclass(slots=True)
class Order:
    """What is to be trained."""

    family: str
    kind: Kind
    spec: Spec
    selector: Selector
    since: int
    until: int
    parent: str
    labels: Sequence[Label]


@dataclass(slots=True)
class Job:
    """One training; times are epoch ms."""

    tenant: str
    id: str
    order: Order
    by: str
    reason: str
    created_at: int
    series: int
    state: str = "queued"
    started_at: int | None = None
    ended_at: int | None = None
    series_done: int = 0
    points_done: int = 0
    model: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def family(self) -> str:
        return self.order.family

    @property
    def kind(self) -> Kind:
        return self.order.kind

    @property
    def progress(self) -> float:
        """Share of its series that are done."""
        return self.series_done / self.series if self.series else 0.0


class Trainer:
    """Takes orders, works them off one after the other, and knows what became of them."""

    def __init__(
        self, history: HistoryReader, keeper: ModelKeeper, clock: Callable[[], int]
    ) -> None:
        self._history = history
        self._keeper = keeper
        self._clock = clock
        self._turn = asyncio.Semaphore(1)
        self._thread = ThreadPoolExecutor(1, "training")  # not those that requests are answered in
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def submit(self, order: Order, actor: Actor) -> Job:
        """Queue a training.

        Raises:
            ProblemError: the order cannot be worked off (422), contradicts the models that there are
                (409), or too many wait already (429).
        """
        self._make_room(actor.tenant)
        course = _COURSES.get(order.kind)
        if course is None:
            msg = (
                f"a {order.kind} cannot be trained on stored windows, which hold no listeners; "
                f"kind is {' or '.join(_COURSES)}"
            )
            raise InvalidRequestError(msg)
        try:
            order.spec = course.complete(order.spec)
            self._keeper.check_new(actor, order.family, order.kind, order.parent)
        except ConfigurationError as exc:
            raise InvalidRequestError(str(exc)) from exc
        found = await self._history.matching(actor.tenant, order.selector, MAX_SERIES + 1)
        if not found:
            msg = "the selector takes in no series that has been seen; see /api/v1/series"
            raise InvalidRequestError(msg)
        if len(found) > MAX_SERIES:
            msg = f"the selector takes in more than {MAX_SERIES} series; narrow it by name or tags"
            raise InvalidRequestError(msg)
        self._make_room(actor.tenant)
        job = Job(
            actor.tenant, secrets.token_hex(8), order, actor.by, actor.reason, actor.now, len(found)
        )
        self._jobs[job.id] = job
        task = asyncio.create_task(self._run(job, found), name=f"train {job.id}")
        self._tasks[job.id] = task
        task.add_done_callback(lambda done: self._end(job, done))
        return job

    def jobs(self, tenant: str) -> list[Job]:
        """A tenant's jobs, the newest first."""
        return [job for job in reversed(self._jobs.values()) if job.tenant == tenant]

    def job(self, tenant: str, job_id: str) -> Job:
        """One job.

        Raises:
            UnknownResourceError: the tenant has none of that id, or it ended long ago.
        """
        job = self._jobs.get(job_id)
        if job is None or job.tenant != tenant:
            msg = f"there is no job {job_id!r}; ended ones are kept for a while only"
            raise UnknownResourceError(msg)
        return job

    async def cancel(self, tenant: str, job_id: str) -> Job:
        """Stop a job that has not ended.

        Raises:
            ProblemError: no such job (404), or it has ended or is about to (409).
        """
        job = self.job(tenant, job_id)
        if job.state not in {"queued", "running"}:
            msg = f"job {job_id} is {job.state}; only one that waits or runs can be cancelled"
            raise ConflictError(msg)
        await self._stop(self._tasks[job_id])
        return job

    async def stop(self) -> None:
        """Cancel whatever has not ended."""
        for task in list(self._tasks.values()):
            await self._stop(task)
        self._thread.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    async def _stop(task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait([task])

    def _make_room(self, tenant: str) -> None:
        waiting = [self._jobs[job_id].tenant for job_id in self._tasks]
        if len(waiting) >= UNFINISHED or waiting.count(tenant) >= UNFINISHED // 2:
            msg = f"{waiting.count(tenant)} of your trainings have not ended; wait, or cancel one"
            raise BusyError(msg)

    async def _run(self, job: Job, series: Sequence[SeriesInfo]) -> None:
        try:
            async with self._turn:
                job.state, job.started_at = "running", self._clock()
                learned = [one for info in series if (one := await self._learn(job, info))]
                if not learned:
                    raise ConfigurationError("no series has a value in that time")
                await self._publish(job, learned)
        except BackbeatError as exc:
            job.error = str(exc)
        except Exception:  # of a task that nobody awaits: the job must say that it failed
            log.exception("training failed", extra={"job": job.id})
            job.error = "the fault is ours, and it has been logged"

    async def _learn(self, job: Job, info: SeriesInfo) -> Learned | None:
        """Train on one series, a step at a time; None where it has no values."""
        order, size, begun = job.order, self._history.size_of(info), job.points_done
        windows = await self._history.windows(info, size, order.since, order.until)
        points = [(w.start, w.value) for w in windows if w.value is not None]
        history = training.History(info.key, size, points)
        steps, loop = _COURSES[order.kind].train(order.spec, history), asyncio.get_running_loop()
        learned = None
        while points and learned is None:
            step = await loop.run_in_executor(self._thread, _advance, steps)
            if isinstance(step, int):
                job.points_done = begun + step
            else:
                learned = step
        job.points_done = begun + len(points)
        job.series_done += 1
        return learned

    async def _publish(self, job: Job, learned: Sequence[Learned]) -> None:
        order = job.order
        found = _COURSES[order.kind].summarise(order.spec, learned, order.labels)
        job.state = "publishing"
        fields: dict[str, Any] = {
            "family": order.family, "kind": order.kind, "selector": order.selector,
            "spec": order.spec, "parent": order.parent, "metrics": found.metrics,
            "data_from": found.data_from, "data_until": found.data_until,
        }  # fmt: skip
        states = ((one.history.series, one.history.size, one.at, one.body) for one in learned)
        actor = Actor(job.tenant, job.by, self._clock(), job.reason)
        model = await self._keeper.add(fields, states, actor)
        job.model, job.metrics = model.id, dict(found.metrics)

    def _end(self, job: Job, task: asyncio.Task[None]) -> None:
        """Whatever became of it, also where it never began."""
        job.state = "done" if job.model else "cancelled" if task.cancelled() else "failed"
        job.ended_at = self._clock()
        del self._tasks[job.id]
        ended = [known for known in self._jobs if known not in self._tasks]
        for known in ended[: max(0, len(ended) - KEPT)]:
            del self._jobs[known]


def _advance(steps: Step) -> int | Learned:
    """The next step, or the result: a generator's end does not pass through a future."""
    try:
        return next(steps)
    except StopIteration as end:
        result: Learned = end.value
        return result
