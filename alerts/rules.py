"""Rules and receivers as users write them, parsed strictly and cross-checked with the series."""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from alerts.grammar import Condition, Direction, Operator, parse_when
from models.config import JointSpec, SeriesConfig, WindowSpec, format_duration, parse_duration
from models.errors import ConfigurationError, StateError
from models.records import LIVE
from models.releases import HOUR, RELEASE

SEVERITIES = ("page", "ticket", "info")
PANE = "pane"
"""The window of a rule on metrics: whatever pane the metric's own spacing gave it."""

PLACEHOLDER = re.compile(r"\{(\w+)\}")
"""A tag's place in a rule's summary."""

METRIC_MEASURE = "value"
_ADDITIVE = frozenset({"count", "ratio", "mean"})
JOINT = "joint"
_WEIGHTED = frozenset({"ratio", "mean", "quantile", METRIC_MEASURE, JOINT})


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule, complete in itself: it needs no configuration beside it to be applied.

    ``tags`` are the dimension group's tags in the order they were written (wording follows it);
    None for a rule on metrics, whose names match the glob ``metric``. ``size`` is the window's in
    ms, None for a metric's pane. ``hold``, ``min_history`` and ``reopen`` are ms of event time;
    ``reopen`` None means *auto*: growing with the stream's age. ``tenant`` empty: for all.
    ``shape`` is the only one the rule wants of a surprise, empty for any.
    ``attribute``: its findings wait for the other slices, and one speaks for those it explains.
    ``metrics`` are what a joint rule's ``measure`` (a ``[[joint]]`` table's name) is made of; its
    weight is how many of them have a value.
    """

    id: str
    kind: Literal["threshold", "anomaly", "absence", "forecast", "joint", "release"]
    measure: str
    measure_kind: str
    unit: str
    op: Operator
    threshold: float
    direction: Direction
    hold: int
    size: int | None
    severity: Literal["page", "ticket", "info"]
    version: str = ""
    tenant: str = ""
    tags: tuple[str, ...] | None = None
    metric: str | None = None
    match: dict[str, str] = {}
    min_weight: float = 0.0
    min_history: int = 0
    reopen: int | None = 0
    summary: str = ""
    receivers: tuple[str, ...] = ()
    shape: str = ""
    within: int = 0
    probability: float = 0.0
    attribute: bool = False
    metrics: tuple[str, ...] = ()

    @property
    def is_weighted(self) -> bool:
        """Whether a window of little weight is no data for the measure: a share of two plays says
        nothing, a count of two says two.
        """
        return self.measure_kind in _WEIGHTED


class Receiver(msgspec.Struct, frozen=True):
    """Where notifications go: what it takes. Its address and secrets are settings, not rules."""

    name: str
    kind: Literal["webhook"]
    severities: tuple[Literal["page", "ticket", "info"], ...] = ("page", "ticket")
    streams: tuple[str, ...] = (LIVE,)


class _RuleSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of one ``[[rules]]`` table."""

    id: str
    when: str
    severity: Literal["page", "ticket", "info"]
    window: str = ""
    group: list[str] | None = None
    metric: str | None = None
    match: dict[str, str] = {}
    min_weight: float = 0.0
    min_history: str | None = None
    reopen: str | None = None
    summary: str = ""
    receivers: list[str] = []
    attribute: bool | None = None


