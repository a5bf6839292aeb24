"""Group instances of releases: which they are, where the first hour of one begins, and the last ends."""

from __future__ import annotations

from models.releases import HOUR, RELEASE, WEEK, parse_release
from models.series import parse_key
from tables.kinds import is_metric
from tables.shelves import INFINITY

_TAG = f"{RELEASE}="


def is_release(group: str) -> bool:
    """Whether a group key is one of plays that names a release; nothing else in a key has an =."""
    return _TAG in group and not is_metric(group)


def ending(group: str) -> int:
    """When a release's first week is over, epoch ms: nothing falls into its group any more, which says
    nothing of its plays. Other groups do not end.
    """
    minute = _minute(group)
    return INFINITY if minute is None else minute + WEEK


def beginning(group: str, start: int, slide: int) -> int:
    """From when on all is known of a group whose first pane with data begins at ``start``.

    A release has no plays before it: one that is played in its first hour is known from its
    beginning on, put back to a multiple of ``slide``, where windows begin. All times in ms.
    """
    minute = _minute(group)
    if minute is None or not 0 <= start - minute < HOUR:
        return start
    return minute - minute % slide


def _minute(group: str) -> int | None:
    """When what a group names came out, epoch ms; None where it names no release."""
    named = parse_release(dict(parse_key(group).tags)[RELEASE]) if is_release(group) else None
    return None if named is None else named[1]
