"""A source partition for tests of the ingest step: records in, what they came to out."""

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from models.config import load_series_config
from models.flow import Batch, Record
from models.records import LIVE, Partial, Watermark, decode_dead_letter, decode_flow, decode_late
from tables import parts
from tables.ingest import INGEST_STORES, IngestConfig, fold_metrics, fold_plays

SHIPPED = load_series_config(Path(__file__).parents[2] / "config" / "series.toml")
T0 = 1_760_000_400_000
"""09:00 of a UTC day: an edge of every pane up to an hour."""

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


class Counts(Counter):
    """Counters kept in a dict: (name, reason) -> n."""

    def count(self, name, reason, n=1):
        self[name, reason] += n


def config(series=SHIPPED, **changes):
    """The shipped series for tenants demo and other, four partitions each way."""
    given = {"tenants": frozenset({"demo", "other"}), "partials": 2, "sources": 4, **changes}
    return IngestConfig(series, counters=Counts(), **given)


def shipped(**changes):
    """The shipped series with some fields replaced."""
    fields = {f: getattr(SHIPPED, f) for f in SHIPPED.__struct_fields__}
    return type(SHIPPED)(**{**fields, **changes})


def play(at=T0, **changes):
    """The value of a play's record; without an event_id it is never a duplicate."""
    return json.dumps(
        {
            "tenant_id": "demo", "listener_id": "u1", "track_id": "t1", "artist_id": "a1",
            "started_at": at, "ms_played": 60_000, "track_ms": 120_000, "platform": "ios",
            "country": "DE", "source": "playlist", "plan": "free", "startup_ms": 200, **changes,
        }
    ).encode()  # fmt: skip


def metric(at=T0, value=1.0, **changes):
    """The value of a metric sample's record."""
    event = {"tenant_id": "demo", "name": "cpu", "value": value, "at": at, "tags": {"host": "h"}}
    return json.dumps({**event, **changes}).encode()


def record(value, offset=0, timestamp=T0 + 10 * DAY, stream=LIVE, key=None, headers=()):
    """A record; its Kafka timestamp is ten days after ``T0`` so that events are not in its future."""
    named = () if stream == LIVE else (("stream", stream.encode()),)
    return Record(offset, timestamp, key, value, (*named, *headers))


def end_of(stream, key=None):
    """An end marker."""
    return record(None, stream=stream, key=key, headers=(("stream-end", b"1"),))


class Seen(NamedTuple):
    """Outputs, decoded, in order. ``others`` are those of further partitions of ``partials``."""

    flow: list
    letters: list
    late: list
    forwarded: list

    @property
    def watermarks(self):
        """(stream name, at, idle, ended) of each watermark of demo and of the partition."""
        marks = [w for w in self.flow if isinstance(w, Watermark) and w.tenant != "other"]
        return [(w.stream, w.at, w.idle, w.ended) for w in marks]

    @property
    def partials(self):
        return [p for p in self.flow if isinstance(p, Partial)]

    @property
    def sums(self):
        """(stream, group, pane, late) -> all its parts, merged."""
        return self._merged(lambda p: (p.stream, p.group, p.pane, p.late))

    @property
    def placed(self):
        """The same by the edge that their lateness was noticed by, None on time."""
        return self._merged(lambda p: (p.stream, p.group, p.pane, p.noticed))

    def _merged(self, key):
        out = {}
        for p in self.partials:
            parts.merge_parts(out.setdefault(key(p), {}), p.parts)
        return out

    def counts(self, group="demo|all{}", stream=LIVE):
        """(pane relative to T0 in s, late) -> number of events."""
        return {
            ((pane - T0) // SECOND, late): parts.event_count(p)
            for (s, g, pane, late), p in sorted(self.sums.items())
            if (s, g) == (stream, group)
        }


def seen(outputs):
    """Decode outputs; watermarks, which go to every partition, are taken from the first."""
    found = Seen([], [], [], [])
    for output in outputs:
        match output.topic:
            case "partials":
                if not output.partition:
                    found.flow.append(decode_flow(output.value))
            case "dead-letters":
                found.letters.append(decode_dead_letter(output.value))
            case "late":
                found.late.append(decode_late(output.value))
            case _:
                found.forwarded.append(output)
    return found


def stores():
    """Empty stores."""
    return {spec.name: {} for spec in INGEST_STORES}


def restored(state):
    """The stores as a restart finds them: every value through its codec."""
    return {
        spec.name: {k: spec.decode(spec.encode(v)) for k, v in state[spec.name].items()}
        for spec in INGEST_STORES
    }


@dataclasses.dataclass
class Bed:
    """One source partition. Offsets count up by themselves; ``now`` is the processing time."""

    config: IngestConfig = dataclasses.field(default_factory=config)
    source: str = "plays"
    partition: int = 0
    state: dict = dataclasses.field(default_factory=stores)
    offset: int = 0
    now: int = T0 + 10 * DAY

    def push(self, *given, at_end=False):
        """Fold one batch of values or records."""
        records = []
        for item in given:
            of = item if isinstance(item, Record) else record(item)
            records.append(of._replace(offset=self.offset))
            self.offset += 1
        return self.fold(records, at_end=at_end)

    def fold(self, records, *, at_end=False):
        fold = fold_plays if self.source == "plays" else fold_metrics
        batch = Batch(self.source, self.partition, records, at_end)
        return seen(fold(batch, self.state, self.now, self.config))

    def wait(self, ms):
        """Let processing time pass on the partition's end."""
        self.now += ms
        return self.push(at_end=True)

    def count(self, name, reason):
        return self.config.counters[name, reason]
