"""A segment in words: what sets its centre apart from the average listener."""

from __future__ import annotations

from collections.abc import Sequence

from ml.segmenting.features import FEATURES, Feature

NOTABLE = 0.5
"""Standard deviations from the mean from which on something is worth a word."""

SAID_AT_MOST = 4


def describe(deviations: Sequence[float]) -> str:
    """The words for a centre given in standard deviations from the mean, one a feature.

    When they listen comes first, then what is most unusual, one thing a topic: ``night listeners,
    hardly skip, on speakers, television and in the car``.
    """
    said: dict[str, tuple[Feature, float]] = {}
    for feature, off in sorted(
        zip(FEATURES, deviations, strict=True), key=lambda pair: -abs(pair[1])
    ):
        if abs(off) >= NOTABLE and (off > 0 or feature.low) and feature.topic not in said:
            said[feature.topic] = (feature, off)
    if not said:
        return "average listeners"
    when = said.pop("when", None)
    first = "listeners" if when is None else when[0].high
    rest = list(said.values())[: SAID_AT_MOST - 1]
    return ", ".join([first, *(f.high if off > 0 else f.low for f, off in rest)])
