"""The series configuration (``config/series.toml``), parsed, checked and frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from models.detection import CalendarSpec, DetectorSpec, EventSpec, parse_calendar, parse_detectors
from models.errors import ConfigurationError
from models.releases import RELEASE
from models.toml import known_keys, load_toml, read_table, tables

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
FURTHEST = 366 * _UNITS["d"]
"""How far ahead a forecast can be asked for, ms."""

PLAY_FIELDS = frozenset({"startup_ms", "completion", "ms_played", "listener_id", "track_id"})
PLAY_PREDICATES = frozenset({"eligible", "failed", "skipped", "offline"})
PLAY_TAGS = frozenset({"country", "platform", "source", "plan", "artist_id", "track_id", RELEASE})


def parse_duration(text: str) -> int:
    """Milliseconds of a duration such as ``10s``, ``5m`` or ``1h30m``.

    Raises:
        ConfigurationError: not a positive duration.
    """
    written = str(text)  # a file may have a number
    parts = re.findall(r"(\d+)(ms|s|m|h|d)", written)
    if not parts or "".join(n + u for n, u in parts) != written.replace(" ", ""):
        msg = f"duration {text!r} is not like 10s, 5m, 1h or 1h30m"
        raise ConfigurationError(msg)
    total = sum(int(n) * _UNITS[u] for n, u in parts)
    if total <= 0:
        msg = f"duration {text!r} is zero; it must be longer"
        raise ConfigurationError(msg)
    return total


def parse_ahead(text: str) -> int:
    """As :func:`parse_duration`, of how far a forecast looks ahead: a year at most."""
    ahead = parse_duration(text)
    if ahead > FURTHEST:
        msg = f"{text!r} is too far ahead; forecasts look {format_duration(FURTHEST)} ahead at most"
        raise ConfigurationError(msg)
    return ahead


def format_duration(ms: int) -> str:
    """The shortest exact text of a duration: 90000 -> ``1m30s``."""
    out = ""
    for unit in ("d", "h", "m", "s", "ms"):
        n, ms = divmod(ms, _UNITS[unit])
        out += f"{n}{unit}" if n else ""
    return out or "0s"


class Time(msgspec.Struct, frozen=True):
    """Clock rules of ingest; all in ms.

    ``held``: how long nothing may be heard of a source partition of plays that others wait for.
    """

    pane: int
    lateness: int
    idle: int
    future: int
    held: int = 60_000


class WindowSpec(msgspec.Struct, frozen=True):
    """A kind of window; all durations in ms. Tumbling when ``slide == size``."""

    size: int
    slide: int
    grace: int
    detect: bool
    retention: int
    keep_every: int | None = None

    @property
    def name(self) -> str:
        """How rules and the API call it: its size (``10s``), which no other window has."""
        return format_duration(self.size)


class Measure(msgspec.Struct, frozen=True):
    """What is computed from the plays of a window, over each dimension group.

    kinds: ``count`` (of plays, or of those where a predicate holds), ``ratio`` (plays where it
    holds / plays), ``mean`` and ``quantile`` of a field where it is present, ``distinct``.
    """

    name: str
    kind: Literal["count", "ratio", "mean", "quantile", "distinct"]
    where: str | None = None
    of: str | None = None
    q: float | None = None
    unit: str = ""


Bound = Annotated[int, msgspec.Meta(ge=0)]


class Limits(msgspec.Struct, frozen=True):
    """Bounds per tenant on how many group instances and metric series are kept, and, per stream and
    joint, on how many things are judged. ``releases_per_tenant``: tracks in their first week, of which
    a group is kept if there is a group ``release``, and which ``release(...)`` rules judge, a stream.
    """

    groups_per_tenant: Bound
    metrics_per_tenant: Bound
    entities_per_tenant: Bound = 1000
    releases_per_tenant: Bound = 1000


class JointSpec(msgspec.Struct, frozen=True):
    """One ``[[joint]]`` table: metrics of one thing that are judged together, window by window.

    Samples belong to one thing if they agree in ``tags``, or in all their tags where that is None.
    ``window`` is the tumbling window's length, ``wait`` how far a sample may be behind its partition's
    newest, over the allowed lateness, and still count; both in ms.
    """

    name: str
    metrics: tuple[str, ...]
    window: int
    tags: tuple[str, ...] | None
    wait: int

    @property
    def series(self) -> str:
        """The name of its series of surprises; no metric may have it."""
        return f"{JOINT_PREFIX}{self.name}"


class SeriesConfig(msgspec.Struct, frozen=True):
    """Everything ``series.toml`` says. ``groups`` are sorted tag-name tuples, ``()`` the total."""

    time: Time
    windows: tuple[WindowSpec, ...]
    groups: tuple[tuple[str, ...], ...]
    measures: tuple[Measure, ...]
    limits: Limits
    metric_pane_min: int
    metric_pane_max: int
    detectors: tuple[DetectorSpec, ...] = ()
    calendar: CalendarSpec | None = None
    joints: tuple[JointSpec, ...] = ()

    @property
    def measure_names(self) -> frozenset[str]:
        """Names that no metric may have: its series key would be that of a measure of plays, of
        metrics that are judged together, or of a track's first week.
        """
        names = [m.name for m in self.measures]
        weeks = [RELEASE_PREFIX + name for name in names] if (RELEASE,) in self.groups else ()
        return frozenset((*names, *weeks, *(j.series for j in self.joints)))


def group_name(tags: tuple[str, ...]) -> str:
    """The name of a dimension group of plays: ``all``, ``country``, ``country_platform``."""
    return "_".join(sorted(tags)) or "all"


METRIC_PREFIX = "metric:"
"""Group names of metric series are the metric's name behind this; their one measure is ``value``."""

