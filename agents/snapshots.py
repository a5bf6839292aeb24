"""What detectors were on earlier days, kept to go back to: a store of its own, bounded a series.

A snapshot is a detector's dump, compressed. It is read only when somebody goes back, so one of a
version that this program cannot read does no harm before, and is refused then.
"""

from __future__ import annotations

import zlib

import msgspec

from models.errors import StateError
from models.flow import struct_store

DAY = 86_400_000
DAILY = 4
"""Daily snapshots kept of a series."""

CHANGES = 2
"""And of the moments before a promotion or a roll-back."""


class Snapshot(msgspec.Struct, array_like=True, frozen=True):
    """A detector after it learned the window that starts before ``at`` (epoch ms)."""

    at: int
    is_daily: bool
    packed: bytes

    @property
    def body(self) -> bytes:
        """The dump. Raises StateError if the bytes are damaged."""
        try:
            return zlib.decompress(self.packed)
        except zlib.error as exc:
            msg = f"snapshot of {len(self.packed)} bytes cannot be unpacked: {exc}"
            raise StateError(msg) from exc


class Snapshots(msgspec.Struct, array_like=True):
    """Of one series, oldest first; ``applied`` are the ids of roll-backs that need no second time."""

    kept: list[Snapshot] = []
    applied: list[str] = []

    def take(self, body: bytes, at: int, *, is_daily: bool) -> None:
        """Keep one more, and of its sort only the latest."""
        self.kept.append(Snapshot(at, is_daily, zlib.compress(body, 1)))
        same = [s for s in self.kept if s.is_daily == is_daily]
        surplus = same[: -(DAILY if is_daily else CHANGES)]
        if surplus:
            self.kept = [s for s in self.kept if s not in surplus]

    @property
    def day(self) -> int | None:
        """When the last daily one was taken."""
        return max((s.at for s in self.kept if s.is_daily), default=None)


SNAPSHOTS = struct_store("snapshots", Snapshots)
"""``<detectors' key>/<measure>`` -> its snapshots."""
