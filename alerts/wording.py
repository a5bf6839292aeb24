"""Findings in words: measure names, units, numbers and durations as a person on call reads them.

Separate so that the wording can change, and be read by its golden file, without the decisions.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from alerts.outlook import Aged, Outlook, Together
from alerts.rules import PLACEHOLDER, Rule
from models.records import Value
from models.releases import RELEASE, parse_release

_NAMES = {
    "completion": "share played",
    "startup_p50": "start-up p50",
    "startup_p95": "start-up p95",
}
_PLURAL = frozenset({"count", "distinct"})
_COMPARED = {
    ">": ("above", "not above"),
    ">=": ("at or above", "below"),
    "<": ("below", "not below"),
    "<=": ("at or below", "above"),
}
_NARROW = "–"
_SHAPES = {
    "spike": "a spike",
    "dip": "a dip",
    "level shift": "a level shift",
    "variance": "a change in variation",
    "drop to zero": "a drop to zero",
}
_ENDINGS = {"ended": "the stream has ended", "over": "its first week is over"}
_RARE = 0.1
"""A surprise that is seen more often than one in ten times is not called rare."""

_MOST = 0.5
"""The share of a score that *mostly* stands for."""


def breach_reason(rule: Rule, subject: str, value: Value, lasted: int) -> str:
    """Why an alert is pending or firing: the value, what it should be, and for how long (ms).

    Such as ``error rate of ios × FR is 31.2 %, above 5 %, for 20 s``; of a forecast ``disk_used of
    db-1 will cross 0.9 in about 4 h (probability 86 %)``.
    """
    if rule.kind == "forecast":
        return _ahead(rule, subject, value)
    duration = f", for {duration_text(lasted)}" if lasted else ""
    if rule.kind == "joint":
        return f"{_apart(subject, value)}{duration}{_without(value)}"
    if rule.kind == "absence":
        return f"{subject}: nothing{duration.removeprefix(',')}, after there was something"
    symptoms = symptoms_text(value)
    told = f": {symptoms}" if symptoms else ""
    return f"{_is(rule, subject, value)}, {_norm(rule, value)}{duration}{told}"


def resolved_reason(rule: Rule, subject: str, value: Value, quiet: int, peak: float | None) -> str:
    """Why an alert has ended: the value now, for how long it has been normal (ms), the worst."""
    norm = _calm(rule, value)
    if rule.kind == "joint":
        worst = f"; it was {number(rule, peak, unit=False)} at worst" if peak is not None else ""
        now = f"{subject} go together again: {_surprise(value)}, for {duration_text(quiet)}"
        return f"{now}{worst}{_without(value)}"
    if rule.kind == "absence":
        return f"{_is(rule, subject, value)}: there is something again, for {duration_text(quiet)}"
    worst = f"; it was {number(rule, peak)} at worst" if peak is not None else ""
    worst += f", {_SHAPES[value.shape]}" if worst and value.shape in _SHAPES else ""
    return f"{_is(rule, subject, value)}, {norm}, for {duration_text(quiet)}{worst}"


def gap_reason(subject: str, gap: int) -> str:
    """Why an alert has ended without a normal value: no data for ``gap`` ms."""
    return f"{subject}: no data for {duration_text(gap)}, so nothing shows that it goes on"


def gone_reason(subject: str, gap: int, why: str) -> str:
    """Why an alert has ended with its series: ``ended`` with its stream, ``over`` with its track's
    first week, or after ``gap`` ms.
    """
    if why in _ENDINGS:
        return f"{subject}: {_ENDINGS[why]}"
    length = duration_text(gap) if gap > 0 else "long"  # noughts, to the end
    return f"{subject}: no data for {length}, so it is not watched until data comes again"


def retracted_reason(rule: Rule, subject: str, value: Value, start: int) -> str:
    """Why an alert is taken back: late events changed the window that began at ``start``."""
    norm = _calm(rule, value) if rule.kind != "absence" else "not silent"
    got = "without data" if value.value is None else f"{number(rule, value.value)}, {norm}"
    return f"late events changed the window of {clock(start)}: {subject} was {got}"


def subject_text(rule: Rule, name: str, tags: Mapping[str, str]) -> str:
    """What it is about: ``start-up p95 of ios × FR``.

    The group's tags come in the order the rule was written in; a metric's by their names.
    ``name`` is the series' (a metric's own name; a measure's otherwise). Of a joint rule it is the
    metrics: ``cpu, memory and requests of db-1``; of one on releases the track: ``plays of t42``.
    """
    if rule.kind == "release":
        named = parse_release(tags.get(RELEASE, ""))
        name, tags = rule.measure, tags if named is None else {RELEASE: named[0]}
    order = sorted(tags) if rule.tags is None else [t for t in rule.tags if t in tags]
    label = _NAMES.get(name, name if rule.tags is None else name.replace("_", " "))
    if rule.metrics:
        label = listed(rule.metrics)
    where = " × ".join(tags[t] for t in order)
    return f"{label} of {where}" if where else label


def symptoms_text(value: Value) -> str:
    """What a surprise looks like, how rare it is for the series, and where it comes from.

    Such as ``a level shift, one in 900 of its own surprises, mostly in level``; empty where the
    value does not say.
    """
    parts = [_SHAPES[value.shape]] if value.shape in _SHAPES else []
    if value.tail is not None and 0 < value.tail <= _RARE:
        whose = "releases' hours" if isinstance(value, Aged) else "its own surprises"
        parts.append(f"one in {_plain(float(f'{1 / value.tail:.2g}'), 0)} of {whose}")
    shares = list(value.contributions.items())
    for count in (1, 2):
        if sum(share for _, share in shares[:count]) >= _MOST:
            parts.append("mostly " + " and ".join(_where(name) for name, _ in shares[:count]))
            break
    return ", ".join(parts)


def summary_text(rule: Rule, subject: str, tags: Mapping[str, str]) -> str:
    """The rule's summary with its ``{tag}`` filled in; without one, what it is about."""
    if not rule.summary:
        return f"{subject[:1].upper()}{subject[1:]}: {rule.id.replace('-', ' ')}"
    return PLACEHOLDER.sub(lambda m: tags.get(m[1], m[0]), rule.summary)


