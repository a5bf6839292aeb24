"""Tracks in their first week, held against past releases: a part of the attribution step.

The windows step tells each hour of a release's age; they come here in the order of event time, and
those of one edge by name. A track is judged by what the weeks that were over by then have taught; its
own is learned when it is over. So what comes out does not depend on batches, or on which partition
was faster.
"""

from __future__ import annotations

import logging
from bisect import insort
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from agents import verdicts
from agents.judging import RuleBook
from alerts import rulestate
from alerts.outlook import Aged, beside
from alerts.rulestate import RuleState
from ml.release import ReleaseCurve, ReleasedTrack
from models.config import METRIC_PREFIX, RELEASE_PREFIX
from models.errors import StateError
from models.evidence import Hour
from models.flow import Counters, Output, State, StoreSpec, struct_store
from models.records import Value, Window
from models.releases import HOUR, RELEASE, WEEK
from models.series import format_key
from storage.series_rows import METRIC_MEASURE, parse_group

log = logging.getLogger("backbeat.models")

DROPPED = "releases"
_VERSION = (1, rulestate.VERSION)


class Track(msgspec.Struct, array_like=True):
    """What is kept of one measure of a track until its first week is over.

    ``last`` is its newest window, without values; ``counts`` are by hour, None where not known.
    """

    last: Window
    counts: list[int | None] = []
    rules: dict[str, RuleState] = {}
    version: tuple[int, int] = _VERSION


def _load_track(data: bytes) -> Track:
    track: Track = _TRACKS.decode(data)
    if track.version != _VERSION:
        msg = f"state of a release has version {track.version}; this reads {_VERSION}"
        raise StateError(msg)
    return track


def _load_curve(data: bytes) -> ReleaseCurve:
    """A curve of another version is refused, and begins anew: it must not stop the worker."""
    try:
        return ReleaseCurve.load(data)
    except StateError as exc:
        log.error("release curve begins anew: %s", exc)  # noqa: TRY400
        return ReleaseCurve()


_TRACKS = struct_store("release-tracks", Track)
TRACKS = StoreSpec(_TRACKS.name, _TRACKS.encode, _load_track)
WEEKS = struct_store("release-weeks", list[tuple[int, str]])
"""By tenant and stream: the end of each track's first week, and its name; in that order."""

CURVES = StoreSpec("release-curves", ReleaseCurve.dump, _load_curve)
RELEASE_STORES = (TRACKS, WEEKS, CURVES)


@dataclass(frozen=True, slots=True)
class ReleasesConfig:
    """``limit``: tracks in their first week per tenant and stream (one that two measures are judged
    of counts twice).
    """

    limit: int
    book: RuleBook
    counters: Counters


