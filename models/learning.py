"""What is known of models and of judgements about them: records of the topics ``models`` and ``labels``.

Apart from :mod:`models.records` because these are written by people and jobs, not by the flow of
events. Wire format: JSON, tagged by ``type``; times are epoch milliseconds, UTC. Fields are only ever
added, with a default.
"""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["candidate", "shadow", "active", "retired"]
Kind = Literal["detector", "forecaster", "segmenter"]


class Selector(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which series a model is for; every given field must match, globs allowed.

    ``name``: a measure of plays (``error_rate``) or a metric's name. ``tags``: tag to glob; a series
    without the tag does not match. ``stream``: of which stream.
    """

    name: str = "*"
    tags: dict[str, str] = {}
    stream: str = "live"


class Model(msgspec.Struct, frozen=True, omit_defaults=True, tag="model"):
    """One version of a model: its specification, where it comes from, and its state.

    Key ``tenant:<id>``; the latest record of an id counts. ``id`` is ``name.version`` of the family
    (``errors-in-fr.3``); of a family at most one is active, so promoting one retires the other.
    ``spec`` is what :func:`ml.registry.create` (or its like for the kind) takes; ``features`` the
    version of the pipeline it was trained with. ``metrics`` are the training's figures by name.
    ``sha256`` is over ``tenant``, ``id``, ``kind``, ``selector``, ``spec``, ``features``, ``data_*`` and
    the states of its series, in canonical form: what was trained cannot be exchanged unseen.
    ``states`` is how many states belong to it. ``activated_at`` is when it last became active (0:
    never), ``replaced`` the model that its promotion retired, ``undone`` that a roll-back left it and
    nobody has promoted it since. :mod:`ml.life` makes and changes these.
    """

    tenant: str
    id: str
    family: str
    version: int
    kind: Kind
    selector: Selector
    spec: dict[str, str | float | int | bool]
    state: State
    created_by: str
    created_at: int
    sha256: str
    features: str = ""
    parent: str = ""
    data_from: int | None = None
    data_until: int | None = None
    metrics: dict[str, float] = {}
    changed_by: str = ""
    changed_at: int = 0
    reason: str = ""
    states: int = 0
    activated_at: int = 0
    replaced: str = ""
    undone: bool = False


class ModelState(msgspec.Struct, frozen=True, omit_defaults=True, tag="state"):
    """What a model has learned of one series. Key ``tenant:<model>:<size>:<series>``.

    ``body`` is the detector's own ``dump()``; ``sha256`` is of the body, hex.
    """

    tenant: str
    model: str
    series: str
    size: int
    at: int
    body: bytes
    sha256: str


class Rollback(msgspec.Struct, frozen=True, omit_defaults=True, tag="rollback"):
    """Put the models of these series back to what they had learned before a moment.

    Key ``tenant:rollback:<id>``. Each worker applies each one once, from its own snapshots: the newest
    not after ``before``.
    """

    tenant: str
    id: str
    selector: Selector
    before: int
    by: str
    at: int
    reason: str = ""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """A window that began to count as a finding: its series, its start, and for whom."""

    series: str
    at: int
    by: Literal["both", "active", "shadow"]


class ShadowReport(msgspec.Struct, frozen=True, omit_defaults=True, tag="report"):
    """How a shadow compares with the active model, as one partition of the windows step sees it.

    Key ``tenant:report:<model>:<partition>``. Counts since the shadow began; ``both``/``active``/
    ``shadow`` are windows at or above ``threshold`` by both, by the active one only, by the shadow
    only. ``active_findings``/``shadow_findings`` are runs of such windows, ``marks`` the latest of
    their beginnings, to be held against labels. ``since``/``until`` are event times.
    """

    tenant: str
    model: str
    against: str
    partition: int
    since: int
    until: int
    windows: int
    both: int
    active: int
    shadow: int
    threshold: float
    active_findings: int = 0
    shadow_findings: int = 0
    marks: list[Mark] = []


class Change(msgspec.Struct, frozen=True, omit_defaults=True, tag="change"):
    """Who changed what, when and why. Key ``tenant`` on the topic ``audit``; never rewritten.

    ``what`` is the kind of thing and its id (``model errors-in-fr.3``, ``rollback 7f``); ``was`` and
    ``now`` are its states, ``was`` "" for a new one.
    """

    tenant: str
    what: str
    was: str
    now: str
    by: str
    at: int
    reason: str = ""


class Label(msgspec.Struct, frozen=True, omit_defaults=True, tag="label"):
    """A person's judgement of a stretch of a series. Key ``tenant:<id>`` on the topic ``labels``.

    ``verdict``: ``true`` (something was wrong), ``false`` (nothing was), ``expected`` (known cause, do
    not alert). ``series`` is a series key; ``alert`` the alert it was said of, if any. ``peak`` is the
    highest score of the stretch, as it was stored when the label was made; None where there was none.
    """

    tenant: str
    id: str
    series: str
    since: int
    until: int
    verdict: Literal["true", "false", "expected"]
    author: str
    at: int
    reason: str = ""
    alert: str = ""
    rule: str = ""
    detector: str = ""
    peak: float | None = None


Learning = Model | ModelState | Rollback | ShadowReport


def key_of(record: Learning) -> bytes:
    """The key of a record on the topic ``models``: the latest record of a key counts."""
    if isinstance(record, Model):
        rest = record.id
    elif isinstance(record, ModelState):
        rest = f"{record.model}:{record.size}:{record.series}"
    elif isinstance(record, Rollback):
        rest = f"rollback:{record.id}"
    else:
        rest = f"report:{record.model}:{record.partition}"
    return f"{record.tenant}:{rest}".encode()


decode_learning = msgspec.json.Decoder(Learning).decode
decode_label = msgspec.json.Decoder(Label).decode
