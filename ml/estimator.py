"""What every detector of a series has of River: the two verbs that take a dictionary."""

from __future__ import annotations

import abc
from typing import Any

from river import base

from ml.protocol import Verdict


class SeriesEstimator(base.AnomalyDetector):
    """A River anomaly detector over ``{"value": float, "at": epoch ms}``.

    Subclasses say ``score`` and ``learn`` as :class:`ml.protocol.Detector` has them: a value that is
    not finite raises ValueError in all four.
    """

    @abc.abstractmethod
    def score(self, value: float, at: int) -> Verdict:
        """Judge a value of the window that starts ``at`` (epoch ms); changes nothing."""

    @abc.abstractmethod
    def learn(self, value: float, at: int) -> None:
        """Take a value in; ``at`` never goes back."""

    def score_one(self, x: dict[Any, Any]) -> float:
        """River's form of :meth:`score`: 0.0 while learning."""
        return self.score(x["value"], x["at"]).score or 0.0

    def learn_one(self, x: dict[Any, Any]) -> None:
        """River's form of :meth:`learn`."""
        self.learn(x["value"], x["at"])
