"""How a worker tells the bench how far it is: one line in a file, written by a thread of its own.

Standard library only: it runs in other systems' environments too. The Java worker writes the same line.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path


class Progress:
    """``events`` is raised by the worker; :meth:`ready` is called when it has its state and may read, or it is
    ready with its first event.
    """

    def __init__(self) -> None:
        self.events = 0
        self._ready_at = 0
        self._path = Path(os.environ["BENCH_STATUS"])
        threading.Thread(target=self._report, daemon=True).start()

    def ready(self) -> None:
        """Note the moment, once."""
        self._ready_at = self._ready_at or time.time_ns() // 1_000_000

    def _report(self) -> None:
        while True:
            self.write()
            time.sleep(0.05)

    def write(self) -> None:
        """Write now: a last time before a worker that ends by itself."""
        if self.events:
            self.ready()
        self._path.write_bytes(b"%020d %020d\n" % (self._ready_at, self.events))


def read(path: Path) -> tuple[int, int]:
    """When the worker became ready (epoch ms, 0: not yet) and how many events it has processed."""
    try:
        ready, events = path.read_bytes().split()
    except (OSError, ValueError):  # not there yet, or caught between truncation and writing
        return 0, 0
    return int(ready), int(events)
