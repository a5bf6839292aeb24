"""The attribution step's fold: what all source partitions tell of one edge meets, then findings go on.

A source partition of ``windows`` tells in the order of the edges of event time, and closes each one.
An edge is decided once every partition has closed it, with all that belongs to it in a fixed order; so
what comes out does not depend on batches, or on which partition was faster.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass

import msgspec

from agents import stories, verdicts
from agents.meeting import JOINT_STORES, Meeting, MeetingConfig
from agents.releases import RELEASE_STORES, Releases, ReleasesConfig
from agents.stories import Story
from ml.attribution import Tags
from models.decoding import dead_letter
from models.events import Rejected
from models.evidence import Evidence, Hour, Passed, Row, Sampled, Told, decode_testimony
from models.flow import Batch, Counters, Output, State, struct_store
from models.records import Finding, Watermark
from tables.watermarks import END_OF_TIME, NEVER


class Held(msgspec.Struct, array_like=True):
    """What one tenant's stream waits with. ``passed``: by source partition, the edge it has closed;
    ``open``: what it told since; ``edges``: what was told of edges that not all have closed;
    ``furthest``: the last edge that any has closed, without the end.
    """

    passed: dict[int, int]
    open: dict[int, list[Evidence | Told | Hour]]
    edges: dict[int, list[Evidence | Told | Hour]]
    furthest: int = NEVER

    def close(self, mark: Passed) -> None:
        """A partition has told all of the edges up to this one."""
        if told := self.open.pop(mark.partition, None):
            self.edges.setdefault(mark.at, []).extend(told)
        self.passed[mark.partition] = max(mark.at, self.passed.get(mark.partition, NEVER))
        if mark.at < END_OF_TIME:
            self.furthest = max(mark.at, self.furthest)

    def take(self, partitions: int) -> Iterator[tuple[int, list[Evidence | Told | Hour]]]:
        """Remove the edges that all partitions have closed, in order."""
        for edge in sorted(e for e in self.edges if e <= self.reached(partitions)):
            yield edge, self.edges.pop(edge)

    def reached(self, partitions: int) -> int:
        """Up to where all source partitions have told everything."""
        return min(self.passed.get(n, NEVER) for n in range(partitions))


HELD = struct_store("held", Held)
STORIES = struct_store("stories", list[Story])
ATTRIBUTION_STORES = (HELD, STORIES)
EVIDENCE_STORES = (*ATTRIBUTION_STORES, *JOINT_STORES, *RELEASE_STORES)
"""What the whole fold keeps: of slices, of metrics that are judged together, and of releases."""


@dataclass(frozen=True, slots=True)
class AttributionConfig:
    """``partitions``: how many source partitions the windows step has. ``meeting``: what is judged
    together of metrics, ``releases`` of tracks in their first week; None: nothing.
    """

    partitions: int
    counters: Counters
    meeting: MeetingConfig | None = None
    releases: ReleasesConfig | None = None


def fold_evidence(batch: Batch, state: State, now: int, config: AttributionConfig) -> list[Output]:
    """Findings of rules that attribute, each with its cause or the incident that speaks for it; and
    windows and findings of metrics that are judged together (:mod:`agents.meeting`) and of tracks in
    their first week (:mod:`agents.releases`).

    Counts ``evidence`` {undecodable, explained: nobody is told of it}; what cannot be read goes to ``dead-letters``.
    """
    outputs: list[Output] = []
    held: MutableMapping[str, Held] = state[HELD.name]
    meeting = Meeting(state, now, config.meeting) if config.meeting is not None else None
    releases = Releases(state, config.releases) if config.releases is not None else None
    for record in batch.records:
        try:
            it = decode_testimony(record.value or b"")
        except (msgspec.DecodeError, ValueError) as exc:
            rejected = Rejected("undecodable_evidence", str(exc)[:500])
            outputs.append(dead_letter(record, batch.source, batch.partition, rejected, now))
            config.counters.count("evidence", "undecodable", 1)
            continue
        if isinstance(it, Sampled | Watermark):
            outputs += meeting.take(it, record.timestamp) if meeting is not None else ()
            continue
        key = f"{it.tenant}:{it.stream}"
        waiting = held.get(key) or Held({}, {}, {})
        held[key] = waiting
        if not isinstance(it, Passed):
            waiting.open.setdefault(it.partition, []).append(it)
            continue
        waiting.close(it)
        for edge, told in waiting.take(config.partitions):
            outputs += _decide(key, edge, told, state, config)
            hours = [t for t in told if isinstance(t, Hour)]
            if hours and releases is not None:
                outputs += releases.judge(key, edge, hours)
        reached = waiting.reached(config.partitions)
        if releases is not None:
            ended = reached >= END_OF_TIME
            outputs += releases.passed(key, waiting.furthest if ended else reached, ended=ended)
        if reached >= END_OF_TIME:
            del held[key]
            state[STORIES.name].pop(key, None)
    return outputs


def _decide(
    key: str, edge: int, told: list[Evidence | Told | Hour], state: State, config: AttributionConfig
) -> list[Output]:
    """All that happened at one edge: endings first, then what fires."""
    findings = [t for t in told if isinstance(t, Told)]
    if not findings:
        return []
    known: list[Story] = state[STORIES.name].get(key) or []
    if edge < END_OF_TIME:
        stories.forget(known, edge)
    out: list[Finding] = []
    for it in sorted((t.finding for t in findings if t.finding.state != "firing"), key=_place):
        out += stories.end(it, known)
    rows = _rows(told)
    firing: defaultdict[tuple[str, int, int], list[Told]] = defaultdict(list)
    for t in findings:
        if t.finding.state == "firing":
            size = t.finding.window_end - t.finding.window_start
            firing[t.finding.measure, size, t.finding.window_end].append(t)
    for place, group in sorted(firing.items()):
        out += stories.tell(group, rows[place], known)
    if known:
        state[STORIES.name][key] = known
    else:
        state[STORIES.name].pop(key, None)
    for finding in out:
        if finding.state == "firing" and finding.parent:
            config.counters.count("evidence", "explained", 1)
    return [verdicts.output(finding) for finding in out]


def _rows(told: list[Evidence | Told | Hour]) -> defaultdict[tuple[str, int, int], dict[Tags, Row]]:
    """By measure, window size and end: the rows of the slices."""
    found: defaultdict[tuple[str, int, int], dict[Tags, Row]] = defaultdict(dict)
    for it in told:
        if isinstance(it, Evidence):
            for row in it.rows:
                found[row.measure, it.size, it.end][row.tags] = row
    return found


def _place(finding: Finding) -> tuple[int, str, str]:
    return finding.at, finding.state, finding.incident
