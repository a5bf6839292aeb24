"""Which incident speaks for which: findings of one measure whose slices explain each other.

A *story* is one cause and the incidents that it explains. Its *lead* is the alert that people are told
of; the others are its members and stay visible under it. Decided from the windows that end together;
pure, and the same whatever order they are given in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from alerts.explaining import ALSO, Part, explanation_text
from ml.attribution import CONTRAST, EXPLAINED, Explanation, Slice, Tags, explain
from models.evidence import Row, Told
from models.records import Finding, Share

TAKES = 3_600_000
"""How long, ms of event time, a story takes new members: what comes later has a page of its own."""

FORGOTTEN = 7 * 86_400_000
"""A story that nothing ended is forgotten after so long, ms of event time."""

OTHERS = 5
"""So many of the other slices are listed with the cause."""

_RANK = {"info": 0, "ticket": 1, "page": 2}

Rows = Mapping[Tags, Row]
"""One measure of the windows that end together, by slice: those outside their band, and the total."""


class Member(msgspec.Struct, array_like=True):
    """An incident of a story that has not ended. ``moved``: by how much, of what adds up."""

    tags: Tags
    moved: float
    finding: Finding


class Story(msgspec.Struct, array_like=True):
    """One cause, and the open incidents it explains, by id. ``root``: the slice whose change the
    ``cause`` explains; ``since``: when its lead fired, epoch ms.
    """

    lead: str
    since: int
    measure: str
    size: int
    up: bool
    root: Tags
    cause: tuple[Tags, ...]
    members: dict[str, Member]


def tell(findings: Iterable[Told], rows: Rows, stories: list[Story]) -> list[Finding]:
    """Firing findings of one measure, window size and end, on their way to alerts: each with the cause
    it names, or the incident that speaks for it. ``stories`` is changed in place.

    The severest and coarsest are looked at first, so the total comes before what explains it.
    """
    out = []
    firing = sorted(findings, key=_turn)
    rows = {**rows, **{told.row.tags: told.row for told in firing if told.row is not None}}
    for told in firing:
        if any(told.finding.incident in story.members for story in stories):
            continue  # told again
        story = next((s for s in stories if _takes(s, told, rows)), None)
        if story is None:
            finding, story = _begin(told, rows)
            stories.append(story)
        else:
            finding = replace(told.finding, parent=story.lead)
        story.members[finding.incident] = Member(_tags(finding), _moved(told.row), finding)
        out.append(finding)
    return out


def end(finding: Finding, stories: list[Story]) -> list[Finding]:
    """A resolved or retracted incident leaves its story; where it led, the next one takes over."""
    out = [finding]
    for story in stories:
        if story.members.pop(finding.incident, None) is None:
            continue
        if story.lead == finding.incident and story.members:
            out.append(_heir(story, finding))
    stories[:] = [s for s in stories if s.members]
    return out


def forget(stories: list[Story], at: int) -> None:
    """Drop stories that nothing has ended for too long."""
    stories[:] = [s for s in stories if at - s.since < FORGOTTEN]


def _heir(story: Story, ended: Finding) -> Finding:
    """Of what still goes on the cause itself, or else the largest, now has its own page."""
    incident, member = min(
        story.members.items(),
        key=lambda item: (item[1].tags not in story.cause, -abs(item[1].moved), item[0]),
    )
    story.lead = incident
    reason = f"{member.finding.reason}; this goes on after the alert that spoke for it has ended"
    return replace(member.finding, takes_over=ended.incident, parent="", at=ended.at, reason=reason)


def _takes(story: Story, told: Told, rows: Rows) -> bool:
    """Whether a story explains a finding, and its lead reaches whom the finding would have reached."""
    finding, row = told.finding, told.row
    lead = story.members[story.lead].finding
    is_alike = (
        (story.measure, story.size) == (finding.measure, _size(finding))
        and finding.at - story.since <= TAKES
        and _RANK[finding.severity] <= _RANK[lead.severity]
        and finding.receivers == lead.receivers
    )
    if not is_alike or row is None or not _moved(row) or (_moved(row) > 0) != story.up:
        return False
    return _covers(story.cause, row, rows, rows.get(story.root))


def _covers(cause: Sequence[Tags], row: Row, rows: Rows, root: Row | None) -> bool:
    """Whether a cause explains that this slice moved.

    * A part of a cause moved with it, unless much more strongly than the cause.
    * A slice that holds causes is explained if they brought most of its change.
    * A slice that only overlaps with a cause (``plan=free`` with ``ios``) is explained where the total is, if
      the cause can have brought most of its change and it moved no more strongly than the total.
    * A slice that has nothing of it is not.
    """
    own = set(row.tags)
    meets = [c for c in cause if not _differ(row.tags, c)]
    around = [rows[c] for c in meets if own >= set(c) and c in rows]
    if around:
        return any(_is_no_stronger(row, than) for than in around)
    inside = [rows[c] for c in meets if own < set(c) and c in rows]
    if inside:
        return _brought(inside, row)
    beside = [rows[c] for c in meets if c in rows]
    if not beside or root is None or root.tags:
        return False
    return _brought(beside, row) and _is_no_stronger(row, root)


def _begin(told: Told, rows: Rows) -> tuple[Finding, Story]:
    """A story of its own: with the slices that explain the total, or else its own slice, if any do."""
    finding, own = told.finding, told.row
    root, found = _explained(own, rows) if own is not None else (own, None)
    cause = tuple(s.tags for s in found.slices) if found else (_tags(finding),)
    if own is not None and root is not None and (found or not root.tags):
        finding = _with_cause(finding, root, found)
    story = Story(
        lead=finding.incident,
        since=finding.at,
        measure=finding.measure,
        size=_size(finding),
        up=_moved(own) > 0,
        root=root.tags if root is not None else _tags(finding),
        cause=cause,
        members={},
    )
    return finding, story


def _explained(own: Row, rows: Rows) -> tuple[Row, Explanation | None]:
    """What is explained (the total if it left its band the same way), and by which slices."""
    total = rows.get(())
    roots = [own]
    if total is not None and own.tags and _is_out(total) and _moved(total) * _moved(own) > 0:
        roots.insert(0, total)
    for root in roots:
        for found in explain(_slice(root), _dimensions(root, rows), root.kind):
            if _covers([s.tags for s in found.slices], own, rows, root):
                return root, found
    return own, None


def _dimensions(root: Row, rows: Rows) -> dict[tuple[str, ...], list[Slice]]:
    """The finer slices of a root, by their tags."""
    found: dict[tuple[str, ...], list[Slice]] = {}
    for tags, row in rows.items():
        if set(tags) > set(root.tags):
            found.setdefault(tuple(name for name, _ in tags), []).append(_slice(row))
    return found


def _with_cause(finding: Finding, root: Row, found: Explanation | None) -> Finding:
    named = [Part(dict(s.tags), s.share) for s in found.slices] if found else []
    others = [
        Part(dict(s.tags), s.share) for s in (found.others if found else ()) if s.share >= ALSO
    ]
    change, of = root.value - _expected(root), _expected(root)
    text = explanation_text(finding.measure, change, of, named, others, dict(root.tags))
    shares = [
        Share(dict(p.tags), round(p.share, 4), part is named)
        for part in (named, others[:OTHERS])
        for p in part
    ]
    return replace(finding, cause=text, shares=shares, reason=f"{finding.reason}; {text}")


def _expected(row: Row) -> float:
    return (row.low + row.high) / 2


def _slice(row: Row) -> Slice:
    """The row for attribution. Of a quotient only the value's change is: its mix is not expected."""
    expected = _expected(row)
    if row.kind == "count":
        return Slice(row.tags, row.value, expected)
    return Slice(row.tags, row.value * row.weight, expected * row.weight, row.weight, row.weight)


