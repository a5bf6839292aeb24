"""Features of a series, declared in one line and built from River's ``compose``.

    value, difference, lag(3), mean(12), ratio(24), log, hour_of_week; scaled

The same object serves online (:meth:`Features.transform_one`, then :meth:`Features.learn_one`) and over
stored values (:func:`in_batch`). Its version is the hash of the canonical text: a model names the
version it was trained with, so a pipeline cannot change under a model unseen.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import msgspec
from river import base, compose, preprocessing

from ml.protocol import finite
from ml.state import DAMAGE, number
from models.errors import ConfigurationError, StateError

NAME = "features/1"
MOST = 16
"""Features of one pipeline: each costs some microseconds a value."""

LONGEST = 512
"""Values that a feature may look back at most: they are part of a model's state."""

SCALED = "scaled"
_LARGEST_RATIO = 1e6
_HOUR = 3_600_000
_TERM = re.compile(r"([a-z_]+)(?:\((\d+)\))?")


class Point(NamedTuple):
    """What a feature is made of: the value, its time, and the values before it, the last one last."""

    value: float
    at: int
    before: deque[float]


def _lag(point: Point, n: int) -> float:
    return point.before[-n] if len(point.before) >= n else point.value


def _rolling_mean(point: Point, n: int) -> float:
    last = [*list(point.before)[-(n - 1) :], point.value] if n > 1 else [point.value]
    return sum(last) / len(last)


def _ratio(point: Point, n: int) -> float:
    usual = _lag(point, n)
    if not usual:
        return 1.0
    return min(max(point.value / usual, -_LARGEST_RATIO), _LARGEST_RATIO)


def _log(point: Point, _n: int) -> float:
    return math.copysign(math.log1p(abs(point.value)), point.value)