def measure_name(name: str) -> str:
    """A measure as people call it: ``error rate``, ``start-up p95``."""
    return _NAMES.get(name, name.replace("_", " "))


def listed(names: Sequence[str]) -> str:
    """``cpu``, ``cpu and memory``, ``cpu, memory and requests``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def percent(share: float, *, signed: bool = False) -> str:
    """A share as ``83 %``, with a decimal below ten; ``signed`` always shows the sign."""
    text = _plain(share * 100, 0 if abs(share) >= 0.1 else 1)
    return f"{'+' if signed and share > 0 else ''}{text} %"


def number(rule: Rule, value: float, *, unit: bool = True) -> str:
    """A value of the rule's measure: ``31.2 %``, ``4,210 ms``, ``1,204``, ``0.0123``."""
    if rule.measure_kind == "ratio":
        text, suffix = _plain(value * 100, 1), " %"
    elif rule.unit:
        text, suffix = _plain(value, 0 if abs(value) >= 100 else 1), f" {rule.unit}"
    elif rule.measure_kind in _PLURAL:
        text, suffix = _plain(value, 0 if abs(value) >= 10 else 1), ""
    else:
        text, suffix = _significant(value), ""
    return text + (suffix if unit else "")


def duration_text(ms: int) -> str:
    """A duration in at most two units: ``50 s``, ``2 min``, ``1 h 5 min``, ``3 d``."""
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count} {unit}")
    if not parts:
        return f"{ms} ms"
    return " ".join(parts[:2])


def clock(ms: int) -> str:
    """An instant as ``2026-01-31 12:00:10 UTC``."""
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _is(rule: Rule, subject: str, value: Value) -> str:
    verb = "are" if rule.measure_kind in _PLURAL else "is"
    shown = "without data" if value.value is None else number(rule, value.value)
    if isinstance(value, Aged):
        subject = f"{subject} in its {_ordinal(value.hour + 1)} hour"
    return f"{subject} {verb} {shown}"


