"""Where notifications leave the system; the only part of ``alerts`` that does I/O."""

from __future__ import annotations

from typing import Protocol

from models.records import Delivery, Notification


class Receiver(Protocol):
    """Sends notifications to one place."""

    async def send(self, notification: Notification) -> Delivery:
        """Deliver or give up, and say what became of it. Raises nothing but cancellation."""
        ...

    async def aclose(self) -> None:
        """Release connections. Idempotent."""
        ...
