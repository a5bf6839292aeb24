"""Connecting in the background: the API answers from the first moment, and says what is missing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Protocol

from models.errors import StorageError

log = logging.getLogger(__name__)

BACKOFF_S = (0.5, 1.0, 2.0, 5.0)
STOP_TIMEOUT_S = 5.0


class Startable(Protocol):
    """A collaborator with a connection."""

    async def start(self) -> None:
        """Connect, or raise ``StorageUnavailableError``. Idempotent."""
        ...

    async def stop(self) -> None:
        """Release everything. Idempotent."""
        ...


class Starter:
    """Starts one collaborator, again and again until it has worked.

    ``required`` says whether the API is not ready before that.
    """

    def __init__(self, name: str, target: Startable, *, required: bool) -> None:
        self.name = name
        self.required = required
        self.started = asyncio.Event()
        self._target = target
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Try in the background from now on."""
        self._task = asyncio.create_task(self._run(), name=f"start-{self.name}")

    async def _run(self) -> None:
        attempt = 0
        while True:
            try:
                await self._target.start()
            except StorageError as exc:
                log.warning("not connected", extra={"part": self.name, "error": str(exc)})
            except Exception:
                # A fault of ours. Tried again all the same: nobody else would, and readiness
                # tells that the part is missing.
                log.exception("not connected", extra={"part": self.name})
            else:
                self.started.set()
                return
            await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
            attempt += 1

    async def end(self) -> None:
        """Stop trying, and stop the collaborator; gives up on it after a while."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._target.stop()
        except (StorageError, TimeoutError) as exc:
            log.warning("did not stop cleanly", extra={"part": self.name, "error": repr(exc)})
        except Exception:  # the others are to be stopped, too
            log.exception("did not stop cleanly", extra={"part": self.name})
