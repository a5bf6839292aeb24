"""Whether and when to try a delivery again: decided here, waited for elsewhere."""

from __future__ import annotations

from typing import NamedTuple

from models.errors import DeliveryError, DeliveryRetryableError

RETRYABLE_STATUS = frozenset({408, 425, 429})
"""With every 5xx: what may pass. Other answers below 500 will not change by asking again."""


class Backoff(NamedTuple):
    """How patient a sender is; times in seconds.

    ``attempts``: tries in all. Before try n + 1 it waits a random time up to
    ``first * 2 ** (n - 1)``, at most ``longest`` (full jitter: many senders do not return together).
    A receiver's own Retry-After is kept up to ``patience``.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 60.0
    patience: float = 300.0


class Wait(NamedTuple):
    """Try again after so many seconds."""

    seconds: float


class GiveUp(NamedTuple):
    """Do not try again, for this reason."""

    reason: str


def next_try(attempt: int, error: DeliveryError, backoff: Backoff, jitter: float) -> Wait | GiveUp:
    """What to do after the failed try number ``attempt`` (1 is the first).

    ``jitter`` is a random number in [0, 1), drawn by the caller.
    """
    if not isinstance(error, DeliveryRetryableError):
        return GiveUp(str(error))
    if attempt >= backoff.attempts:
        return GiveUp(f"{error}; gave up after {attempt} attempts")
    asked = error.retry_after or 0.0
    if asked > backoff.patience:
        return GiveUp(
            f"{error}; it asked to wait {asked:.0f} s, longer than {backoff.patience:.0f} s"
        )
    ceiling = min(backoff.longest, backoff.first * 2 ** (attempt - 1))
    return Wait(max(asked, ceiling * jitter))


def is_retryable(status: int) -> bool:
    """Whether an HTTP answer that is not a success may become one later."""
    return status >= 500 or status in RETRYABLE_STATUS
