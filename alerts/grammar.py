"""What a rule's ``when`` may say: one condition, and how long it must last."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from models.config import format_duration, parse_duration
from models.errors import ConfigurationError

Operator = Literal[">", ">=", "<", "<="]
Direction = Literal["any", "up", "down"]

FORMS = (
    "`<measure> <op> <number> [for <duration>]` or "
    "`anomaly(<measure>) >= <score> [up|down] [for <duration>]`, with op one of > >= < <="
)
_WHEN = re.compile(
    r"""\s* (?: anomaly\( \s* (?P<anomaly>\w+) \s* \) | (?P<measure>\w+) )
        \s* (?P<op>>=|<=|>|<)
        \s* (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
        (?: \s+ (?P<direction>up|down) )?
        (?: \s+ for \s+ (?P<hold>[0-9a-z]+) )? \s*""",
    re.VERBOSE,
)


class Condition(msgspec.Struct, frozen=True):
    """A parsed ``when``. ``hold`` is how long it must last, in ms of event time; 0 for at once."""

    kind: Literal["threshold", "anomaly"]
    measure: str
    op: Operator
    threshold: float
    direction: Direction
    hold: int

    def __str__(self) -> str:
        """The condition in its canonical form; parsing it gives the same condition."""
        subject = f"anomaly({self.measure})" if self.kind == "anomaly" else self.measure
        direction = f" {self.direction}" if self.direction != "any" else ""
        hold = f" for {format_duration(self.hold)}" if self.hold else ""
        return f"{subject} {self.op} {self.threshold:.12g}{direction}{hold}"


def parse_when(text: str) -> Condition:
    """Parse a condition.

    Raises:
        ConfigurationError: it is not in the grammar; the message shows the forms.
    """
    match = _WHEN.fullmatch(text)
    if match is None:
        msg = f"when {text!r} is not of the form {FORMS}"
        raise ConfigurationError(msg)
    anomaly = match["anomaly"] is not None
    if anomaly and match["op"] != ">=":
        msg = f"when {text!r}: a surprise can only be asked to be large: anomaly(...) >= <score>"
        raise ConfigurationError(msg)
    if not anomaly and match["direction"]:
        msg = f"when {text!r}: only anomaly(...) has a direction; {match['op']} says it already"
        raise ConfigurationError(msg)
    threshold = float(match["number"])
    if anomaly and threshold <= 0:
        msg = f"when {text!r}: the score must be above 0, which every window reaches"
        raise ConfigurationError(msg)
    return Condition(
        kind="anomaly" if anomaly else "threshold",
        measure=match["anomaly"] or match["measure"],
        op=match["op"],  # type: ignore[arg-type]  # the pattern lets no other through
        threshold=threshold,
        direction=match["direction"] or "any",  # type: ignore[arg-type]
        hold=parse_duration(match["hold"]) if match["hold"] else 0,
    )