def load_rules(path: Path, series: SeriesConfig) -> tuple[tuple[Rule, ...], tuple[Receiver, ...]]:
    """Read and check ``rules.toml``.

    Raises:
        ConfigurationError: what is wrong, with the name and value, and what would be right.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        msg = f"rules {path}: {exc}"
        raise ConfigurationError(msg) from exc
    try:
        return parse_rules(raw, series)
    except ConfigurationError as exc:
        msg = f"{path}: {exc}"
        raise ConfigurationError(msg) from exc


def parse_rules(
    raw: dict[str, Any], series: SeriesConfig
) -> tuple[tuple[Rule, ...], tuple[Receiver, ...]]:
    """Check already read rules and receivers; raises :class:`ConfigurationError`."""
    _known_keys(raw, ("rules", "receivers"), "rules file")
    rules = tuple(parse_rule(r, series) for r in raw.get("rules", []))
    receivers = tuple(parse_receiver(r) for r in raw.get("receivers", []))
    _unique("rules", (r.id for r in rules))
    _unique("receivers", (r.name for r in receivers))
    names = [r.name for r in receivers]
    for rule in rules:
        for name in rule.receivers:
            if name not in names:
                msg = f"rule {rule.id!r} names the receiver {name!r}; {_instead(name, names)}"
                raise ConfigurationError(msg)
    return rules, receivers


def parse_rule(raw: dict[str, Any], series: SeriesConfig, tenant: str = "") -> Rule:
    """One rule from the keys of its table, for all tenants or for one.

    Raises:
        ConfigurationError: an unknown key, measure, group, tag or window, or what contradicts
            itself.
    """
    name = f"rule {raw.get('id', '(without id)')!r}"
    _known_keys(raw, _RuleSource.__struct_fields__, name)
    try:
        source = msgspec.convert(raw, _RuleSource)
        rule = _build(source, series, tenant)
    except (msgspec.ValidationError, ConfigurationError) as exc:
        msg = f"{name}: {exc}"
        raise ConfigurationError(msg) from exc
    return msgspec.structs.replace(rule, version=_version(rule))


def parse_receiver(raw: dict[str, Any]) -> Receiver:
    """One receiver from the keys of its table; raises :class:`ConfigurationError`."""
    name = f"receiver {raw.get('name', '(without name)')!r}"
    _known_keys(raw, Receiver.__struct_fields__, name)
    try:
        return msgspec.convert(raw, Receiver)
    except msgspec.ValidationError as exc:
        msg = f"{name}: {exc}"
        raise ConfigurationError(msg) from exc


def rule_to_json(rule: Rule) -> bytes:
    """The rule as a value of the ``rules`` topic, whose key is ``tenant:rule``."""
    return msgspec.json.encode(rule)


def rule_from_json(value: bytes) -> Rule:
    """The rule that :func:`rule_to_json` wrote.

    Raises:
        StateError: the bytes are not a rule.
    """
    try:
        return _decode_rule(value)
    except msgspec.DecodeError as exc:
        msg = f"saved rule of {len(value)} bytes: {exc}"
        raise StateError(msg) from exc


_decode_rule = msgspec.json.Decoder(Rule).decode


def rule_key(tenant: str, rule_id: str) -> str:
    """The key of a saved rule on the ``rules`` topic."""
    return f"{tenant}:{rule_id}"


def _build(source: _RuleSource, series: SeriesConfig, tenant: str) -> Rule:
    if not source.id.strip():
        raise ConfigurationError("id is empty")
    if source.min_weight < 0:
        msg = f"min_weight {source.min_weight:g} is negative; 0 asks for none"
        raise ConfigurationError(msg)
    condition = parse_when(source.when)
    if condition.kind == "absence" and source.metric is not None:
        raise ConfigurationError(
            "absent(...) is for plays: a metric that falls silent has no windows any more"
        )
    if condition.kind == "release":
        source = _of_releases(source, condition.measure, series)
    _check_summary(source)
    joint = _joint(source, condition, series)
    kind, unit = (JOINT, "deviations") if joint else _measure(source, condition.measure, series)
    return Rule(
        id=source.id,
        kind=condition.kind,
        measure=condition.measure,
        measure_kind=kind,
        unit=unit,
        op=condition.op,
        threshold=condition.threshold,
        direction=condition.direction,
        hold=condition.hold,
        size=joint.window if joint else _window(source, condition.kind, series),
        severity=source.severity,
        tenant=tenant,
        tags=tuple(source.group) if source.group is not None else None,
        metric=source.metric,
        match=source.match,
        min_weight=source.min_weight,
        min_history=parse_duration(source.min_history) if source.min_history else 0,
        reopen=_reopen(source.reopen),
        summary=source.summary,
        receivers=tuple(source.receivers),
        shape=condition.shape,
        within=condition.within,
        probability=condition.probability,
        attribute=not joint and _attribute(source, condition.kind, kind, series),
        metrics=joint.metrics if joint else (),
    )


def _joint(source: _RuleSource, condition: Condition, series: SeriesConfig) -> JointSpec | None:
    """The table that a joint rule asks for, after checking what else it asks; None for another rule."""
    if condition.kind != "joint":
        return None
    name, tables = condition.measure, {joint.name: joint for joint in series.joints}
    if name not in tables:
        msg = f"joint {name!r} is no [[joint]] table of series.toml; {_instead(name, list(tables))}"
        raise ConfigurationError(msg)
    if source.group is not None or source.metric is not None:
        msg = f"joint({name}) has its metrics in series.toml; leave out `group` and `metric`"
        raise ConfigurationError(msg)
    window = format_duration(tables[name].window)
    if source.window and parse_duration(source.window) != tables[name].window:
        msg = f"window {source.window!r}: joint {name!r} is judged in {window}; leave it out"
        raise ConfigurationError(msg)
    if source.attribute:
        raise ConfigurationError("attribute is for plays; metrics judged together have no slices")
    tags = tables[name].tags
    if tags is not None and (unknown := source.match.keys() - set(tags)):
        msg = f"match has {sorted(unknown)}; things of joint {name!r} have the tags {sorted(tags)}"
        raise ConfigurationError(msg)
    return tables[name]


def _of_releases(source: _RuleSource, measure: str, series: SeriesConfig) -> _RuleSource:
    """The rule with what one on tracks' first weeks need not say, after checking that they are kept."""
    if source.metric is not None or source.group not in (None, [RELEASE]):
        raise ConfigurationError(f"release(...) is of the group {[RELEASE]}; leave out `group`")
    if (RELEASE,) not in series.groups:
        raise ConfigurationError(f"release(...) needs the group {[RELEASE]} in series.toml")
    hours = [w for w in series.windows if w.size == HOUR]
    if len(hours) != 1 or HOUR % hours[0].slide or hours[0].slide == HOUR:
        found = (
            f"{len(hours)} of 1h" if len(hours) != 1 else f"slide {format_duration(hours[0].slide)}"
        )
        msg = f"release(...) needs one window of 1h, whose slide is a part of it, not {found}"
        raise ConfigurationError(msg)
    if any(m.name == measure and m.kind not in {"count", "distinct"} for m in series.measures):
        raise ConfigurationError(f"release({measure}): only counts follow releases' usual course")
    if source.attribute or source.window not in {"", hours[0].name}:
        raise ConfigurationError("release(...) looks at hours; leave out `window` and `attribute`")
    return msgspec.structs.replace(source, group=[RELEASE], window=hours[0].name)