JOINT_PREFIX = "joint:"
"""Series of joint surprises are called by their table's name behind this."""

RELEASE_PREFIX = "release:"
"""Series of a track's first week are called by the measure's name behind this."""

MOST_TOGETHER = 16
"""Metrics judged together at most: their covariances are learned from about 400 windows."""


class _JointSource(msgspec.Struct, frozen=True):
    name: str
    metrics: tuple[str, ...]
    window: str
    tags: tuple[str, ...] | None = None
    wait: str | None = None


class _PlaysSource(msgspec.Struct, frozen=True):
    groups: list[list[str]]
    measures: list[dict[str, Any]]


_PANES = ("pane_min", "pane_max")

KEYS: Mapping[str, tuple[str, ...]] = {
    "time": Time.__struct_fields__,
    "windows": WindowSpec.__struct_fields__,
    "limits": Limits.__struct_fields__,
    "plays": _PlaysSource.__struct_fields__,
    "plays.measures": Measure.__struct_fields__,
    "metrics": _PANES,
    "detectors": DetectorSpec.__struct_fields__,
    "joint": _JointSource.__struct_fields__,
    "calendar": CalendarSpec.__struct_fields__,
    "calendar.events": EventSpec.__struct_fields__,
}
"""The keys of each table of ``series.toml``."""

TABLES = frozenset(name for name in KEYS if "." not in name)


def load_series_config(path: Path) -> SeriesConfig:
    """Read and check ``series.toml``.

    Raises:
        ConfigurationError: what is wrong, with the name and value, and what would be right.
    """
    return load_toml(path, "series configuration", parse_series_config)


def parse_series_config(raw: dict[str, Any]) -> SeriesConfig:
    """Check an already read configuration; raises :class:`ConfigurationError`."""
    if unknown := sorted(raw.keys() - TABLES):
        msg = f"there are unknown tables {unknown}; known: {sorted(TABLES)}"
        raise ConfigurationError(msg)
    config = _build(raw)
    _check(config)
    return config


def _build(raw: dict[str, Any]) -> SeriesConfig:
    if "windows" not in raw:
        raise ConfigurationError("there is no table [[windows]]")
    one = {name: _table(raw, name) for name in ("time", "limits", "plays", "metrics")}
    plays = read_table(one["plays"], _PlaysSource, "[plays]")
    groups = tuple(tuple(sorted(g)) for g in plays.groups)
    measures = tuple(
        read_table(m, Measure, f"measure {m.get('name', '(without name)')!r}")
        for m in plays.measures
    )
    panes = _durations(one["metrics"], _PANES, "[metrics]")
    return SeriesConfig(
        time=Time(
            **_durations(one["time"], ("pane", "lateness", "idle", "future"), "[time]", "held")
        ),
        windows=tuple(map(_window, tables(raw, "windows"))),
        groups=groups,
        measures=measures,
        limits=read_table(one["limits"], Limits, "[limits]"),
        metric_pane_min=panes["pane_min"],
        metric_pane_max=panes["pane_max"],
        detectors=parse_detectors(tables(raw, "detectors"), [m.name for m in measures], groups),
        calendar=parse_calendar(_table(raw, "calendar") if "calendar" in raw else None),
        joints=tuple(map(_joint, tables(raw, "joint"))),
    )


def _table(raw: dict[str, Any], name: str) -> dict[str, Any]:
    table = raw.get(name)
    if not isinstance(table, dict):
        msg = f"{name} is written [{name}], once" if name in raw else f"there is no table [{name}]"
        raise ConfigurationError(msg)
    return table


def _durations(
    table: dict[str, Any], needed: tuple[str, ...], where: str, *others: str
) -> dict[str, int]:
    """A table that is all durations, in ms; ``others`` may be left out."""
    known_keys(table, (*needed, *others), where)
    if lacking := [key for key in needed if key not in table]:
        msg = f"{where} lacks {lacking}"
        raise ConfigurationError(msg)
    found = {}
    for key, value in table.items():
        try:
            found[key] = parse_duration(value)
        except ConfigurationError as exc:
            msg = f"{where} {key}: {exc}"
            raise ConfigurationError(msg) from exc
    return found


