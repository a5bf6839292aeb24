"""Models of a tenant: reading them, moving them, rolling them back.

The topic ``models`` is the truth: what is asked for is made by :mod:`ml.life` from what was read of
it, published, and answered once it has been read back. Changes of one process follow each other; of
two processes that write one record at once the later one stands, and the earlier says so if it sees it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from api.problems import ConflictError, UnavailableError, UnknownResourceError
from api.services.producer import BrokerUnavailableError, EventProducer, Message
from ml import life
from models.errors import ConfigurationError, StateError
from models.learning import (
    Change,
    Kind,
    Learning,
    Model,
    ModelState,
    Rollback,
    Selector,
    ShadowReport,
    State,
    key_of,
)
from models.logs import JOURNAL
from models.records import to_json
from storage.compacted import MemoryTable

_journal = logging.getLogger(JOURNAL)

READ_BACK_S = 5.0
"""How long an answer waits for its own records; they are published by then in any case."""

_AT_ONCE = 100
"""States that are published at once."""

T = TypeVar("T", bound=Learning)


class Actor(NamedTuple):
    """Who changes something, when (epoch ms) and why."""

    tenant: str
    by: str
    now: int
    reason: str = ""


class ModelKeeper:
    """The models that the topic holds."""

    def __init__(self, table: MemoryTable | None, producer: EventProducer | None) -> None:
        """Without a table or a producer what needs them is refused (503)."""
        self._table = table
        self._producer = producer
        self._turn = asyncio.Lock()

    def models(self, tenant: str) -> dict[str, Model]:
        """A tenant's models by id."""
        return {m.id: m for m in self._records(tenant, Model)}

    def model(self, tenant: str, model_id: str) -> Model:
        """One model.

        Raises:
            UnknownResourceError: the tenant has none of that id.
        """
        found = self._known().get(f"{tenant}:{model_id}")
        if not isinstance(found, Model):
            msg = f"there is no model {model_id!r}"
            raise UnknownResourceError(msg)
        return found

    def states(self, tenant: str, model_id: str) -> list[ModelState]:
        """What a model has learned, by series and size."""
        found = [s for s in self._records(tenant, ModelState) if s.model == model_id]
        return sorted(found, key=lambda s: (s.series, s.size))

    def reports(self, tenant: str, model_id: str) -> list[ShadowReport]:
        """How a model does, or did, beside active ones: a report a partition."""
        return [r for r in self._records(tenant, ShadowReport) if r.model == model_id]

    def rollbacks(self, tenant: str) -> list[Rollback]:
        """Roll-backs that were asked for, the newest first."""
        found = self._records(tenant, Rollback)
        return sorted(found, key=lambda r: (r.at, r.id), reverse=True)

    def check_seal(self, model: Model) -> str:
        """``intact``, or what is wrong with a model and its states."""
        try:
            life.verify(model, self.states(model.tenant, model.id))
        except StateError as exc:
            return str(exc)
        return "intact"

    def _check_served(self, moved: Sequence[Model]) -> None:
        """Workers refuse what is not as it was sealed: it is not put in the place of what serves."""
        for model in moved:
            seal = self.check_seal(model) if model.state in {"shadow", "active"} else "intact"
            if seal != "intact":
                raise ConflictError(seal)

    def check_new(self, actor: Actor, family: str, kind: Kind, parent: str) -> None:
        """Whether a new version could be made now; raises :class:`ConfigurationError`."""
        life.new_version(
            self.models(actor.tenant).values(), tenant=actor.tenant, family=family, kind=kind,
            selector=Selector(), spec={}, created_by=actor.by, now=actor.now, parent=parent,
        )  # fmt: skip

    async def add(
        self, model: Mapping[str, Any], learned: Iterable[tuple[str, int, int, bytes]], actor: Actor
    ) -> Model:
        """Publish a new version with its states: (series, size, at, body); the model comes last.

        ``model`` are the arguments of :func:`ml.life.new_version`.
        """
        async with self._turn:
            known = self.models(actor.tenant)
            try:
                fresh = life.new_version(
                    known.values(), tenant=actor.tenant, created_by=actor.by, now=actor.now,
                    reason=actor.reason, **model,
                )  # fmt: skip
            except ConfigurationError as exc:
                raise ConflictError(str(exc)) from exc
            states = [life.state_of(fresh, *one) for one in learned]
            sealed = life.seal(fresh, states)
            await self._publish([*states, sealed], life.changes(known, [sealed]))
        return sealed

    async def move(self, model_id: str, to: State, actor: Actor) -> list[Model]:
        """Give a model another state; the records that were published.

        Raises:
            ProblemError: no such model (404), or its state or its broken seal does not allow it (409).
        """
        self.model(actor.tenant, model_id)
        async with self._turn:
            known = self.models(actor.tenant)
            try:
                moved = life.transition(
                    known, model_id, to, by=actor.by, now=actor.now, reason=actor.reason
                )
            except ConfigurationError as exc:
                raise ConflictError(str(exc)) from exc
            self._check_served(moved)
            await self._publish(moved, life.changes(known, moved))
        return moved

    async def go_back(self, model_id: str, actor: Actor) -> list[Model]:
        """Undo the last promotion of a model's family; the records that were published.

        Raises:
            ProblemError: no such model (404), another of its family is active by now, or there is
                nothing to go back to that is as it was sealed (409).
        """
        family = self.model(actor.tenant, model_id).family
        async with self._turn:
            known = self.models(actor.tenant)
            # Whoever asks twice has seen one promotion, and does not mean the one before it.
            active = [m.id for m in known.values() if m.family == family and m.state == "active"]
            if active and model_id not in active:
                msg = f"{model_id} is {known[model_id].state}; {active[0]} is active"
                raise ConflictError(msg)
            try:
                moved = life.roll_back(
                    known, family, by=actor.by, now=actor.now, reason=actor.reason
                )
            except ConfigurationError as exc:
                raise ConflictError(str(exc)) from exc
            self._check_served(moved)
            await self._publish(moved, life.changes(known, moved))
        return moved

    async def roll_back(self, selector: Selector, before: int, actor: Actor) -> Rollback:
        """Ask the workers to put what was learned of some series back to before a moment."""
        record = Rollback(
            actor.tenant, secrets.token_hex(6), selector, before, actor.by, actor.now, actor.reason
        )
        change = Change(
            actor.tenant, f"rollback {record.id}", "", f"before {before}",
            actor.by, actor.now, actor.reason,
        )  # fmt: skip
        await self._publish([record], [change])
        return record

    def _known(self) -> MemoryTable:
        if self._table is None or not self._table.is_complete:
            msg = "the models have not been read from their topic yet"
            raise UnavailableError(msg)
        return self._table

    def _records(self, tenant: str, kind: type[T]) -> list[T]:
        return [r for r in self._known().values() if isinstance(r, kind) and r.tenant == tenant]

    async def _publish(self, records: Sequence[Learning], audit: Sequence[Change]) -> None:
        """One after the other where order matters, states together; return when they are read back.

        Raises:
            ConflictError: another process has written one of these records since.
        """
        table = self._known()
        keyed = {key_of(r).decode(): r for r in records}
        wanted = {key: r for key, r in keyed.items() if not isinstance(r, ModelState)}
        before = {key: table.get(key) for key in wanted}
        messages = [Message(key_of(r), to_json(r)) for r in records]
        states = sum(isinstance(r, ModelState) for r in records)
        parts = [messages[n : min(n + _AT_ONCE, states)] for n in range(0, states, _AT_ONCE)]
        parts += [[message] for message in messages[states:]]
        try:
            if self._producer is None:
                msg = "this API was started without a broker"
                raise BrokerUnavailableError(msg)
            for part in parts:
                await self._producer.publish("models", part)
            notes = [Message(c.tenant.encode(), to_json(c)) for c in audit]
            await self._producer.publish("audit", notes)
        except BrokerUnavailableError as exc:
            msg = f"{exc}; ask for the models before repeating the request"
            raise UnavailableError(msg) from exc
        for change in audit:
            _journal.info(
                "%s", change.what, extra={"tenant": change.tenant, "was": change.was,
                "now": change.now, "by": change.by, "reason": change.reason},
            )  # fmt: skip
        read_back = await table.until(
            lambda known: all(known.get(key) == record for key, record in keyed.items()),
            READ_BACK_S,
        )
        others = [
            key for key, record in wanted.items() if table.get(key) not in (before[key], record)
        ]
        if not read_back and others:
            msg = (
                f"{', '.join(others)} was changed by another process at the same moment; look again"
            )
            raise ConflictError(msg)
