"""``backbeat replay``: a recorded series, sent again with its own event times."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from cli.pairs import read_pairs
from cli.run import ROOT, load_settings
from importers.replays import MetricRecord, Replay
from importers.river_sets import RIVER_SETS, water_flow
from importers.series_csv import Sample, read_series
from models.config import load_series_config
from models.errors import ConfigurationError
from models.flow import Batch, Record, State
from models.records import decode_dead_letter
from models.settings import Settings
from simulate.publisher import Publisher, partitions_of
from tables.ingest import METRIC_STORES, IngestConfig, fold_metrics

_CHUNK = 2_000
_TICK = 0.05


def command(
    *,
    file: Annotated[
        Path | None,
        typer.Argument(help="CSV with the columns timestamp (ISO 8601, or epoch ms) and value."),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Name of the metric it becomes.")] = None,
    river: Annotated[
        str | None, typer.Option(help=f"A series of River's instead: {', '.join(RIVER_SETS)}.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Default: the first configured.")] = None,
    stream: Annotated[
        str | None, typer.Option(help="Name of the stream. Default: from the file's name.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="k=v; may be repeated.")] = None,
    speed: Annotated[str, typer.Option(help="max, or how many times real time: 3600.")] = "max",
) -> None:
    """Replay a series to the topic `metrics`, as a stream with a clock of its own."""
    times = _speed(speed)
    source, samples = _samples(file, river)
    settings, _ = load_settings()
    replay = Replay(
        tenant=tenant or settings.tenants[0],
        metric=metric or (river or "").replace("-", "_") or _needs_metric(),
        tags=read_pairs("--tag", tag or []),
        stream=stream or f"replay-{source}",
    )
    _ask_worker(settings, replay, samples)
    seconds = asyncio.run(_replay(settings, replay, samples, times))
    print(
        f"replayed {len(samples)} samples of {source} as {replay.key.decode()} "
        f"on stream {replay.stream} in {seconds:.1f} s"
    )


def _samples(file: Path | None, river: str | None) -> tuple[str, list[Sample]]:
    """A name for the source, and everything in it: a bad line is found before any is sent."""
    if (file is None) == (river is None):
        raise ConfigurationError("replay needs either a FILE or --river NAME")
    if file is not None:
        name = re.sub(r"[^A-Za-z0-9]+", "-", file.stem).strip("-").lower() or "file"
        samples = list(read_series(file))
    elif river in RIVER_SETS:
        name, samples = str(river), list(water_flow())
    else:
        msg = f"--river {river!r} is unknown; there is {', '.join(RIVER_SETS)}"
        raise ConfigurationError(msg)
    if not samples:
        msg = f"{file or river} holds no samples"
        raise ConfigurationError(msg)
    return name, samples


def _ask_worker(settings: Settings, replay: Replay, samples: Sequence[Sample]) -> None:
    """Raise where the worker would refuse the samples: what its own step says of two of them.

    The oldest and the newest: names are the same in all, and times between the two are good if they are.
    """
    series = load_series_config(ROOT / settings.series_config)
    config = IngestConfig(series, frozenset(settings.tenants), partials=1, sources=1)
    now = time.time_ns() // 1_000_000
    asked = sorted(samples, key=lambda sample: sample.at)
    records = [
        Record(offset, now, record.key, record.value, record.headers)
        for offset, record in enumerate(replay.records((asked[0], asked[-1])))
    ]
    state: State = {spec.name: {} for spec in METRIC_STORES}
    for output in fold_metrics(Batch("metrics", 0, records, at_end=False), state, now, config):
        if output.topic == "dead-letters":
            letter = decode_dead_letter(output.value or b"")
            msg = f"the worker would refuse this ({letter.reason}): {letter.detail}"
            raise ConfigurationError(msg)


def _needs_metric() -> str:
    raise ConfigurationError("name the metric with --metric NAME")


def _speed(text: str) -> float | None:
    """Times real time; None is as fast as it goes."""
    if text == "max":
        return None
    try:
        times = float(text)
    except ValueError:
        times = 0.0
    if times <= 0:
        msg = f"--speed {text!r} is neither 'max' nor a number above 0"
        raise ConfigurationError(msg)
    return times


async def _replay(
    settings: Settings, replay: Replay, samples: Sequence[Sample], times: float | None
) -> float:
    topic = settings.topic("metrics")
    partitions = await partitions_of(settings.bootstrap, topic)
    began = time.monotonic()
    async with Publisher(settings.bootstrap, topic, partitions) as publisher:
        records = replay.records(samples)
        if times is None:
            while chunk := list(islice(records, _CHUNK)):
                await publisher.send(chunk)
        else:
            await _paced(publisher, list(records), times)
        await publisher.send_to_all(replay.end_key, replay.end_headers())
    return time.monotonic() - began


async def _paced(publisher: Publisher, records: Sequence[MetricRecord], times: float) -> None:
    """Send each record when its distance from the first, divided by ``times``, has passed."""
    began, first = time.monotonic(), records[0].at
    waiting: list[MetricRecord] = []
    for record in records:
        while (early := (record.at - first) / 1000 / times - (time.monotonic() - began)) > 0:
            await publisher.send(waiting)
            waiting = []
            await asyncio.sleep(max(early, _TICK))
        waiting.append(record)
    await publisher.send(waiting)
