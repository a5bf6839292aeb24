"""A timeline for the windows step: push partials and watermarks, look at the windows."""

from collections import Counter
from hashlib import blake2b

from models.config import parse_series_config
from models.flow import Batch, Record
from models.records import Partial, Watermark, decode_window, to_msgpack
from models.series import format_key
from tables.parts import buckets, moments, registers
from tables.windowing import WINDOW_STORES, WindowsConfig, fold_windows, no_judge

S, M, H, D = 1_000, 60_000, 3_600_000, 86_400_000
T0 = 20_000 * D
"""Where timelines begin: midnight, UTC."""

ALL = format_key("acme", "all", {})


class Counts(Counter):
    """Counters that remember."""

    def count(self, name, reason, n=1):
        self[name, reason] += n


def series_config(*windows, pane="10s", groups=1000, measures=None, metrics=1000):
    """A configuration with windows as (size, slide, grace[, detect])."""
    return parse_series_config(
        {
            "time": {"pane": pane, "lateness": "10s", "idle": "5s", "future": "5m"},
            "windows": [
                {"size": w[0], "slide": w[1], "grace": w[2], "retention": "2d",
                 "detect": len(w) > 3 and w[3]}
                for w in windows or (("10s", "10s", "1h"), ("1m", "10s", "1h"), ("1h", "1m", "24h"))
            ],
            "limits": {"groups_per_tenant": groups, "metrics_per_tenant": metrics},
            "plays": {"groups": [[]], "measures": measures or MEASURES},
            "metrics": {"pane_min": "10s", "pane_max": "1d"},
        }
    )  # fmt: skip


MEASURES = [
    {"name": "plays", "kind": "count"},
    {"name": "listeners", "kind": "distinct", "of": "listener_id"},
    {"name": "error_rate", "kind": "ratio", "where": "failed"},
    {"name": "startup_p95", "kind": "quantile", "of": "startup_ms", "q": 0.95},
    {"name": "completion", "kind": "mean", "of": "completion"},
]


def hash64(text):
    return int.from_bytes(blake2b(str(text).encode(), digest_size=8).digest(), "big")


def play_parts(*listeners, failed=0):
    """The parts of one play by each of these listeners (any values; what they play follows)."""
    hashes = [hash64(x) for x in listeners]
    return {
        "n": len(hashes),
        "n:failed": failed,
        "d:listener_id": registers(hashes),
        "q:startup_ms": buckets([h % 1000 for h in hashes]),
        "s:completion": moments([(h % 97) / 97 for h in hashes]),
    }


def metric_parts(*values):
    return {"s:value": moments(values), "q:value": buckets(values)}


class Timeline:
    """One partition of the windows step. Times are given as offsets from ``T0``."""

    def __init__(self, config=None, sources=1, judge=no_judge, **options):
        self.counts = Counts()
        self.config = WindowsConfig(
            config or series_config(), {"plays": sources, "metrics": sources}, self.counts,
            **options,
        )  # fmt: skip
        self.judge = judge
        self.state = {spec.name: {} for spec in (*WINDOW_STORES, *getattr(judge, "stores", ()))}
        self.records = []
        self.outputs = []
        self.offset = 0
        self.now = T0

    def push(self, flow, key=None):
        """Add a record to the batch in the making; ``flow`` may be bytes."""
        value = flow if isinstance(flow, bytes) else to_msgpack(flow)
        self.records.append(Record(self.offset, self.now, key, value))
        self.offset += 1
        return self

    def plays(
        self,
        at,
        *listeners,
        group=ALL,
        source=0,
        late=False,
        noticed=None,
        stream="live",
        parts=None,
    ):
        """Plays in the pane that starts ``at``; late ones may say by which edge it was noticed."""
        parts = play_parts(*(listeners or ("someone",))) if parts is None else parts
        pane = self.config.series.time.pane
        late = late or noticed is not None
        noticed = None if noticed is None else T0 + noticed
        return self.push(
            Partial("acme", stream, group, source, T0 + at, pane, late, parts, noticed=noticed)
        )

    def samples(
        self, at, *values, size=10 * S, wm=None, late=False, group=None, source=0, stream="live"
    ):
        """Samples of a metric in the pane that starts ``at``; ``wm`` is the series' watermark."""
        group = group or format_key("acme", "metric:cpu", {"host": "a"})
        wm = None if wm is None else T0 + wm
        parts = metric_parts(*values)
        return self.push(Partial("acme", stream, group, source, T0 + at, size, late, parts, wm))

    def watermark(self, at, source=0, stream="live", topic="plays", **flags):
        return self.push(Watermark("acme", stream, topic, source, T0 + at, **flags))

    def everywhere(self, at, **flags):
        """The same watermark from every source partition."""
        for source in range(self.config.sources["plays"]):
            self.watermark(at, source, **flags)
        return self

    def idle_partition(self, source, topic="plays", idle=True):
        return self.push(Watermark("", "", topic, source, 0, idle))

    def fold(self):
        """Fold the batch in the making; its outputs."""
        batch = Batch("partials", 3, self.records, at_end=True)
        self.records = []
        outputs = fold_windows(batch, self.state, self.now, self.config, self.judge)
        self.outputs += outputs
        return outputs

    def windows(self):
        """Fold, and the windows that this batch brought."""
        return [decode_window(o.value) for o in self.fold() if o.topic == "windows"]

    def revisions(self):
        """Fold, and the windows that this batch published again."""
        return [w for w in self.windows() if w.revision]

    def crash(self):
        """Lose memory and restore from what the changelog would hold."""
        specs = {spec.name: spec for spec in WINDOW_STORES}
        self.state = {
            name: {k: specs[name].decode(specs[name].encode(v)) for k, v in store.items()}
            if name in specs
            else store
            for name, store in self.state.items()
        }
        return self

    def keys(self):
        """Keys per store."""
        return {name: len(store) for name, store in self.state.items() if store}


def short(window):
    """(size in s, start, end as offsets in s, revision, count)."""
    return (
        window.size // S, (window.start - T0) // S, (window.end - T0) // S,
        window.revision, window.count,
    )  # fmt: skip


def shorts(windows):
    return [short(w) for w in windows]


def closed(*windows, until=60 * S, **options):
    """A timeline on which one play a pane was counted until then."""
    line = Timeline(series_config(*windows), **options)
    for at in range(0, until, 10 * S):
        line.plays(at, f"at {at}")
    line.watermark(until).fold()
    return line
