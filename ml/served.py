"""A detector in service: the active model's, its shadows beside it, and what a rebuild needs.

Only series that a model selects have one of these; all others keep a bare detector and pay nothing.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ml.drift import Drift, DriftWatch
from ml.protocol import Detector, Verdict
from ml.state import DAMAGE, number, numbers
from models.errors import StateError

NAME = "served/1"
RECENT = 128
"""Values that are kept to rebuild a detector from, 16 bytes each: four times what one learns from."""

THRESHOLD = 2.0
"""The score from which a window counts as a finding when models are compared, if a spec has none."""

REFUSED = "refused"
"""Stands for the model of a detector whose state could not be read: no model has such an id."""

_encode = msgspec.msgpack.Encoder().encode


class Compared(NamedTuple):
    """What a shadow and the active model thought of one window that both had learned enough for.

    ``active``/``shadow``: whether it is at or above the threshold; ``active_began``/
    ``shadow_began``: and the one before was not.
    """

    model: str
    at: int
    threshold: float
    active: bool
    shadow: bool
    active_began: bool
    shadow_began: bool


class Shadow:
    """A detector that scores and learns beside the active one, and is never heard."""

    __slots__ = ("active_high", "detector", "shadow_high", "threshold")

    def __init__(self, detector: Detector, threshold: float = THRESHOLD) -> None:
        self.detector = detector
        self.threshold = threshold
        self.active_high = self.shadow_high = False

    def compare(self, model: str, active: Verdict, value: float, at: int) -> Compared | None:
        """Score the value of the window that starts ``at`` (epoch ms); None while either is learning.

        Raises:
            ValueError: the value is not finite.
        """
        verdict = self.detector.score(value, at)
        if active.score is None or verdict.score is None:
            return None
        before = self.active_high, self.shadow_high
        self.active_high = active.score >= self.threshold
        self.shadow_high = verdict.score >= self.threshold
        return Compared(
            model, at, self.threshold, self.active_high, self.shadow_high,
            self.active_high and not before[0], self.shadow_high and not before[1],
        )  # fmt: skip


class Recent:
    """The last values and their times, as arrays: they are dumped with every value that is learned."""

    __slots__ = ("times", "values")

    def __init__(self) -> None:
        self.values, self.times = array("d"), array("q")

    def append(self, value: float, at: int) -> None:
        """Keep one more, and only the last :data:`RECENT`."""
        self.values.append(value)
        self.times.append(at)
        if len(self.values) > RECENT:
            del self.values[0], self.times[0]


class ServedDetector:
    """The active model's detector, with shadows that learn the same values.

    ``model`` is the active model's id, "" for the configured default. ``compared`` and ``drifts``
    collect what the last :meth:`learn` brought; whoever publishes it empties them. They are not
    part of the state.
    """

    name = NAME

    def __init__(self, model: str, active: Detector) -> None:
        self.model = model
        self.active = active
        self.shadows: dict[str, Shadow] = {}
        self.recent = Recent()
        self.drift: DriftWatch | None = None
        self.compared: list[Compared] = []
        self.drifts: list[Drift] = []
        self.refused = ""

    def score(self, value: float, at: int) -> Verdict:
        """The active detector's verdict."""
        return self.active.score(value, at)

    def learn(self, value: float, at: int) -> None:
        """Take the value in: compare first, then let all of them learn."""
        if self.shadows or self.drift is not None:
            verdict = self.active.score(value, at)
            for model, shadow in self.shadows.items():
                compared = shadow.compare(model, verdict, value, at)
                if compared is not None:
                    self.compared.append(compared)
                shadow.detector.learn(value, at)
            if self.drift is not None:
                self.drifts += self.drift.learn(value, verdict.score, at)
        self.active.learn(value, at)
        self.recent.append(value, at)

    def catch_up(self, detector: Detector, since: int | None = None) -> Detector:
        """Teach a detector the kept values after ``since`` (epoch ms; None: all of them)."""
        for value, at in zip(self.recent.values, self.recent.times, strict=True):
            if since is None or at > since:
                detector.learn(value, at)
        return detector

    def dump(self) -> bytes:
        """The state, msgpack: each detector's own state, and the recent values."""
        shadows = [
            [model, s.threshold, s.active_high, s.shadow_high, s.detector.dump()]
            for model, s in self.shadows.items()
        ]
        drift = None if self.drift is None else self.drift.dump()
        return _encode([
            NAME, self.model, self.active.dump(), shadows, self.recent.values.tobytes(),
            self.recent.times.tobytes(), drift,
        ])  # fmt: skip

    @classmethod
    def load(
        cls,
        state: list[Any],
        load_inner: Callable[[bytes], Detector],
        fresh: Callable[[], Detector],
    ) -> ServedDetector:
        """The detector that was dumped; StateError if it is not one.

        Where an inner state cannot be read, what can be is kept: ``refused`` says why, a shadow is
        left out, and an active detector is a ``fresh`` one of the model :data:`REFUSED`.
        """
        refused = []

        def read(body: bytes) -> Detector | None:
            try:
                return load_inner(body)
            except StateError as exc:
                refused.append(str(exc))
                return None

        try:
            _, model, active, shadows, held_values, held_times, drift = state
            detector = read(active)
            if detector is None:
                served = cls(REFUSED, fresh())
            else:
                served = cls(str(model), detector)
            served.recent.times.frombytes(held_times)
            served.recent.values = numbers(held_values, "d", len(served.recent.times))
            for shadow_model, threshold, active_high, shadow_high, body in shadows:
                beside = read(body)
                if beside is None:
                    continue
                shadow = Shadow(beside, number(threshold, most=math.inf))
                shadow.active_high, shadow.shadow_high = bool(active_high), bool(shadow_high)
                served.shadows[str(shadow_model)] = shadow
            served.drift = None if drift is None else DriftWatch.load(drift)
            served.refused = "; ".join(refused)
        except DAMAGE as exc:
            msg = f"state of {NAME} is damaged: {exc}"
            raise StateError(msg) from exc
        return served
