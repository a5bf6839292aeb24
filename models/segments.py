"""Segments of listeners: the records of the topics ``features``, ``segments``, ``segment-descriptions``.

``features`` is msgpack between our own steps, the others are JSON. Times are epoch milliseconds, UTC.
Fields are only ever added, with a default.
"""

from __future__ import annotations

import msgspec


class Habits(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What was known of a listener when they came back in a later hour: ``profile`` before that play.

    ``at`` is the play's start; ``profile`` is packed as the ingest step keeps it.
    """

    tenant: str
    listener: str
    at: int
    profile: bytes


class Membership(msgspec.Struct, frozen=True):
    """A listener's segment. Key ``tenant:listener``; without a value the listener is forgotten.

    ``since``: from when they are in it; ``at``: when that was last said, at least once a day that they
    listen. ``distance`` from the segment's centre, in weighted standard deviations.
    """

    tenant: str
    listener: str
    segment: str
    since: int
    at: int
    distance: float


class Segment(msgspec.Struct, frozen=True):
    """A segment of a tenant's listeners. Key ``tenant:id``; without a value there is none any more.

    ``size`` counts listeners, ``share`` is of all that are in a segment. ``centre``: by feature, in the
    feature's unit. ``drift``: how far the centre is from where it was lately, in weighted standard
    deviations.
    """

    tenant: str
    id: str
    description: str
    size: int
    share: float
    centre: dict[str, float]
    since: int
    at: int
    drift: float


decode_habits = msgspec.msgpack.Decoder(Habits).decode
decode_membership = msgspec.json.Decoder(Membership).decode
decode_segment = msgspec.json.Decoder(Segment).decode
