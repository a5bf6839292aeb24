"""The life of a model: its versions, seals, states and roll-backs, as plain records.

Pure: a caller reads the records of a tenant, asks here what to publish, and publishes it (all of it,
in the order given). The allowed moves:

    candidate -> shadow, active, retired
    shadow    -> active, retired
    active    -> retired
    retired   -> shadow, active
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec.structs import replace

from ml import specs
from models.errors import ConfigurationError, StateError
from models.learning import Change, Kind, Model, ModelState, Selector, State

SHADOWS = 2
"""Shadows that a family may have at a time: each one costs as much as the active model."""

_MOVES: dict[State, tuple[State, ...]] = {
    "candidate": ("shadow", "active", "retired"),
    "shadow": ("active", "retired"),
    "active": ("retired",),
    "retired": ("shadow", "active"),
}
_BEEN: tuple[State, ...] = ("retired", "shadow")
"""What a model that was active can be now."""

_FAMILY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

_canonical = msgspec.json.Encoder(order="sorted").encode


def digest(body: bytes) -> str:
    """The sha256 of a state's body, hex."""
    return hashlib.sha256(body).hexdigest()


def state_of(model: Model, series: str, size: int, at: int, body: bytes) -> ModelState:
    """The record of what a model has learned of windows of ``size`` ms, up to ``at`` (epoch ms)."""
    return ModelState(model.tenant, model.id, series, size, at, body, digest(body))


def seal(model: Model, states: Iterable[ModelState] = ()) -> Model:
    """The model with the number of its states and the sha256 over both.

    The hash is of canonical JSON (sorted keys): tenant, id, kind, selector, spec, features, data
    range, and series, size, time and sha256 of each state, by series and size. What changes in a
    life (state, reason, metrics) is not in it, so moving a model does not break its seal.
    """
    known = list(states)
    return replace(model, states=len(known), sha256=_seal(model, known))


def verify(model: Model, states: Iterable[ModelState] = ()) -> None:
    """Check that a model and its states are those that were sealed together.

    Raises:
        StateError: a state's body is not what its sha256 says, a state is of another model, some are
            missing or too many, or a sealed field was changed; the message names which.
    """
    known = list(states)
    for state in known:
        verify_state(state)
        if (state.tenant, state.model) != (model.tenant, model.id):
            msg = (
                f"state of series {state.series} is of model {state.tenant}:{state.model}, "
                f"not of {model.tenant}:{model.id}"
            )
            raise StateError(msg)
    verify_seal(model, known)


def verify_state(state: ModelState) -> None:
    """Check one state by itself. Raises StateError if its body is not what its sha256 says."""
    found = digest(state.body)
    if found != state.sha256:
        msg = (
            f"state of model {state.model} for series {state.series}, windows of {state.size} ms, "
            f"was changed: its sha256 is {found}, its record says {state.sha256 or 'none'}"
        )
        raise StateError(msg)


def verify_seal(model: Model, states: Iterable[ModelState] = ()) -> None:
    """As :func:`verify`, by the states' own sha256: their bodies are not looked at.

    Raises:
        StateError: states are missing or too many, or a sealed field was changed.
    """
    known = list(states)
    if len(known) != model.states:
        msg = f"model {model.id} was sealed with {model.states} states; here are {len(known)}"
        raise StateError(msg)
    found = _seal(model, known)
    if found != model.sha256:
        msg = (
            f"model {model.id} is not what was sealed: its sha256 is {found}, its record says "
            f"{model.sha256 or 'none'}; its selector, spec, features, data range or states were changed"
        )
        raise StateError(msg)


def _seal(model: Model, states: Iterable[ModelState]) -> str:
    learned = sorted([s.series, s.size, s.at, s.sha256] for s in states)
    sealed: dict[str, Any] = {
        "tenant": model.tenant,
        "id": model.id,
        "kind": model.kind,
        "selector": [model.selector.name, model.selector.tags, model.selector.stream],
        "spec": model.spec,
        "features": model.features,
        "data": [model.data_from, model.data_until],
        "states": learned,
    }
    return digest(_canonical(sealed))


def new_version(  # noqa: PLR0913  a record's fields
    existing: Iterable[Model],
    *,
    tenant: str,
    family: str,
    kind: Kind,
    selector: Selector,
    spec: Mapping[str, str | float | int | bool],
    created_by: str,
    now: int,
    parent: str = "",
    features: str = "",
    data_from: int | None = None,
    data_until: int | None = None,
    metrics: Mapping[str, float] | None = None,
    reason: str = "",
) -> Model:
    """The next version of a family, a candidate, sealed without states; seal it again with them.

    ``existing`` are the models known so far (other tenants' and families' are passed over). The
    version is one above the highest there was; ``parent`` is an id of an existing model, or "".

    Raises:
        ConfigurationError: a family's name that cannot be part of a key, another kind than the
            family's, a parent that there is not, or a spec that says what cannot be.
    """
    same = _family(existing, tenant, family, kind, parent)
    if kind == "detector":
        specs.check(spec)
        features = features or specs.features_of(spec)
    elif kind == "forecaster":
        specs.check_forecaster(spec)
    version = max((m.version for m in same), default=0) + 1
    model = Model(
        tenant=tenant, id=f"{family}.{version}", family=family, version=version, kind=kind,
        selector=selector, spec=dict(spec), state="candidate", created_by=created_by,
        created_at=now, sha256="", features=features, parent=parent, data_from=data_from,
        data_until=data_until, metrics=dict(metrics or {}), changed_by=created_by, changed_at=now,
        reason=reason,
    )  # fmt: skip
    return seal(model)


