"""Windows as they are published: evaluated, judged, encoded, and remembered for their revisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from models.config import WindowSpec
from models.flow import Output, State
from models.records import Value, Window, to_json
from tables.instances import Instance
from tables.kinds import Kind
from tables.parts import Evaluator, evaluate_metric, event_count
from tables.publications import Publication
from tables.watermarks import Held


class Judge(Protocol):
    """Looks at each window before it is published. Pure but for its own stores in ``state``.

    First publications of a group instance come in the order of event time (by end, then by size).
    Revisions come between them, at any time after their window's first publication, but at a place
    that follows from event time too. ``previous`` of a revision has, by
    measure, the score, band and ``learning`` of the first publication; None for a first publication
    and where nothing was scored.
    """

    def __call__(
        self,
        window: Window,
        spec: WindowSpec,
        state: State,
        previous: Mapping[str, Value] | None,
        /,
    ) -> tuple[Window, Sequence[Output]]:
        """The window, with scores and bands if it has any, and what else is to be written."""
        ...


class Gone(NamedTuple):
    """A group instance that was dropped, and ``at`` which event time (epoch ms).

    ``size`` is the length of its panes, ms. ``why``: ``silent`` for too long; its stream has ``ended``,
    or was ``abandoned`` without an end.
    """

    tenant: str
    group: str
    stream: str
    size: int
    at: int
    why: str


@runtime_checkable
class Forgetful(Protocol):
    """A judge with stores of its own may have this too."""

    def forget(self, gone: Gone, state: State) -> Sequence[Output]:
        """A group instance was dropped: delete its state, and say what has to be said.

        If data comes again, it begins anew.
        """
        ...


def no_judge(
    window: Window, _spec: WindowSpec, _state: State, _previous: Mapping[str, Value] | None
) -> tuple[Window, Sequence[Output]]:
    """Let every window pass as it is."""
    return window, ()


@runtime_checkable
class Watchful(Protocol):
    """A judge that is told how far the windows of plays have come may have this too."""

    def passed(self, tenant: str, stream: str, at: int, partition: int) -> Sequence[Output]:
        """All windows of the stream that end by ``at`` (epoch ms) are published here; what is to be
        written. ``END_OF_TIME``: nothing more will come.
        """
        ...


@runtime_checkable
class Impatient(Protocol):
    """A judge that wants to know what windows wait for may have this too."""

    def held(self, held: Held) -> Sequence[Output]:
        """A source partition holds a stream's windows back, or does so no more; what is to be written."""
        ...


class Publisher:
    """Collects the outputs of one fold. ``published`` counts windows, first or revised."""

    def __init__(self, state: State, judge: Judge, evaluate: Evaluator, partition: int) -> None:
        self.outputs: list[Output] = []
        self.published = 0
        self._state = state
        self._judge = judge
        self._watcher = judge if isinstance(judge, Watchful) else None
        self._evaluate = evaluate
        self._partition = partition

    def first(self, it: Instance, kind: Kind, end: int, parts: Mapping[str, Any]) -> None:
        """Publish a window for the first time."""
        window = self._window(it, kind, end, parts)
        window = self._emit(it, kind, window, None)
        if kind.spec.detect:
            publication = Publication.of(window.values)
            if publication is not None:
                it.closed[kind].put(end, publication)

    def revise(
        self, it: Instance, kind: Kind, end: int, parts: Mapping[str, Any], late: int
    ) -> None:
        """Publish a window again, with ``late`` late events in it."""
        known = it.closed[kind].get(end) or Publication()
        known.revision += 1
        it.closed[kind].put(end, known)
        window = self._window(it, kind, end, parts)
        window.revision, window.late = known.revision, late
        self._emit(it, kind, window, known.bands)

    def forget(self, it: Instance, at: int, why: str) -> None:
        """Tell the judge that an instance is dropped; ``at`` and ``why``: see :class:`Gone`."""
        if isinstance(self._judge, Forgetful):
            gone = Gone(it.tenant, it.group, it.stream, it.size, at, why)
            self.outputs.extend(self._judge.forget(gone, self._state))

    def passed(self, tenant: str, stream: str, at: int) -> None:
        """Tell the judge how far a stream has come."""
        if self._watcher is not None:
            self.outputs.extend(self._watcher.passed(tenant, stream, at, self._partition))

    def held(self, held: Held) -> None:
        """Tell the judge which source partition a stream waits for."""
        if isinstance(self._judge, Impatient):
            self.outputs.extend(self._judge.held(held))

    def _window(self, it: Instance, kind: Kind, end: int, parts: Mapping[str, Any]) -> Window:
        values = self._evaluate(parts) if it.is_plays else {"value": evaluate_metric(parts)}
        return Window(
            it.tenant, it.group, it.stream, end - kind.size, end, kind.size, kind.slide,
            event_count(parts), values, partition=self._partition,
        )  # fmt: skip

    def _emit(
        self, it: Instance, kind: Kind, window: Window, previous: Mapping[str, Value] | None
    ) -> Window:
        window, more = self._judge(window, kind.spec, self._state, previous)
        self.outputs.append(Output("windows", it.record_key, to_json(window), it.header))
        self.outputs.extend(more)
        self.published += 1
        return window
