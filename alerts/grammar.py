"""What a rule's ``when`` may say: one condition, and how long it must last."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from models.config import format_duration, parse_ahead, parse_duration
from models.errors import ConfigurationError
from models.records import REMARKABLE, SHAPES

Operator = Literal[">", ">=", "<", "<="]
Direction = Literal["any", "up", "down"]

FORMS = (
    "`<measure> <op> <number> [for <duration>]`, "
    '`anomaly(<measure>) >= <score> [up|down] [shape "<shape>"] [for <duration>]`, '
    "`release(<measure>) >= <score> [up|down] [for <duration>]`, "
    "`absent(<measure>) for <duration>`, `joint(<name>) >= <score> [for <duration>]` or "
    "`forecast(<measure>) >= <limit> within <duration> [with <percent>%] [for <duration>]` (or <=), "
    "with op one of > >= < <="
)
SURPRISES = frozenset({"anomaly", "joint", "release"})
"""Kinds of conditions that ask for a surprise, which has no upper limit and is never wanted small."""

LIKELY = 50.0
"""Percent that a forecast must reach where a rule does not say: more likely than not."""

_WHEN = re.compile(
    r"""\s* (?: (?P<kind>anomaly|forecast|joint|release)\( \s* (?P<subject>\w+) \s* \) | (?P<measure>\w+) )
        \s* (?P<op>>=|<=|>|<)
        \s* (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
        (?: \s+ (?P<direction>up|down) )?
        (?: \s+ shape \s+ (?P<quote>["']?) (?P<shape>[a-z]+(?:\s[a-z]+)*?) (?P=quote) )?
        (?: \s+ within \s+ (?P<within>[0-9a-z]+) )?
        (?: \s+ with \s+ (?P<percent>\d+\.?\d*) \s* % )?
        (?: \s+ for \s+ (?P<hold>[0-9a-z]+) )? \s*""",
    re.VERBOSE,
)
_ABSENT = re.compile(
    r"\s* absent\( \s* (?P<measure>\w+) \s* \) \s+ for \s+ (?P<hold>[0-9a-z]+) \s*", re.VERBOSE
)
_ONE_WAY = {"spike": "up", "dip": "down", "drop to zero": "down"}
"""Shapes that are a direction already."""


class Condition(msgspec.Struct, frozen=True):
    """A parsed ``when``. ``hold`` is how long it must last, in ms of event time; 0 for at once.

    ``threshold`` is in the measure's unit, of a surprise a score. ``shape`` is one of
    :data:`models.records.SHAPES`, empty for any. Of a forecast, ``within`` is how far ahead the limit
    is looked for, in ms, and ``probability`` (0 to 1) how likely it must be to be reached; both are 0
    otherwise.
    """

    kind: Literal["threshold", "anomaly", "absence", "forecast", "joint", "release"]
    measure: str
    op: Operator
    threshold: float
    direction: Direction
    hold: int
    shape: str = ""
    within: int = 0
    probability: float = 0.0

    def __str__(self) -> str:
        """The condition in its canonical form; parsing it gives the same condition."""
        if self.kind == "absence":
            return f"absent({self.measure}) for {format_duration(self.hold)}"
        subject = self.measure if self.kind == "threshold" else f"{self.kind}({self.measure})"
        direction = f" {self.direction}" if self.direction != "any" else ""
        shape = f' shape "{self.shape}"' if self.shape else ""
        ahead = f" within {format_duration(self.within)}" if self.within else ""
        chance = f" with {self.probability * 100:.12g}%" if self.within else ""
        hold = f" for {format_duration(self.hold)}" if self.hold else ""
        return f"{subject} {self.op} {self.threshold:.12g}{direction}{shape}{ahead}{chance}{hold}"


def parse_when(text: str) -> Condition:
    """Parse a condition.

    Raises:
        ConfigurationError: it is not in the grammar; the message shows the forms.
    """
    absent = _ABSENT.fullmatch(text)
    if absent is not None:
        hold = parse_duration(absent["hold"])
        return Condition("absence", absent["measure"], "<=", 0.0, "any", hold)
    match = _WHEN.fullmatch(text)
    if match is None:
        msg = f"when {text!r} is not of the form {FORMS}"
        raise ConfigurationError(msg)
    kind = match["kind"] or "threshold"
    _check_form(text, kind, match)
    threshold = float(match["number"])
    if kind in SURPRISES and threshold <= 0:
        msg = f"when {text!r}: the score must be above 0, which every window reaches"
        raise ConfigurationError(msg)
    if match["shape"]:
        _check_shape(text, match)
    percent = float(match["percent"] or LIKELY)
    if not 1 <= percent <= 99:
        msg = f"when {text!r}: a forecast can be asked for 1 to 99 %, not {percent:g} %"
        raise ConfigurationError(msg)
    is_forecast = kind == "forecast"
    return Condition(
        kind=kind,  # type: ignore[arg-type]  # the pattern lets no other through
        measure=match["subject"] or match["measure"],
        op=match["op"],  # type: ignore[arg-type]
        threshold=threshold,
        direction=match["direction"] or "any",  # type: ignore[arg-type]
        hold=parse_duration(match["hold"]) if match["hold"] else 0,
        shape=match["shape"] or "",
        within=parse_ahead(match["within"]) if is_forecast else 0,
        probability=percent / 100 if is_forecast else 0.0,
    )


def _check_form(text: str, kind: str, match: re.Match[str]) -> None:
    """What each kind may be asked."""
    if kind in SURPRISES and match["op"] != ">=":
        msg = f"when {text!r}: a surprise can only be asked to be large: {kind}(...) >= <score>"
        raise ConfigurationError(msg)
    if kind not in {"anomaly", "release"} and match["direction"]:
        why = "a joint surprise has none" if kind == "joint" else f"{match['op']} says it already"
        msg = f"when {text!r}: only anomaly(...) and release(...) have a direction; {why}"
        raise ConfigurationError(msg)
    if kind == "forecast" and match["op"] not in {">=", "<="}:
        msg = f"when {text!r}: a forecast reaches a limit: forecast(...) >= or <= <limit>"
        raise ConfigurationError(msg)
    if kind == "forecast" and not match["within"]:
        msg = f"when {text!r}: a forecast needs to know how far: within 6h"
        raise ConfigurationError(msg)
    if kind != "forecast" and (match["within"] or match["percent"]):
        msg = f"when {text!r}: only forecast(...) looks ahead, within a time and with a probability"
        raise ConfigurationError(msg)


def _check_shape(text: str, match: re.Match[str]) -> None:
    shape, direction = match["shape"], match["direction"]
    if match["kind"] != "anomaly":
        msg = f"when {text!r}: only anomaly(...) has a shape"
    elif shape not in SHAPES:
        msg = f"when {text!r}: shape {shape!r} is none of {', '.join(SHAPES)}"
    elif float(match["number"]) < REMARKABLE:
        msg = f"when {text!r}: a shape is only told from a score of {REMARKABLE:g} on"
    elif direction and _ONE_WAY.get(shape, direction) != direction:
        msg = f"when {text!r}: a {shape} is never {direction}"
    else:
        return
    raise ConfigurationError(msg)
