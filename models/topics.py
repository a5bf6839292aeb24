"""The topic table: every topic, its key, shape and schema, in one place.

The worker creates topics from it and checks them at start, the AsyncAPI document and
``docs/topics.md`` are generated from it, and tests read it.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from models import events, evidence, learning, records, segments

HOUR = 3_600_000
DAY = 24 * HOUR


class Topic(NamedTuple):
    """One topic.

    ``role``: ``in`` (producers write it), ``inner`` (between our own steps), ``out`` (others may read
    it) or ``table`` (compacted: the last record of a key is its value). ``schema`` is the record's
    type; ``retention`` in ms, None for compacted topics.
    """

    name: str
    role: Literal["in", "inner", "out", "table"]
    key: str
    schema: Any
    about: str
    encoding: Literal["json", "msgpack"] = "json"
    retention: int | None = None

    @property
    def compacted(self) -> bool:
        """Whether the broker keeps the last record per key for ever."""
        return self.role == "table"

    def config(self) -> dict[str, str]:
        """The broker-side configuration that goes with the table's row."""
        if self.compacted:
            return {"cleanup.policy": "compact"}
        return {"cleanup.policy": "delete", "retention.ms": str(self.retention)}


TOPICS: dict[str, Topic] = {
    t.name: t
    for t in (
        Topic("plays", "in", "tenant:listener", events.Play,
              "Plays as the producers send them.", retention=7 * DAY),
        Topic("metrics", "in", "series key", events.Metric,
              "Samples of any series of numbers.", retention=7 * DAY),
        Topic("partials", "inner", "tenant|group{tags}", records.Partial,
              "What each source partition added to each pane, and watermarks.",
              encoding="msgpack", retention=DAY),
        Topic("features", "inner", "tenant", segments.Habits,
              "What was known of a listener who came back in a later hour.",
              encoding="msgpack", retention=DAY),
        Topic("windows", "out", "tenant|group{tags}", records.Window,
              "Closed windows with their measures, bands and scores; revisions.",
              retention=2 * DAY),
        Topic("evidence", "inner", "tenant", evidence.Testimony,
              "Slices outside their band, findings that wait for them, metrics judged together, hours of releases, and how far all is.",
              encoding="msgpack", retention=DAY),
        Topic("findings", "out", "tenant", records.Finding,
              "Changes of a rule's state on a series.", retention=30 * DAY),
        Topic("alerts", "out", "tenant", records.Alert,
              "Versions of incidents.", retention=30 * DAY),
        Topic("notifications", "out", "tenant", records.Notification,
              "Messages to be sent, one per alert, transition and receiver.",
              retention=30 * DAY),
        Topic("deliveries", "out", "tenant", records.Delivery,
              "What became of each notification.", retention=30 * DAY),
        Topic("late", "out", "tenant", records.LateEvent,
              "Events beyond their windows' grace.", retention=30 * DAY),
        Topic("dead-letters", "out", "source:partition:offset", records.DeadLetter,
              "Records that could not be used, with the reason.", retention=30 * DAY),
        Topic("cluster", "table", "mark", None,
              "Its first record marks this cluster: offsets stored under another mark are void."),
        Topic("rules", "table", "tenant:rule", None,
              "Rules as users saved them. Workers read it; nothing of Backbeat writes it yet."),
        Topic("silences", "table", "tenant:silence", None,
              "Reserved for silences: nothing reads or writes it yet."),
        Topic("receivers", "table", "tenant:receiver", None,
              "Reserved for receivers of notifications: nothing reads or writes it yet."),
        Topic("labels", "table", "tenant:label", learning.Label, "Judgements of alerts and windows."),
        Topic("models", "table", "tenant:id", learning.Learning,
              "Models, what they have learned, roll-backs, and how shadows compare."),
        Topic("audit", "out", "tenant", learning.Change,
              "Who changed which model, when and why.", retention=3_650 * DAY),
        Topic("segments", "table", "tenant:listener", segments.Membership,
              "Which segment each listener is in."),
        Topic("segment-descriptions", "table", "tenant:segment", segments.Segment,
              "Segments of listeners in words and numbers."),
    )
}  # fmt: skip

STREAM_HEADER = "stream"
"""Header of an input record that names its stream; without it the stream is ``live``."""

END_HEADER = "stream-end"
"""Header of an input record without a value: the named stream ends here, on this partition."""

FORWARDED_HEADER = "forwarded"
"""Header of an input record that was moved to the partition its key belongs to."""

EVENT_ID_HEADER = "event_id"
ALERT_ID_HEADER = "alert_id"