class Releases:
    """The first weeks in one batch of the step. Counts ``releases`` {over_limit, repeated: hours}."""

    def __init__(self, state: State, config: ReleasesConfig) -> None:
        self._tracks: MutableMapping[str, Track] = state[TRACKS.name]
        self._weeks: MutableMapping[str, list[tuple[int, str]]] = state[WEEKS.name]
        self._curves: MutableMapping[str, ReleaseCurve] = state[CURVES.name]
        self._config = config

    def judge(self, place: str, edge: int, hours: Iterable[Hour]) -> Iterator[Output]:
        """Judge all hours that are over at an edge of one tenant's stream, called ``place``."""
        yield from self._learn(place, edge - 1)
        for hour in sorted(hours, key=_turn):
            for measure, count in sorted(hour.counts.items()):
                yield from self._judge(place, hour, measure, int(count))

    def passed(self, place: str, at: int, *, ended: bool) -> Iterator[Output]:
        """All up to ``at`` was told: learn the weeks that are over. ``ended``: and forget the rest."""
        yield from self._learn(place, at)
        if not ended:
            return
        for _, name in self._weeks.pop(place, ()):
            yield from self._end(self._tracks.pop(_key(place, name)), name, at, "ended")
        for key in [key for key in self._curves if key.startswith(_key(place, ""))]:
            del self._curves[key]

    def _learn(self, place: str, at: int) -> Iterator[Output]:
        """Learn the weeks that were over by then, in their order, and forget their tracks."""
        weeks = self._weeks.get(place)
        if not weeks or weeks[0][0] > at:
            return
        over = [week for week in weeks if week[0] <= at]
        for end, name in over:
            track = self._tracks.pop(_key(place, name))
            key, curve = self._curve(place, name)
            curve.learn(track.counts)
            self._curves[key] = curve
            yield from self._end(track, name, end, "over")
        if left := weeks[len(over) :]:
            self._weeks[place] = left
        else:
            del self._weeks[place]

    def _curve(self, place: str, name: str) -> tuple[str, ReleaseCurve]:
        """The key of the curve that a track is held against, and the curve."""
        key = _key(place, _measure(name))
        return key, self._curves.get(key) or ReleaseCurve()

    def _judge(self, place: str, hour: Hour, measure: str, count: int) -> Iterator[Output]:
        """One hour of one measure of a track: scored, looked at by the rules, and kept."""
        name = f"{measure}\x1f{hour.release}"
        key = _key(place, name)
        begin = hour.start - hour.hour * HOUR
        tags = {RELEASE: hour.release}
        group = format_key(hour.tenant, METRIC_PREFIX + RELEASE_PREFIX + measure, tags)
        window = Window(
            hour.tenant, group, hour.stream, hour.start, hour.start + HOUR, HOUR, HOUR, count, {}
        )
        track = self._tracks.get(key)
        if track is None:
            weeks = self._weeks.get(place) or []
            if len(weeks) >= self._config.limit:
                self._config.counters.count(DROPPED, "over_limit", 1)
                return
            insort(weeks, (begin + WEEK, name))
            self._weeks[place] = weeks
            track = Track(window)
        if hour.hour < len(track.counts):
            self._config.counters.count(DROPPED, "repeated", 1)
            return
        value = self._value(place, name, begin, track, hour.hour, count)
        # Stores and charts know whole hours of the clock: there it stands where it began.
        whole = hour.start - hour.start % HOUR
        told = replace(window, start=whole, end=whole + HOUR, values={METRIC_MEASURE: value})
        yield verdicts.published(told)
        rules = self._config.book.index().release(measure, group)
        series = parse_group(group).series_key(METRIC_MEASURE)
        track.rules, found = verdicts.looked_at(
            rules, track.rules, window, beside(Aged, value, hour=hour.hour), series
        )
        yield from found
        track.counts += [None] * (hour.hour - len(track.counts)) + [count]
        track.last = window
        self._tracks[key] = track

    def _value(
        self, place: str, name: str, begin: int, track: Track, hour: int, count: int
    ) -> Value:
        """What is thought of an hour, the earlier ones of the track being known."""
        released = ReleasedTrack(self._curve(place, name)[1], begin)
        for i, known in enumerate(track.counts):
            if known is not None:
                released.learn(known, begin + i * HOUR)
        verdict = released.score(count, begin + hour * HOUR)._replace(contributions=())
        return verdicts.judged(Value(float(count), float(count)), verdict)

    def _end(self, track: Track, name: str, at: int, why: str) -> Iterator[Output]:
        """Nothing more will be seen of a track: what goes on ends with it."""
        window = replace(track.last, start=at - HOUR, end=at)
        rules = self._config.book.index().release(_measure(name), window.group)
        series = parse_group(window.group).series_key(METRIC_MEASURE)
        return verdicts.abandoned(rules, track.rules, window, series, why)


def _key(place: str, name: str) -> str:
    return f"{place}\x1f{name}"


def _measure(name: str) -> str:
    return name.partition("\x1f")[0]


def _turn(hour: Hour) -> tuple[str, int]:
    return hour.release, hour.partition