def _measure(source: _RuleSource, measure: str, series: SeriesConfig) -> tuple[str, str]:
    """(kind, unit) of the measure that is asked about, after checking where it is asked for."""
    if (source.group is None) == (source.metric is None):
        raise ConfigurationError(
            "needs either `group` (tags of plays) or `metric` (a name), not both"
        )
    if source.metric is not None:
        if measure != METRIC_MEASURE:
            msg = f"asks for {measure!r} of a metric, which has one measure: {METRIC_MEASURE}"
            raise ConfigurationError(msg)
        return METRIC_MEASURE, ""
    group = tuple(sorted(source.group or ()))
    if group not in series.groups:
        known = ", ".join(str(list(g)) for g in series.groups)
        msg = f"group {list(group)} is not kept; series.toml has {known}"
        raise ConfigurationError(msg)
    if unknown := source.match.keys() - set(group):
        msg = f"match has {sorted(unknown)}, which the group {list(group)} has not"
        raise ConfigurationError(msg)
    for known_measure in series.measures:
        if known_measure.name == measure:
            return known_measure.kind, known_measure.unit
    msg = f"measure {measure!r} is unknown; {_instead(measure, [m.name for m in series.measures])}"
    raise ConfigurationError(msg)


def _window(source: _RuleSource, kind: str, series: SeriesConfig) -> int | None:
    if not source.window:
        msg = f"lacks a `window`; {_windows(series.windows)}"
        raise ConfigurationError(msg)
    if source.window == PANE:
        if source.metric is None:
            msg = f"window {PANE!r} is for metrics; {_windows(series.windows)}"
            raise ConfigurationError(msg)
        return None
    for spec in series.windows:
        if spec.name == source.window:
            if kind == "anomaly" and not spec.detect:
                learned = [w for w in series.windows if w.detect]
                msg = f"window {spec.name} has no detector; {_windows(learned)}"
                raise ConfigurationError(msg)
            return spec.size
    msg = f"window {source.window!r} is not kept; {_windows(series.windows)}"
    raise ConfigurationError(msg)


def _attribute(source: _RuleSource, kind: str, measure_kind: str, series: SeriesConfig) -> bool:
    """Whether slices are looked at together: by default for anomalies of what adds up."""
    fits = source.group is not None and measure_kind in _ADDITIVE
    if source.attribute is None:
        return kind == "anomaly" and fits
    if not source.attribute:
        return False
    if source.group is None:
        raise ConfigurationError("attribute is for plays; a metric has no dimension groups")
    if not fits:
        msg = (
            f"attribute: changes of a {measure_kind} do not add up; {sorted(_ADDITIVE)} can be had"
        )
        raise ConfigurationError(msg)
    learned = [w for w in series.windows if w.detect]
    if source.window not in {w.name for w in learned}:
        msg = f"attribute: window {source.window} has no expected values; {_windows(learned)}"
        raise ConfigurationError(msg)
    return True


def _check_summary(source: _RuleSource) -> None:
    """A metric's tags are its producer's, so only rules on plays can be checked."""
    unknown = set(PLACEHOLDER.findall(source.summary)) - set(source.group or ())
    if unknown and source.group is not None:
        msg = f"summary asks for {sorted(unknown)}, which the group {source.group} has not"
        raise ConfigurationError(msg)


def _windows(specs: Iterable[WindowSpec]) -> str:
    return f"possible here: {', '.join(spec.name for spec in specs) or 'none'}"


def _reopen(text: str | None) -> int | None:
    if text == "auto":
        return None
    return parse_duration(text) if text else 0


def _version(rule: Rule) -> str:
    """A short name of the rule's content: the same content always has the same version."""
    return hashlib.sha256(msgspec.json.encode(rule, order="sorted")).hexdigest()[:12]


def _known_keys(raw: dict[str, Any], known: Iterable[str], where: str) -> None:
    for key in raw:
        if key not in (names := list(known)):
            msg = f"{where} has an unknown key {key!r}; {_instead(key, names)}"
            raise ConfigurationError(msg)


def _instead(wrong: str, names: list[str]) -> str:
    near = difflib.get_close_matches(wrong, names, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known: {', '.join(sorted(names)) or 'none'}"


def _unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            msg = f"two {what} are called {name!r}; names are unique"
            raise ConfigurationError(msg)
        seen.add(name)
