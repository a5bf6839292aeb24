"""The population and the catalogue: everything about a simulation that does not change with time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulate.config import SimulationConfig
from simulate.markets import COUNTRIES, COUNTRY_NAMES, PLATFORMS
from simulate.personas import PERSONAS, PLANS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_DAY = 86_400_000
_HOUR = 3_600_000
_MAX_SESSION_PLAYS = 16
_GOLDEN = 0.6180339887498949
_SILVER = 0.4142135623730951


def _cumulative(weights: Any) -> Floats:
    """Running share along the last axis, ending at exactly 1."""
    total = np.cumsum(np.asarray(weights, dtype=np.float64), axis=-1)
    out: Floats = total / total[..., -1:]
    return out


class World:
    """Listeners, tracks and habits as arrays. The same seed and configuration give the same world.

    Listeners are sorted by *cell* (country × persona), so that drawing a cell and then a listener of
    it costs two searches.
    """

    def __init__(self, seed: int, config: SimulationConfig) -> None:
        rng = np.random.default_rng([seed, 0])
        self.config = config
        self._listeners(rng, config.listeners)
        self._catalogue(rng, config.tracks, config.artists)
        self._habits(config.sessions)
        self._pace()

    def _listeners(self, rng: np.random.Generator, n: int) -> None:
        country = rng.choice(len(COUNTRIES), n, p=_shares(COUNTRIES))
        persona = rng.choice(len(PERSONAS), n, p=_shares(PERSONAS))
        self.cell = np.sort(country * len(PERSONAS) + persona)
        self.country = self.cell // len(PERSONAS)
        self.persona = self.cell % len(PERSONAS)
        plans = _cumulative([p.plans for p in PERSONAS])
        self.plan = (rng.random(n)[:, None] > plans[self.persona]).sum(axis=1)
        taste = np.array(
            [
                [p.share * c.tilt.get(p.name, 1.0) * who.platforms[p.name] for p in PLATFORMS]
                for c in COUNTRIES
                for who in PERSONAS
            ]
        )
        used = _cumulative(taste)[self.cell]
        self.platform = (rng.random((2, n))[:, :, None] > used).sum(axis=2)
        """Two a listener: the usual one and the other."""
        activity = rng.gamma(1.5, 1.0, n) + 0.05
        activity *= np.array([p.activity for p in PERSONAS])[self.persona]
        self.busy = np.cumsum(activity)
        """Running total of activity over listeners: a uniform draw on it finds a listener."""
        cells = np.arange(len(COUNTRIES) * len(PERSONAS) + 1)
        edges = np.searchsorted(self.cell, cells)
        self.cell_edges = np.concatenate([[0.0], self.busy])[edges]
        self.cell_activity = np.diff(self.cell_edges)

    def _catalogue(self, rng: np.random.Generator, tracks: int, artists: int) -> None:
        ranks = np.arange(tracks)
        self.popularity = _cumulative(1.0 / (ranks + 3.0) ** 1.05)
        """Zipf: a few tracks take most plays, and the tail is long."""
        self.curiosity = _cumulative(1.0 / (ranks + 3.0) ** 0.6)
        weights = rng.permutation(1.0 / np.arange(1, artists + 1) ** 0.7)
        artist = np.searchsorted(_cumulative(weights), rng.random(tracks))
        artist[rng.permutation(tracks)[:artists]] = np.arange(artists)  # none is without a track
        self.artist = artist
        self.by_artist = np.argsort(artist, kind="stable")
        self.artist_first = np.searchsorted(artist[self.by_artist], np.arange(artists))
        self.artist_tracks = np.bincount(artist, minlength=artists)
        lengths = np.exp(rng.normal(np.log(205_000), 0.28, tracks))
        self.track_ms = np.clip(lengths, 45_000, 720_000).astype(np.int64)
        listeners = len(self.cell)
        self.favourite = artist[np.searchsorted(self.popularity, rng.random(listeners))]

    def _habits(self, sessions: bool) -> None:
        self.skip = np.array([p.skip for p in PERSONAS])
        self.own = np.array([p.own for p in PERSONAS])
        self.repertoire = np.array([p.repertoire for p in PERSONAS])
        self.loyal = np.array([p.loyal for p in PERSONAS])
        self.curious = np.array([p.curious for p in PERSONAS])
        self.sources = _cumulative([p.sources for p in PERSONAS])
        self.stop = np.array([1.0 / p.plays if sessions else 1.0 for p in PERSONAS])
        """Chance that a play is its session's last."""
        self.session_plays = (1 - (1 - self.stop) ** _MAX_SESSION_PLAYS) / self.stop
        self.startup = np.array([[c.network * p.startup_ms for p in PLATFORMS] for c in COUNTRIES])
        self.errors = np.array([p.errors for p in PLATFORMS])
        hours = np.array([[p.hours, p.weekend] for p in PERSONAS])
        self.hours = np.concatenate([hours, hours[:, :, :1]], axis=2)
        self.offsets = np.array([c.utc_offset * _HOUR for c in COUNTRIES], dtype=np.int64)

    def _pace(self) -> None:
        """Scale the cells' weights so that their sum is the configured rate at the anchor."""
        self._scale = 1.0
        anchor = self.config.anchor
        monday = 4 * _DAY
        instants = [anchor] if anchor is not None else [monday + h * _HOUR for h in range(24)]
        self._scale = self.config.rate / float(np.mean([self.rates(t).sum() for t in instants]))

    def rates(self, at: int) -> Floats:
        """Plays a second of every cell at an instant, by local hour and day of the week."""
        local = at + self.config.clock_shift + self.offsets
        weekend = ((local // _DAY + 3) % 7 >= 5).astype(np.int64)
        hour, part = np.divmod(local % _DAY, _HOUR)
        before = self.hours[:, weekend, hour]
        after = self.hours[:, weekend, hour + 1]
        habit = (before + (after - before) * (part / _HOUR)).T.reshape(-1)
        out: Floats = habit * self.cell_activity * self._scale
        return out

    def draw_listeners(self, rng: np.random.Generator, rates: Floats, n: int) -> Ints:
        """``n`` listeners, cells in proportion to ``rates``, within a cell by activity."""
        cells = np.searchsorted(_cumulative(rates), rng.random(n), side="right")
        at = self.cell_edges[cells] + rng.random(n) * self.cell_activity[cells]
        out: Ints = np.minimum(np.searchsorted(self.busy, at, side="right"), len(self.busy) - 1)
        return out

    def session_lengths(self, rng: np.random.Generator, listeners: Ints) -> Ints:
        """How many plays each session has."""
        out: Ints = rng.geometric(self.stop[self.persona[listeners]])
        return np.minimum(out, _MAX_SESSION_PLAYS)

    def draw_tracks(self, rng: np.random.Generator, listeners: Ints) -> Ints:
        """A track for each play: the listener's favourite artist, own repertoire, or anything."""
        n = len(listeners)
        who = self.persona[listeners]
        u, v = rng.random((2, n))
        # The k-th track of a repertoire is a fixed quasi-random point on the popularity scale.
        kth = (u * self.repertoire[who]).astype(np.int64)
        fixed = (listeners * _GOLDEN + kth * _SILVER) % 1.0
        point = np.where(v < self.own[who], fixed, u)
        track = np.searchsorted(self.popularity, point, side="right")
        wide = self.curious[who]
        track[wide] = np.searchsorted(self.curiosity, point[wide], side="right")
        loyal = v >= 1.0 - self.loyal[who]
        fan_of = self.favourite[listeners[loyal]]
        pick = (u[loyal] * self.artist_tracks[fan_of]).astype(np.int64)
        track[loyal] = self.by_artist[self.artist_first[fan_of] + pick]
        out: Ints = np.minimum(track, len(self.popularity) - 1)
        return out

    def listener_ids(self) -> list[str]:
        """The id of every listener, by index."""
        return [f"l-{i:06d}" for i in range(len(self.cell))]

    def personas(self) -> dict[str, str]:
        """Listener id -> name of the persona."""
        names = [p.name for p in PERSONAS]
        return dict(zip(self.listener_ids(), (names[i] for i in self.persona), strict=True))

    def heads(self) -> list[bytes]:
        """The part of a play's JSON that belongs to its listener, by listener."""
        tenant = self.config.tenant
        rows = zip(self.listener_ids(), self.country.tolist(), self.plan.tolist(), strict=True)
        return [
            f'"tenant_id":"{tenant}","listener_id":"{who}","country":"{COUNTRY_NAMES[c]}",'
            f'"plan":"{PLANS[p]}"'.encode()
            for who, c, p in rows
        ]

    def keys(self) -> list[bytes]:
        """The Kafka key of every listener."""
        return [f"{self.config.tenant}:{who}".encode() for who in self.listener_ids()]

    def titles(self) -> list[bytes]:
        """The part of a play's JSON that belongs to its track, by track."""
        rows = zip(self.artist.tolist(), self.track_ms.tolist(), strict=True)
        return [
            f'"track_id":"t-{i:06d}","artist_id":"a-{a:05d}","track_ms":{ms}'.encode()
            for i, (a, ms) in enumerate(rows)
        ]


def _shares(table: Any) -> Floats:
    shares = np.array([row.share for row in table])
    out: Floats = shares / shares.sum()
    return out
