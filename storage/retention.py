"""How long stored windows are kept, and how they are rolled up: the rules of every store. Pure.

Age is event time. The live stream's clock is the wall's; a replay or an import has its own, its
newest window, so that a history of years ago is not swept away on the day it comes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from models.config import WindowSpec
from models.records import LIVE

ROLL_UP_AFTER = 2 * 86_400_000
"""Windows with a ``keep_every`` are all kept this long (ms), then only each ``keep_every``."""


class Policy(NamedTuple):
    """How long one kind of window is kept, in ms; see ``models.config.WindowSpec``."""

    retention: int
    keep_every: int | None

    def keeps(self, start: int, clock: int) -> bool:
        """Whether a window that starts at ``start`` is still kept when it is ``clock``."""
        age = clock - start
        if age > self.retention:
            return False
        return age <= ROLL_UP_AFTER or not self.keep_every or start % self.keep_every == 0


def policy_for(size: int, slide: int, windows: Sequence[WindowSpec]) -> Policy:
    """The policy of windows of this size and slide.

    The configured window's own; for a metric's pane, which is configured nowhere, that of the
    longest configured window that is not longer (the shortest, if all are).
    """
    exact = [w for w in windows if (w.size, w.slide) == (size, slide)]
    shorter = [w for w in windows if w.size <= size]
    if exact:
        spec = exact[0]
    elif shorter:
        spec = max(shorter, key=lambda w: (w.size, w.retention))
    else:
        spec = min(windows, key=lambda w: (w.size, -w.retention))
    return Policy(spec.retention, spec.keep_every)


def stream_clock(stream: str, now: int, newest: int) -> int:
    """The time of a stream whose newest window starts at ``newest``."""
    return now if stream == LIVE else min(now, newest)


def history_retention(windows: Sequence[WindowSpec]) -> int:
    """How long alerts, findings, deliveries and silent series are kept: as the longest window."""
    return max(w.retention for w in windows)
