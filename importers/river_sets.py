"""The series that come with River, so that a replay needs no file."""

from __future__ import annotations

from collections.abc import Iterator

from importers.series_csv import Sample, epoch_ms

RIVER_SETS = ("water-flow",)


def water_flow() -> Iterator[Sample]:
    """Hourly flow through a pipeline branch, in litres a second, over two months of 2022.

    It has three stretches of low flow (losses, maintenance) and one small peak (pumping).
    """
    from river.datasets import WaterFlow

    for line, (features, value) in enumerate(WaterFlow(), start=2):
        yield Sample(epoch_ms(features["Time"]), float(value), line)