def _moved(row: Row | None) -> float:
    """By how much a slice moved, of what adds up: plays, or a quotient's numerator."""
    if row is None:
        return 0.0
    off = row.value - _expected(row)
    return off if row.kind == "count" else off * row.weight


def _strength(row: Row) -> float:
    """How strongly, whatever the slice's size."""
    off = row.value - _expected(row)
    if row.kind != "count":
        return abs(off)
    expected = _expected(row)
    return abs(off) / expected if expected > 0 else float("inf")


def _is_no_stronger(row: Row, than: Row) -> bool:
    return _strength(row) <= CONTRAST * _strength(than)


def _brought(causes: Iterable[Row], row: Row) -> bool:
    """Whether these moved by enough to explain most of a slice's change."""
    return sum(_moved(r) for r in causes) / _moved(row) >= EXPLAINED


def _is_out(row: Row) -> bool:
    return not row.low <= row.value <= row.high


def _differ(a: Tags, b: Tags) -> bool:
    """Whether two slices have nothing in common: a tag with two values."""
    values = dict(a)
    return any(values.get(name, value) != value for name, value in b)


def _turn(told: Told) -> tuple[int, int, float, str, str]:
    finding = told.finding
    return (
        -_RANK[finding.severity], len(finding.tags), -abs(_moved(told.row)), finding.series,
        finding.incident,
    )  # fmt: skip


def _tags(finding: Finding) -> Tags:
    return tuple(sorted(finding.tags.items()))


def _size(finding: Finding) -> int:
    return finding.window_end - finding.window_start
