"""What a detector says of values that it need not keep: asked for, not part of the stream.

Pure. The detector that is given does learn on the way, so callers give one of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ml.protocol import Detector, Verdict

_SILENT = Verdict(None, None, None)


class Judged(NamedTuple):
    """A value, what was thought of it before it was learned, and whether it was learned."""

    at: int
    value: float | None
    verdict: Verdict
    learned: bool


def detect(
    detector: Detector, points: Sequence[tuple[int, float | None]], learned_until: int | None = None
) -> list[Judged]:
    """Judge points (epoch ms, value), oldest first, and learn those that come after what is known.

    A gap (None) is neither judged nor learned. Up to ``learned_until``, the last time that the
    detector has learned already, points are judged by what it knows and not learned again.
    """
    found = []
    for at, value in points:
        if value is None:
            found.append(Judged(at, None, _SILENT, learned=False))
            continue
        verdict = detector.score(value, at)
        learns = learned_until is None or at > learned_until
        if learns:
            detector.learn(value, at)
        found.append(Judged(at, value, verdict, learns))
    return found
