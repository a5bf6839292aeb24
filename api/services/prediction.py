"""Predictions: a model of the topic, or a new one, put to a stored series or to posted points."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

from api.problems import BusyError, ConflictError, InvalidRequestError, UnknownResourceError
from api.schemas import ml as schemas
from api.schemas.ml import MAX_POINTS, JudgedPoint, Prediction, PredictRequest
from api.schemas.segmenting import AssignmentOut, Segmented, SegmentOut
from api.services.history import HistoryReader
from api.services.models import ModelKeeper
from api.services.series import own_key, span
from api.times import DETECT, format_time
from ml import registry, specs
from ml.forecast_training import seen
from ml.forecasting import Forecast, Forecaster, create
from ml.forecasting.forecaster import HORIZON
from ml.life import verify_seal, verify_state
from ml.prediction import Judged, continued, detect, segment
from ml.protocol import Detector
from ml.segmenting.segmenter import Segmenter
from models.errors import ConfigurationError, StateError
from models.learning import Kind, ModelState

AT_ONCE = 4
"""Predictions that run or wait; each takes up to a few seconds of a core."""

DAY_MS = 86_400_000


class _Input(NamedTuple):
    """The points of a prediction, oldest first; ``size`` None where nobody said it."""

    points: list[tuple[int, float | None]]
    size: int | None
    truncated: bool


class _Source(NamedTuple):
    detector: Detector
    learned_until: int | None
    about: str


class Predictor:
    """Answers at once, a few at a time."""

    def __init__(self, history: HistoryReader, keeper: ModelKeeper) -> None:
        self._history = history
        self._keeper = keeper
        self._running = 0

    async def predict(self, tenant: str, asked: PredictRequest, now: int) -> Prediction:
        """What the model says.

        Raises:
            ProblemError: no such series or model (404), a request that cannot be used (422), a model
                that is of another kind or damaged (409), or too many at once (429).
        """
        if self._running >= AT_ONCE:
            msg = f"{AT_ONCE} predictions are running; repeat the request"
            raise BusyError(msg, retry_after=1)
        self._running += 1
        try:
            if asked.mode == "segment":
                return await _segment(asked, now)
            if asked.listeners is not None:
                msg = f"listeners are of mode segment; mode {asked.mode} takes a series, or points"
                raise InvalidRequestError(msg)
            given = await self._input(tenant, asked, now)
            if asked.mode == "forecast":
                return await self._forecast(tenant, asked, given)
            return await self._detect(tenant, asked, given)
        finally:
            self._running -= 1

    async def _detect(self, tenant: str, asked: PredictRequest, given: _Input) -> Prediction:
        source = self._source(tenant, asked, given.size)
        judged = await asyncio.to_thread(
            detect, source.detector, given.points, source.learned_until
        )
        return Prediction(
            mode=asked.mode,
            source=source.about,
            series=asked.series,
            size_ms=given.size,
            points=[_point(one) for one in judged],
            truncated=given.truncated,
        )

    async def _forecast(self, tenant: str, asked: PredictRequest, given: _Input) -> Prediction:
        if asked.spec:
            msg = "a forecast learns from the values it continues; leave spec out"
            raise InvalidRequestError(msg)
        points = given.points
        horizon, levels = asked.horizon, tuple(asked.levels)
        try:
            if asked.model is None:
                step = given.size or _spacing(given.points)
                forecaster = create(step, horizon or HORIZON)
                about = f"a new {forecaster.name}, which learned {len(points)} values"
                found = await asyncio.to_thread(continued, forecaster, points, horizon, levels)
            else:
                forecaster, state = self._forecaster(tenant, asked, given.size)
                later = [
                    (at, value)
                    for at, value in seen(points, state.size, forecaster.step_ms)
                    if at > state.at
                ]
                about = (
                    f"model {asked.model} ({forecaster.name}), learned until "
                    f"{format_time(state.at)} and {len(later)} values since"
                )
                found = await asyncio.to_thread(continued, forecaster, later, horizon, levels)
        except ConfigurationError as exc:
            raise InvalidRequestError(str(exc)) from exc
        return Prediction(
            mode=asked.mode,
            source=about,
            series=asked.series,
            size_ms=given.size,
            points=[],
            forecast=_slots(found),
            truncated=given.truncated,
        )

    def _forecaster(
        self, tenant: str, asked: PredictRequest, size: int | None
    ) -> tuple[Forecaster, ModelState]:
        state = self._learned(tenant, asked, size, "forecaster")
        try:
            return Forecaster.load(state.body), state
        except StateError as exc:
            raise ConflictError(str(exc)) from exc

    async def _input(self, tenant: str, asked: PredictRequest, now: int) -> _Input:
        if asked.series is not None:
            own_key(tenant, asked.series)
        if asked.points is not None:
            points = [(p.at, p.value) for p in asked.points]
            if any(b[0] <= a[0] for a, b in pairwise(points)):
                msg = "points are not in order of time; each must come after the one before"
                raise InvalidRequestError(msg)
            return _Input(points, None if asked.size == DETECT else int(asked.size), False)
        if asked.series is None:
            msg = "send a series, or points"
            raise InvalidRequestError(msg)
        info = await self._history.one(tenant, asked.series, asked.stream)
        if info is None:
            msg = f"there is no series {asked.series!r} in stream {asked.stream!r}"
            raise UnknownResourceError(msg)
        size = self._history.size_of(info) if asked.size == DETECT else int(asked.size)
        since, until = span(asked.since, asked.until, now, DAY_MS)
        found = await self._history.windows(info, size, since, until, MAX_POINTS + 1)
        # A forecast goes on from the newest, a judgement begins with the oldest.
        kept = found[-MAX_POINTS:] if asked.mode == "forecast" else found[:MAX_POINTS]
        return _Input([(w.start, w.value) for w in kept], size, len(found) > MAX_POINTS)

    def _source(self, tenant: str, asked: PredictRequest, size: int | None) -> _Source:
        if asked.model is None:
            try:
                specs.check(asked.spec)
            except ConfigurationError as exc:
                raise InvalidRequestError(str(exc)) from exc
            detector = specs.detector_of(asked.spec)
            return _Source(detector, None, f"a new {detector.name}, which knew nothing before")
        state = self._learned(tenant, asked, size, "detector")
        try:
            detector = registry.load(state.body)
        except StateError as exc:
            raise ConflictError(str(exc)) from exc
        about = f"model {asked.model} ({detector.name}), learned until {format_time(state.at)}"
        return _Source(detector, state.at, about)

    def _learned(
        self, tenant: str, asked: PredictRequest, size: int | None, kind: Kind
    ) -> ModelState:
        """What a model of this kind has learned, as it was sealed."""
        model = self._keeper.model(tenant, asked.model or "")
        if model.kind != kind:
            msg = f"model {model.id} is a {model.kind}; mode {asked.mode} needs a {kind}"
            raise ConflictError(msg)
        states = self._keeper.states(tenant, model.id)
        state = _state(states, asked, size)
        try:
            verify_seal(model, states)
            verify_state(state)
        except StateError as exc:
            raise ConflictError(str(exc)) from exc
        return state


def _state(states: list[ModelState], asked: PredictRequest, size: int | None) -> ModelState:
    """What the model has learned of the series; where none is named, of its only one."""
    found = [s for s in states if asked.series in {None, s.series} and size in {None, s.size}]
    if len(found) != 1:
        of = asked.series or "no series that was named"
        msg = f"model {asked.model} has {len(found)} states for {of}; name one that it learned"
        raise ConflictError(msg)
    return found[0]


async def _segment(asked: PredictRequest, now: int) -> Prediction:
    """Segments of posted listeners; the workers' own are on the topic ``segments``."""
    if not asked.listeners or asked.series or asked.points or asked.model or asked.spec:
        msg = "mode segment takes listeners, at least one, and nothing else"
        raise InvalidRequestError(msg)
    names = [one.listener for one in asked.listeners]
    if len(set(names)) < len(names):
        msg = "a listener is there twice; each has one set of habits"
        raise InvalidRequestError(msg)
    habits = [(one.listener, one.habits()) for one in asked.listeners]
    found = await asyncio.to_thread(segment, habits, now)
    sizes = Counter(place.segment for _, place in found.assigned)
    kinds = sorted(found.segments, key=lambda s: (-sizes[s.id], s.id))
    return Prediction(
        mode=asked.mode,
        source=f"a new {Segmenter.name}, which learned {len(names)} listeners",
        series=None,
        size_ms=None,
        points=[],
        segmented=Segmented(
            learning=not found.segments,
            segments=[
                SegmentOut(id=s.id, description=s.description, centre=s.centre, size=sizes[s.id])
                for s in kinds
            ],
            listeners=[
                AssignmentOut(listener=name, segment=place.segment, distance=place.distance)
                for name, place in found.assigned
            ],
        ),
        truncated=False,
    )


def _point(one: Judged) -> JudgedPoint:
    verdict = one.verdict
    return JudgedPoint(
        at=one.at, value=one.value, score=verdict.score, low=verdict.low, high=verdict.high,
        direction=verdict.direction, shape=verdict.shape, learned=one.learned,
    )  # fmt: skip


def _spacing(points: list[tuple[int, float | None]]) -> int:
    """The least distance between two points."""
    if len(points) < 2:
        msg = "a forecast needs points, or a series; from two points on their spacing is known"
        raise InvalidRequestError(msg)
    return min(after - before for (before, _), (after, _) in pairwise(points))


def _slots(found: Forecast) -> schemas.Forecast:
    slots = [
        schemas.ForecastSlot(
            at=found.at + n * found.step_ms,
            value=value,
            intervals=[
                schemas.Interval(level=level, low=low[n], high=high[n])
                for level, (low, high) in found.intervals.items()
            ],
        )
        for n, value in enumerate(found.points)
    ]
    return schemas.Forecast(
        learning=found.learning, step_ms=found.step_ms, member=found.member, slots=slots
    )
