"""Values and what is known beside them: what conditions look at that are not a measure's own."""

from __future__ import annotations

from typing import Any, TypeVar

from models.records import Value

_V = TypeVar("_V", bound=Value)


class Outlook(Value, omit_defaults=True, gc=False):
    """A measure of a window, and whether a rule's limit will be reached.

    ``score`` is the probability of reaching it within the rule's time, None while the forecaster is
    learning; ``ahead`` in how many ms it is as likely as not to have been reached, 0 where it has been,
    None where that is beyond the rule's time.
    """

    ahead: int | None = None


class Together(Value, omit_defaults=True, gc=False):
    """The surprise of several metrics of one thing; ``missing`` are those without a value."""

    missing: tuple[str, ...] = ()


class Aged(Value, omit_defaults=True, gc=False):
    """A count of a track in one hour after its release, the first being 0."""

    hour: int = 0


def beside(kind: type[_V], value: Value, **known: Any) -> _V:
    """The value as one of another kind, with what is known beside it."""
    return kind(**{name: getattr(value, name) for name in Value.__struct_fields__}, **known)