def _hour_of_week(point: Point, _n: int) -> float:
    return float(point.at // _HOUR % 168)


def _value(point: Point, _n: int) -> float:
    return point.value


def _difference(point: Point, n: int) -> float:
    return point.value - _lag(point, n)


_Make = Callable[[Point, int], float]
_PLAIN: dict[str, _Make] = {"value": _value, "log": _log, "hour_of_week": _hour_of_week}
_BACK: dict[str, _Make] = {
    "difference": _difference, "lag": _lag, "mean": _rolling_mean, "ratio": _ratio,
}  # fmt: skip


class Term(NamedTuple):
    """One named feature; ``n`` is how many values it looks back, 0 if it does not."""

    kind: str
    n: int

    def __str__(self) -> str:
        return f"{self.kind}({self.n})" if self.n else self.kind


class Spec(NamedTuple):
    """Features in the order they were given, and whether they are scaled to mean 0 and deviation 1."""

    terms: tuple[Term, ...]
    scaled: bool

    def __str__(self) -> str:
        text = ", ".join(map(str, self.terms))
        return f"{text}; {SCALED}" if self.scaled else text


def parse(text: str) -> Spec:
    """The spec that a line says.

    ``lag(n)``: the value n before, or this one while there are too few; ``difference(n)`` and
    ``ratio(n)`` against it (n = 1 if not given; a season's length makes a ratio to the season, which
    is 1 against 0 and never beyond a million); ``mean(n)``: of the last n with this one; ``log``:
    ln(1 + |value|), signed; ``hour_of_week``: 0 to 167, UTC, from Thursday 0 h on, as epoch time
    began. ``; scaled`` at the end puts River's StandardScaler behind.

    Raises:
        ConfigurationError: an unknown feature, one twice, more than 16, or a length that is not
            1 to 512.
    """
    listed, _, last = (part.strip() for part in text.partition(";"))
    if last not in {"", SCALED}:
        msg = f"features end in {last!r}; after a semicolon there can only be {SCALED!r}"
        raise ConfigurationError(msg)
    terms = tuple(_term(part.strip()) for part in listed.split(","))
    twice = sorted({str(t) for t in terms if terms.count(t) > 1})
    if twice:
        msg = f"features name {', '.join(twice)} twice"
        raise ConfigurationError(msg)
    if len(terms) > MOST:
        msg = f"features are {len(terms)}; they can be {MOST} at most"
        raise ConfigurationError(msg)
    return Spec(terms, bool(last))


def _term(text: str) -> Term:
    match = _TERM.fullmatch(text)
    kind, n = (match[1], match[2]) if match else (text, None)
    if kind in _PLAIN and n is None:
        return Term(kind, 0)
    if kind not in _BACK:
        known = ", ".join([*_PLAIN, *(f"{k}(n)" for k in _BACK)])
        msg = f"there is no feature {text!r}; there are {known}"
        raise ConfigurationError(msg)
    if not 1 <= int(n or 1) <= LONGEST:
        msg = f"feature {text} looks back {n} values; it can be 1 to {LONGEST}"
        raise ConfigurationError(msg)
    return Term(kind, int(n or 1))


def version(text: str) -> str:
    """The version of a pipeline: twelve hex digits of its canonical spec, however it was written.

    Raises:
        ConfigurationError: as :func:`parse`.
    """
    return hashlib.sha256(f"{NAME} {parse(text)}".encode()).hexdigest()[:12]


class Features(base.Transformer):
    """The pipeline of a spec, with the past values and the scale that it keeps. One owner.

    Raises:
        ConfigurationError: as :func:`parse`.
    """

    def __init__(self, spec: str = "value") -> None:
        self.spec = spec
        parsed = parse(spec)
        self._before: deque[float] = deque(maxlen=max(t.n for t in parsed.terms) or 1)
        union = compose.TransformerUnion(
            *((str(t), compose.FuncTransformer(partial(_made, t))) for t in parsed.terms)
        )
        self._scaler = preprocessing.StandardScaler() if parsed.scaled else None
        self._pipeline = union if self._scaler is None else union | self._scaler

    @property
    def version(self) -> str:
        """See :func:`version`."""
        return version(self.spec)

    def transform_one(self, x: dict[str, Any]) -> dict[str, float]:
        """Features by name of ``{"value": float, "at": epoch ms}``. Changes nothing.

        Raises:
            ValueError: the value is not finite.
        """
        made: dict[str, float] = self._pipeline.transform_one(self._point(x))
        return made

    def learn_one(self, x: dict[str, Any]) -> None:
        """Take the value into scale and past; ``at`` never goes back.

        Raises:
            ValueError: the value is not finite.
        """
        point = self._point(x)
        if self._scaler is not None:
            self._pipeline.learn_one(point)
        self._before.append(point["point"].value)

    def _point(self, x: dict[str, Any]) -> dict[str, Point]:
        return {"point": Point(finite(x["value"]), int(x["at"]), self._before)}

    def dump(self) -> bytes:
        """The state, msgpack: 9 bytes a value looked back at, 30 a scaled feature."""
        scale = None
        if self._scaler is not None:
            s = self._scaler
            scale = [dict(s.counts), dict(s.means), dict(s.vars)]
        return msgspec.msgpack.encode([NAME, self.spec, list(self._before), scale])

    @classmethod
    def load(cls, state: bytes) -> Features:
        """The pipeline that was dumped; StateError if it is not one of this version."""
        try:
            name, spec, before, scale = msgspec.msgpack.decode(state)
            if name != NAME:
                msg = f"state is of {name!r}; this program reads {NAME}"
                raise StateError(msg)
            features = cls(spec)
            features._before.extend(number(value) for value in before)
            if features._scaler is not None:
                s = features._scaler
                for held, kept in zip((s.counts, s.means, s.vars), scale, strict=True):
                    held.update({str(k): number(v) for k, v in kept.items()})
        except (*DAMAGE, ConfigurationError) as exc:
            msg = f"state of {NAME} is damaged: {exc}"
            raise StateError(msg) from exc
        return features


def _made(term: Term, x: dict[str, Point]) -> dict[str, float]:
    make = _PLAIN.get(term.kind) or _BACK[term.kind]
    return {str(term): make(x["point"], term.n)}


def in_batch(features: Features, points: Iterable[tuple[float, int]]) -> Iterator[dict[str, float]]:
    """The features of (value, epoch ms) in order, as they would have been online.

    Raises:
        ValueError: a value is not finite.
    """
    for value, at in points:
        x = {"value": value, "at": at}
        yield features.transform_one(x)
        features.learn_one(x)
