"""In which slots a series is seen by a forecaster that is asked about a time ahead."""

from __future__ import annotations

from ml.forecasting.protocol import DAY

SLOTS = 48
"""Into so many slots the time that is looked ahead is cut, where windows are short enough."""


def slots_of(within: int, size: int) -> tuple[int, int]:
    """(length in ms, number) of the slots in which windows of ``size`` ms are seen that far ahead.

    ``within`` is how far is looked ahead, in ms. At most 48 slots, each a whole number of windows and,
    where there is one near, a whole part of a day, for the day's sake. A slot's value is that of the
    window that ends it. Own method.
    """
    least = max(1, -(-within // (SLOTS * size)))
    most = min(2 * least, DAY // size)  # what is longer than a day is no part of it
    whole = (k for k in range(least, most + 1) if DAY % (k * size) == 0)
    step = next(whole, least) * size
    return step, max(1, within // step)
