"""What a worker counts: its registry without a worker, and what the names of its one broad counter mean.

``docs/metrics.md`` is made of this.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from engine.metrics import EngineMetrics

THINGS: dict[str, str] = {
    "events_folded": "valid events by when they came: `on_time`, `late` (they correct windows), `beyond_grace` (to the topic `late`)",
    "events_dropped": "events with an `event_id` that was seen already: `duplicate`",
    "events_rejected": "events that are dead letters, by the reason that they carry",
    "events_forwarded": "events moved to the partition of their key: `misrouted`",
    "plays_judged": "plays by whether they count as listening: `eligible`, or why not",
    "series_refused": "samples of metrics beyond `metrics_per_tenant`: `over_limit`",
    "groups_refused": "plays in groups beyond `groups_per_tenant`, by the dimension group: `country_platform`",
    "streams_ended": "named streams that said their end: `end_marker`",
    "partials_rejected": "partials that cannot be read; they are dead letters",
    "partials_refused": "partials of groups for which windows has no room: `over_limit`",
    "late_events_ignored": "late events that came back too late for their windows, by the window's name",
    "groups_dropped": "groups that are watched no longer: `silent` (for a day), `ended`, `abandoned` (named streams)",
    "joint": "samples and things that are not judged together: "
    "`late`, `untagged`, `over_limit`, `crowded`, `silent`, `reconfigured`",
    "releases": "hours of releases that are not judged: `over_limit`, `repeated`",
    "evidence": "`explained`: alerts that another one speaks for; `undecodable`: records that cannot be read",
    "models_refused": "models that are not used: `changed` (the seal does not hold), `spec` (it cannot be made)",
    "model_states_refused": "learned states that are not used: `foreign` (another version), `changed`, `too_old`",
    "shadows_left_out": "shadows beyond two of a series: `over_limit`",
    "rollbacks_skipped": "roll-backs of series that have `no_snapshot` from before",
    "retrainings_refused": "drifts that start no new version: `once_a_day`, `over_limit`",
    "habits_folded": "listeners that segments were told of: `learned`, `looked_at`",
    "habits_rejected": "records of listeners that cannot be read; they are dead letters",
    "finding": "findings that change no alert: `repeated`, `early` (they wait for what comes before), `undecodable`",
    "notification": "notifications by outcome: `delivered`, `failed`, `skipped`; `undecodable`",
    "sink_position": "stores that know nothing of this cluster and begin anew: `none_of_this_cluster`",
    "sink_record": "records that a store cannot read and leaves out: `undecodable`",
    "log_lines": "lines of the journal beyond 20 a minute of one reason: `over_limit`",
}
"""What ``backbeat_things_dropped_total`` counts, by its label ``name``. Held by tests/docs."""


def worker_registry() -> CollectorRegistry:
    """The metrics that a worker serves on ``BACKBEAT_METRICS_PORT``, without values."""
    metrics = EngineMetrics(CollectorRegistry())
    metrics.watch(lambda: ())
    return metrics.registry
