"""Samples of metrics that are judged together, on their way to where they meet.

They go to the topic ``evidence`` beside the partials. A metric's windows follow its own clock, which
says nothing of the others; here one clock, the newest sample of a tenant's stream on this source
partition, speaks for all of them. It is told exactly where it passes an edge, between the samples
before and after, so what is on time does not depend on how batches were cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from models.config import METRIC_PREFIX, JointSpec
from models.events import Metric
from models.evidence import Reading, Sampled
from models.flow import Output
from models.records import LIVE, Watermark, decode_flow, to_msgpack
from models.series import format_key
from tables import clocks, sketches
from tables.clocks import Clock
from tables.intake import Taken, Turn, by_stream

TOPIC = "evidence"
DROPPED = "joint"
"""The counter of what cannot take part."""


def readings(taken: Taken[Metric], turn: Turn) -> list[Output]:
    """What these samples are to their joints. To be called before the clocks are moved by them.

    Counts ``joint`` {untagged}: samples without a tag that identifies their thing.
    """
    outputs: list[Output] = []
    if turn.config.series.joints:
        for (tenant, stream), places in by_stream(taken).items():
            outputs += _told(tenant, stream, [taken.events[i] for i in places], turn)
    return outputs


def expect(turn: Turn) -> None:
    """Have a tenant's live stream that has no metrics here declared idle with the others: what is
    judged together would wait for it.
    """
    if turn.config.series.joints:
        for tenant in turn.config.tenants:
            name = clocks.clock_name(tenant, LIVE)
            if name not in turn.clocks:
                turn.clocks[name] = Clock(active=turn.now)


def echoed(told: list[Output], turn: Turn) -> list[Output]:
    """What silence or an end told the windows step, and after it the same to where metrics meet."""
    if not turn.config.series.joints:
        return told
    outputs = list(told)
    for output in told:
        if output.topic != "partials" or output.partition != 0:
            continue  # a partial, or the same word to another partition
        mark = decode_flow(output.value or b"")
        if isinstance(mark, Watermark):
            clock: Clock | None = turn.clocks.get(clocks.clock_name(mark.tenant, mark.stream))
            if clock is not None and not mark.ended:
                mark.at = _edge(clock.now, turn)
            outputs += _marks(mark, turn)
    return outputs


def _told(tenant: str, stream: str, samples: Sequence[Metric], turn: Turn) -> Iterator[Output]:
    """Readings and watermarks of one stream, in offset order."""
    known: Clock | None = turn.clocks.get(clocks.clock_name(tenant, stream))
    if known is None or known.is_blank:
        top = samples[0].at
    else:
        top = known.now
    told = _edge(top, turn)
    if known is None or known.is_blank or known.idle:
        yield from _marks(_mark(tenant, stream, told, turn), turn)
    cells: dict[tuple[str, str, int], list[float]] = {}
    for sample in samples:
        for joint, group in _groups(sample, turn):
            end = sample.at - sample.at % joint.window + joint.window
            cells.setdefault((group, sample.name, end), []).append(sample.value)
        top = max(top, sample.at)
        if (edge := _edge(top, turn)) > told:
            yield from _sampled(tenant, stream, cells, turn)
            yield from _marks(_mark(tenant, stream, edge, turn), turn)
            cells, told = {}, edge
    yield from _sampled(tenant, stream, cells, turn)


def _groups(sample: Metric, turn: Turn) -> Sequence[tuple[JointSpec, str]]:
    tags = tuple(sample.tags.items())
    found, untagged = _known(turn.config.series.joints, sample.tenant_id, sample.name, tags)
    turn.count(DROPPED, "untagged", untagged)
    return found


@lru_cache(maxsize=1 << 15)
def _known(
    joints: tuple[JointSpec, ...], tenant: str, metric: str, tags: tuple[tuple[str, str], ...]
) -> tuple[tuple[tuple[JointSpec, str], ...], int]:
    """The joints that a series is a part of, each with the group key of its thing; and how many it
    would be if it had their tags.
    """
    own = dict(tags)
    asked = [joint for joint in joints if metric in joint.metrics]
    found = []
    for joint in asked:
        names = own if joint.tags is None else joint.tags
        if all(name in own for name in names):
            some = {name: own[name] for name in names}
            found.append((joint, format_key(tenant, METRIC_PREFIX + joint.series, some)))
    return tuple(found), len(asked) - len(found)


def _sampled(
    tenant: str, stream: str, cells: dict[tuple[str, str, int], list[float]], turn: Turn
) -> Iterator[Output]:
    if cells:
        made = tuple(Reading(*place, sketches.moments(v)) for place, v in sorted(cells.items()))
        sampled = Sampled(tenant, stream, turn.batch.partition, made)
        yield Output(TOPIC, tenant.encode(), to_msgpack(sampled))


def _mark(tenant: str, stream: str, at: int, turn: Turn) -> Watermark:
    return Watermark(tenant, stream, turn.batch.source, turn.batch.partition, at)


def _marks(mark: Watermark, turn: Turn) -> Iterator[Output]:
    """A watermark on its way; one that speaks for the whole partition goes to all of ``evidence``."""
    key, value = mark.tenant.encode(), to_msgpack(mark)
    if mark.tenant:
        yield Output(TOPIC, key, value)
        return
    for partition in range(turn.config.partials):
        yield Output(TOPIC, key, value, partition=partition)


def _edge(top: int, turn: Turn) -> int:
    """The edge up to which all is there once a sample of this time is."""
    place = turn.place
    return max(0, (top - place.time.lateness) // place.pane * place.pane)
