"""How it flows: Faust made lossless and fast. Knows nothing of music.

Faust keeps its job (app, agents, worker command, consumer group, assignor, lifecycle); this package
replaces what lies under an agent: how records arrive, where state lives, when an offset counts as
done. ``docs/engine.md`` describes the surface, which is all that agents use:

* :class:`~engine.app.EngineApp`, a ``faust.App``; :meth:`~engine.app.EngineApp.step` declares a step;
* :meth:`~engine.step.Step.batches` gives an agent its :class:`~engine.work.Work`;
* :meth:`~engine.work.Work.apply` runs a pure fold; the flush happens when the agent comes back;
* :class:`~engine.global_store.GlobalStore`, :class:`~engine.follower.Follower`.
"""

from engine.app import EngineApp
from engine.follower import Follower
from engine.global_store import GlobalStore
from engine.step import Step
from engine.work import Work

__all__ = ["EngineApp", "Follower", "GlobalStore", "Step", "Work"]
