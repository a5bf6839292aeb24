"""Rules and receivers as users write them, parsed strictly and cross-checked with the series."""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from alerts.grammar import Condition, Direction, Operator, parse_when
from alerts.refusals import duration, gathered, named, twice
from models.config import JointSpec, SeriesConfig, WindowSpec, format_duration
from models.errors import ConfigurationError, StateError
from models.records import LIVE
from models.releases import HOUR, RELEASE
from models.toml import instead, known_keys, load_toml, read_table, tables

SEVERITIES = ("page", "ticket", "info")
PANE = "pane"
"""The window of a rule on metrics: whatever pane the metric's own spacing gave it."""

PLACEHOLDER = re.compile(r"\{(\w+)\}")
"""A tag's place in a rule's summary."""

METRIC_MEASURE = "value"
_COMPARE = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_ADDITIVE = frozenset({"count", "ratio", "mean"})
JOINT = "joint"
_WEIGHTED = frozenset({"ratio", "mean", "quantile", METRIC_MEASURE, JOINT})


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule, complete in itself: it needs no configuration beside it to be applied.

    ``tags`` are the dimension group's tags in the order they were written (wording follows it);
    None for a rule on metrics, whose names match the glob ``metric``. ``size`` is the window's in
    ms, None for a metric's pane. ``hold``, ``min_history`` and ``reopen`` are ms of event time;
    ``reopen`` None means *auto*: growing with the stream's age. ``tenant`` empty: for all.
    ``threshold`` is in the measure's unit, of a surprise a score. ``min_weight``: with less, a window
    is no data, where the measure ``is_weighted``. Of a forecast ``within`` (ms) is how far ahead the
    threshold is looked for, and ``probability`` (0 to 1) how likely it must be to be reached.
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


class _RuleSource(msgspec.Struct, frozen=True):
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


class Found(NamedTuple):
    """What a rules file holds: what is right of it, and what is said of the rest, in its order."""

    rules: tuple[Rule, ...]
    receivers: tuple[Receiver, ...]
    errors: tuple[ConfigurationError, ...]


def load_rules(path: Path, series: SeriesConfig) -> tuple[tuple[Rule, ...], tuple[Receiver, ...]]:
    """Read and check ``rules.toml``.

    Raises:
        ConfigurationError: what is wrong, with the name and value, and what would be right.
    """
    return load_toml(path, "rules", lambda raw: parse_rules(raw, series))


def parse_rules(
    raw: dict[str, Any], series: SeriesConfig
) -> tuple[tuple[Rule, ...], tuple[Receiver, ...]]:
    """Check already read rules and receivers; raises :class:`ConfigurationError`."""
    found = examine(raw, series)
    if found.errors:
        raise found.errors[0]
    return found.rules, found.receivers


def examine(raw: dict[str, Any], series: SeriesConfig) -> Found:
    """Check already read rules and receivers, all of them.

    Raises:
        ConfigurationError: the file as a whole is no rules file.
    """
    known_keys(raw, ("rules", "receivers"), "rules file")
    errors: list[ConfigurationError] = []
    rules = gathered(lambda table: parse_rule(table, series), tables(raw, "rules"), errors)
    receivers = gathered(parse_receiver, tables(raw, "receivers"), errors)
    names = [str(table.get("name")) for table in tables(raw, "receivers")]
    said = [
        *twice("rules", (r.id for r in rules)), *twice("receivers", (r.name for r in receivers)),
        *(
            f"rule {rule.id!r} names the receiver {name!r}; {instead(name, names)}"
            for rule in rules for name in rule.receivers if name not in names
        ),
    ]  # fmt: skip
    return Found(rules, receivers, (*errors, *map(ConfigurationError, said)))


