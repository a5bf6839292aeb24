"""Values and what is known beside them: what the conditions of forecast and joint rules look at."""

from __future__ import annotations

from models.records import Value


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