def _norm(rule: Rule, value: Value) -> str:
    if rule.kind == "threshold":
        return f"{_COMPARED[rule.op][0]} {_limit(rule)}"
    if value.value is None or value.low is None or value.high is None:
        return f"unusual (surprise {_plain(value.score or 0.0, 1)})"
    band = _band(rule, value)
    if rule.kind == "release":
        band += " as releases go"
    elif value.low <= value.value <= value.high:
        return f"within {band} but unusual for its time or course"
    return f"expected {band}"


def _apart(subject: str, value: Value) -> str:
    """``cpu and requests of db-1 do not go together as they did: …, mostly requests (71 %)``."""
    told = f"{subject} do not go together as they did: {_surprise(value)}"
    shares = list(value.contributions.items())
    for count in range(1, len(shares) + 1):
        if sum(share for _, share in shares[:count]) >= _MOST:
            parts = [f"{name} ({percent(share)})" for name, share in shares[:count]]
            return f"{told}, mostly {listed(parts)}"
    return told


def _surprise(value: Value) -> str:
    return f"a joint surprise of {_plain(value.score or 0.0, 1)} deviations"


def _without(value: Value) -> str:
    """What could not be looked at, where something could not."""
    missing = value.missing if isinstance(value, Together) else ()
    return f"; without {listed(missing)}" if missing else ""


def _ahead(rule: Rule, subject: str, value: Value) -> str:
    """What a forecast expects: when the limit is crossed, as far as that can be said."""
    ahead = value.ahead if isinstance(value, Outlook) else None
    if ahead == 0:
        return f"{_is(rule, subject, value)}, {_COMPARED[rule.op][0]} {_limit(rule)} already"
    chance = f"(probability {_percent(value.score)})"
    if ahead is None:
        within = duration_text(rule.within)
        return f"{subject} may cross {_limit(rule)} within {within} {chance}"
    return f"{subject} will cross {_limit(rule)} in about {duration_text(_rounded(ahead))} {chance}"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{_plain(share * 100, 0)} %"


def _rounded(ms: int) -> int:
    """To whole hours from two hours on, to whole minutes from two minutes on."""
    unit = next((unit for unit in (3_600_000, 60_000) if ms >= 2 * unit), 1000)
    return round(ms / unit) * unit


def _calm(rule: Rule, value: Value) -> str:
    """Why a value does not breach. A new level can have become usual outside the old band."""
    if rule.kind == "forecast":
        within = duration_text(rule.within)
        chance = _percent(value.score)
        return f"not expected to cross {_limit(rule)} within {within} (probability {chance})"
    if rule.kind == "threshold":
        return f"{_COMPARED[rule.op][1]} {_limit(rule)}"
    got, low, high = value.value, value.low, value.high
    if got is None or low is None or high is None or not low <= got <= high:
        return "no longer unusual"
    return f"as expected ({_band(rule, value)})"


def _ordinal(n: int) -> str:
    """``1st``, ``2nd``, ``13th``, ``101st``."""
    tens = n % 100 // 10 == 1
    return f"{n}{'th' if tens else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def _where(context: str) -> str:
    """``against this hour of the week``, ``in level``, ``in holt winters residual``."""
    name = context.replace("_", " ")
    return name if name.startswith("against ") else f"in {name}"


def _limit(rule: Rule) -> str:
    return number(rule, rule.threshold)


def _band(rule: Rule, value: Value) -> str:
    """``1,150–1,480``; the unit stands with the value beside it."""
    if value.low is None or value.high is None:
        return "no band yet"
    low, high = number(rule, value.low, unit=False), number(rule, value.high, unit=False)
    if low == high:
        return low
    if value.low < 0:
        return f"{low} to {high}"
    return f"{low}{_NARROW}{high}"


def _plain(value: float, decimals: int) -> str:
    """Thousands with commas, no trailing zeros, a true minus."""
    text = f"{value:,.{decimals}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text.replace("-", "−")


def _significant(value: float) -> str:
    """Four significant digits, exponents only where zeros would have to be counted."""
    size = abs(value)
    if size and (size < 1e-4 or size >= 1e12):
        return f"{value:.3e}".replace("-", "−")
    if size >= 1000:
        return _plain(value, 0)
    decimals = 3 if size >= 1 or not size else 6
    return _plain(float(f"{value:.4g}"), decimals)