def _family(
    existing: Iterable[Model], tenant: str, family: str, kind: Kind, parent: str
) -> list[Model]:
    """The models of a family so far; ConfigurationError if no new version can be one of them."""
    if not _FAMILY.fullmatch(family):
        msg = f"family {family!r} cannot name models; use up to 63 of a-z, 0-9, - and _"
        raise ConfigurationError(msg)
    own = [m for m in existing if m.tenant == tenant]
    same = [m for m in own if m.family == family]
    if same and same[0].kind != kind:
        msg = f"family {family} is of {same[0].kind}s; a {kind} needs a family of its own"
        raise ConfigurationError(msg)
    if parent and parent not in {m.id for m in own}:
        msg = f"parent {parent!r} of a new {family} is not a model of {tenant}"
        raise ConfigurationError(msg)
    return same


def transition(
    models: Mapping[str, Model], model_id: str, to: State, *, by: str, now: int, reason: str = ""
) -> list[Model]:
    """The records to publish so that a model takes another state.

    ``models`` are those of one tenant by id. Promoting retires the family's active one: its record
    comes first, so a reader in between sees none active rather than two.

    Raises:
        ConfigurationError: no such model, a move that its state does not allow, a shadow of a kind
            that has none, or one shadow too many; the message says what is possible.
    """
    model = models.get(model_id)
    if model is None:
        msg = f"there is no model {model_id!r}; there are {', '.join(sorted(models)) or 'none'}"
        raise ConfigurationError(msg)
    if to not in _MOVES[model.state]:
        possible = ", ".join(_MOVES[model.state])
        msg = f"model {model_id} is {model.state} and cannot become {to}; it can become {possible}"
        raise ConfigurationError(msg)
    changed = {"changed_by": by, "changed_at": now, "reason": reason}
    family = [m for m in models.values() if m.family == model.family]
    if to == "shadow":
        if model.kind != "detector":
            msg = f"model {model_id} is a {model.kind}; only detectors can be shadows"
            raise ConfigurationError(msg)
        shadows = sorted(m.id for m in family if m.state == "shadow")
        if len(shadows) >= SHADOWS:
            msg = (
                f"family {model.family} has {len(shadows)} shadows, as many as it may: "
                f"{', '.join(shadows)}; retire one first"
            )
            raise ConfigurationError(msg)
    if to != "active":
        return [replace(model, state=to, **changed)]
    return _promote(models, model, changed, now)


def _promote(
    models: Mapping[str, Model], model: Model, changed: dict[str, Any], now: int
) -> list[Model]:
    replaced = sorted(
        (m for m in models.values() if m.family == model.family and m.state == "active"),
        key=lambda m: m.activated_at,
    )
    before = previous(models, model.family)
    # Going back does not make the one left behind the next to go back to, nor one further on.
    going_back = before is not None and before.id == model.id
    successor = model.replaced if going_back or not replaced else replaced[-1].id
    return [
        *(replace(m, state="retired", undone=going_back, **changed) for m in replaced),
        replace(
            model, state="active", activated_at=now, replaced=successor, undone=False, **changed
        ),
    ]


def previous(models: Mapping[str, Model], family: str) -> Model | None:
    """What a roll-back of a family's last promotion activates again, or None.

    The model that the active one replaced; where none is active, the one that was last. Never one
    that a roll-back left: so roll-backs come to an end, whatever has been promoted again between.
    """
    own = [m for m in models.values() if m.family == family]
    been = [m for m in own if m.state in _BEEN and m.activated_at and not m.undone]
    active = max(
        (m for m in own if m.state == "active"), key=lambda m: m.activated_at, default=None
    )
    if active is not None:
        return next((m for m in been if m.id == active.replaced), None)
    return max(been, key=lambda m: (m.activated_at, m.version), default=None)


def roll_back(
    models: Mapping[str, Model], family: str, *, by: str, now: int, reason: str = ""
) -> list[Model]:
    """The records to publish to undo a family's last promotion.

    Raises:
        ConfigurationError: nothing of that family was active before.
    """
    before = previous(models, family)
    if before is None:
        msg = f"family {family!r} has nothing to go back to; retire its active model instead"
        raise ConfigurationError(msg)
    return transition(models, before.id, "active", by=by, now=now, reason=reason)


def changes(models: Mapping[str, Model], published: Iterable[Model]) -> list[Change]:
    """What the topic ``audit`` is told of records about to be published, one for each."""
    found = []
    for model in published:
        was = models.get(model.id)
        found.append(
            Change(
                tenant=model.tenant,
                what=f"model {model.id}",
                was=was.state if was else "",
                now=model.state,
                by=model.changed_by,
                at=model.changed_at,
                reason=model.reason,
            )
        )
    return found


def selects(selector: Selector, group_tags: Mapping[str, str], name: str, stream: str) -> bool:
    """Whether a selector takes in a series: ``name`` is its measure, or its metric's name."""
    return (
        selector.stream == stream
        and fnmatchcase(name, selector.name)
        and all(
            tag in group_tags and fnmatchcase(group_tags[tag], glob)
            for tag, glob in selector.tags.items()
        )
    )
