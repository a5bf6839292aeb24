"""A value and what is expected of it: what the conditions of forecast rules look at."""

from __future__ import annotations

from models.records import Value


class Outlook(Value, omit_defaults=True, gc=False):
    """A measure of a window, and whether a rule's limit will be reached.

    ``score`` is the probability of reaching it within the rule's time, None while the forecaster is
    learning; ``ahead`` in how many ms it is as likely as not to have been reached, 0 where it has been,
    None where that is beyond the rule's time.
    """

    ahead: int | None = None