def _window(table: dict[str, Any]) -> WindowSpec:
    where = f"window {table.get('size', '(without size)')!r}"
    known_keys(table, WindowSpec.__struct_fields__, where)
    detect = table.get("detect", False)
    if not isinstance(detect, bool):
        msg = f"{where}: detect is true or false, not {detect!r}"
        raise ConfigurationError(msg)
    rest = {key: value for key, value in table.items() if key != "detect"}
    needed = ("size", "slide", "grace", "retention")
    return WindowSpec(detect=detect, **_durations(rest, needed, where, "keep_every"))


def _joint(table: dict[str, Any]) -> JointSpec:
    """A ``[[joint]]`` table; :func:`_check_joint` looks at it among all else."""
    name = f"joint {table.get('name', '(without name)')!r}"
    source = read_table(table, _JointSource, name)
    try:
        window = parse_duration(source.window)
        wait = window if source.wait is None else parse_duration(source.wait)
    except ConfigurationError as exc:
        msg = f"{name}: {exc}"
        raise ConfigurationError(msg) from exc
    return JointSpec(source.name, source.metrics, window, source.tags, wait)


def _check(config: SeriesConfig) -> None:
    pane = config.time.pane
    for w in config.windows:
        if w.slide > w.size:
            msg = (
                f"window slide {format_duration(w.slide)} is longer than its size "
                f"{format_duration(w.size)}; events between windows would be lost"
            )
            raise ConfigurationError(msg)
        if w.size % pane or w.slide % pane:
            msg = (
                f"window {format_duration(w.size)} every {format_duration(w.slide)} is not made of "
                f"whole panes of {format_duration(pane)}"
            )
            raise ConfigurationError(msg)
    names_of_windows = [w.name for w in config.windows]
    if len(set(names_of_windows)) < len(names_of_windows):
        msg = f"two windows have the same size: {names_of_windows}; rules call a window by its size"
        raise ConfigurationError(msg)
    for group in config.groups:
        if unknown := set(group) - PLAY_TAGS:
            msg = f"group {group} has unknown tags {sorted(unknown)}; known: {sorted(PLAY_TAGS)}"
            raise ConfigurationError(msg)
    names = [m.name for m in config.measures]
    if len(set(names)) < len(names):
        msg = f"two measures have the same name: {names}"
        raise ConfigurationError(msg)
    for m in config.measures:
        _check_measure(m)
    for j in config.joints:
        _check_joint(j, config)


def _check_measure(m: Measure) -> None:
    if m.kind == "ratio" and m.where is None:
        msg = f"measure {m.name!r} is a ratio without `where`"
        raise ConfigurationError(msg)
    if m.kind in {"mean", "quantile", "distinct"} and m.of not in PLAY_FIELDS:
        msg = f"measure {m.name!r} is of {m.of!r}; known fields: {sorted(PLAY_FIELDS)}"
        raise ConfigurationError(msg)
    if m.where is not None and m.where not in PLAY_PREDICATES:
        msg = f"measure {m.name!r} asks where {m.where!r}; known: {sorted(PLAY_PREDICATES)}"
        raise ConfigurationError(msg)
    if m.kind == "quantile" and not (m.q is not None and 0 < m.q < 1):
        msg = f"measure {m.name!r} needs q between 0 and 1, not {m.q}"
        raise ConfigurationError(msg)


def _check_joint(j: JointSpec, config: SeriesConfig) -> None:
    if not re.fullmatch(r"\w+", j.name):
        msg = f"joint {j.name!r} is no name; use letters, digits and _"
        raise ConfigurationError(msg)
    if sum(other.name == j.name for other in config.joints) > 1:
        msg = f"two joints are called {j.name!r}; names are unique"
        raise ConfigurationError(msg)
    if not 2 <= len(j.metrics) <= MOST_TOGETHER or len(set(j.metrics)) < len(j.metrics):
        msg = (
            f"joint {j.name!r} takes 2 to {MOST_TOGETHER} different metrics, not {list(j.metrics)}"
        )
        raise ConfigurationError(msg)
    if taken := sorted(config.measure_names & set(j.metrics)):
        msg = (
            f"joint {j.name!r} names {taken}, which are no metrics but measures of plays or joints"
        )
        raise ConfigurationError(msg)
    if j.tags is not None and (not j.tags or len(set(j.tags)) < len(j.tags)):
        msg = f"joint {j.name!r} has tags {list(j.tags)}; name different tags, or leave them out for all"
        raise ConfigurationError(msg)
    if j.window % config.metric_pane_min:
        msg = (
            f"joint {j.name!r}: window {format_duration(j.window)} is not made of whole panes of "
            f"{format_duration(config.metric_pane_min)}"
        )
        raise ConfigurationError(msg)