def parse_rule(raw: dict[str, Any], series: SeriesConfig, tenant: str = "") -> Rule:
    """One rule from the keys of its table, for all tenants or for one.

    Raises:
        ConfigurationError: an unknown key, measure, group, tag or window, or what contradicts
            itself.
    """
    name = f"rule {raw.get('id', '(without id)')!r}"
    source = read_table(raw, _RuleSource, name)
    try:
        rule = _build(source, series, tenant)
    except ConfigurationError as exc:
        msg = f"{name}: {exc}"
        raise ConfigurationError(msg) from exc
    return msgspec.structs.replace(rule, version=_version(rule))


def parse_receiver(raw: dict[str, Any]) -> Receiver:
    """One receiver from the keys of its table; raises :class:`ConfigurationError`."""
    return read_table(raw, Receiver, f"receiver {raw.get('name', '(without name)')!r}")


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
    source = msgspec.structs.replace(source, window=named(source.window))
    if condition.kind == "absence" and source.metric is not None:
        raise ConfigurationError(
            "absent(...) is for plays: a metric that falls silent has no windows any more"
        )
    if condition.kind == "release":
        source = _of_releases(source, condition.measure, series)
    _check_summary(source)
    joint = _joint(source, condition, series)
    kind, unit = (JOINT, "deviations") if joint else _measure(source, condition.measure, series)
    if kind == "ratio":
        _check_ratio(condition)
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
        min_history=duration("min_history", source.min_history),
        reopen=None
        if source.reopen == "auto"
        else duration("reopen", source.reopen, ', or "auto"'),
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
    name, known = condition.measure, {joint.name: joint for joint in series.joints}
    if name not in known:
        msg = f"joint {name!r} is no [[joint]] table of series.toml; {instead(name, list(known))}"
        raise ConfigurationError(msg)
    if source.group is not None or source.metric is not None:
        msg = f"joint({name}) has its metrics in series.toml; leave out `group` and `metric`"
        raise ConfigurationError(msg)
    window = format_duration(known[name].window)
    if source.window not in {"", window}:
        msg = f"window {source.window!r}: joint {name!r} is judged in {window}; leave it out"
        raise ConfigurationError(msg)
    if source.attribute:
        raise ConfigurationError("attribute is for plays; metrics judged together have no slices")
    tags = known[name].tags
    if tags is not None and (unknown := source.match.keys() - set(tags)):
        msg = f"match has {sorted(unknown)}; things of joint {name!r} have the tags {sorted(tags)}"
        raise ConfigurationError(msg)
    return known[name]


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
    msg = f"measure {measure!r} is unknown; {instead(measure, [m.name for m in series.measures])}"
    raise ConfigurationError(msg)


def _check_ratio(condition: Condition) -> None:
    """A limit that no ratio reaches, or every one, was meant in percent or the other way round."""
    limit, compare = condition.threshold, _COMPARE[condition.op]
    always = compare(0.0, limit)
    if condition.kind not in {"threshold", "forecast"} or always != compare(1.0, limit):
        return
    meant = f"; did you mean {limit / 100:g}?" if 1 < limit <= 100 else ""
    truth = "always" if always else "never"
    msg = f"{condition} is {truth} true, as a ratio is 0 to 1{meant}"
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
    """A metric's tags are its producer's, so only those of rules on plays can be checked."""
    if set("{}") & set(PLACEHOLDER.sub("", source.summary)):
        msg = f"summary {source.summary!r} has a brace that is no placeholder; they are like {{country}}"
        raise ConfigurationError(msg)
    unknown = set(PLACEHOLDER.findall(source.summary)) - set(source.group or ())
    if unknown and source.group is not None:
        msg = f"summary asks for {sorted(unknown)}, which the group {source.group} has not"
        raise ConfigurationError(msg)


def _windows(specs: Iterable[WindowSpec]) -> str:
    return f"possible here: {', '.join(spec.name for spec in specs) or 'none'}"


def _version(rule: Rule) -> str:
    """A short name of the rule's content: the same content always has the same version."""
    return hashlib.sha256(msgspec.json.encode(rule, order="sorted")).hexdigest()[:12]
