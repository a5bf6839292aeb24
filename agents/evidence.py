"""What the judge tells of a window, for slices to be looked at together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agents import verdicts
from alerts.rules import Rule
from models.evidence import Evidence, Hour, Passed, Row, Told
from models.flow import Output
from models.records import Finding, Value, Window, to_msgpack
from models.releases import HOUR, HOURS, RELEASE, parse_release
from storage.series_rows import parse_group

TOPIC = "evidence"


def rows_output(window: Window, measures: Mapping[str, str]) -> list[Output]:
    """The evidence of a first publication: ``measures`` (name -> kind) outside their band; of the total
    all of them, for what slices brought is a share of its change.
    """
    if not measures or window.revision:
        return []
    group = parse_group(window.group)
    if group.metric:
        return []
    rows = []
    for name, kind in measures.items():
        value = window.values.get(name)
        if value is None or value.value is None or value.low is None or value.high is None:
            continue
        if not group.tags or not value.low <= value.value <= value.high:
            row = row_of(window, name, kind, value)
            if row is not None:
                rows.append(row)
    if not rows:
        return []
    evidence = Evidence(
        window.tenant, window.stream, window.partition, window.size, window.end, tuple(rows)
    )
    return [_output(window.tenant, evidence)]


def row_of(window: Window, measure: str, kind: str, value: Value) -> Row | None:
    """One measure of a window as evidence; None without a value or a band."""
    if value.value is None or value.low is None or value.high is None:
        return None
    tags = parse_group(window.group).tags
    return Row(tags, measure, kind, value.value, value.low, value.high, value.weight)  # type: ignore[arg-type]  # rules check the kind


def finding_output(rule: Rule, window: Window, value: Value, finding: Finding) -> Output:
    """A finding on its way: to ``evidence`` where the other slices matter, or to ``findings``."""
    if not rule.attribute or finding.state == "pending":
        return verdicts.output(finding)
    row = None if window.revision else row_of(window, rule.measure, rule.measure_kind, value)
    told = Told(finding.tenant, finding.stream, window.partition, finding, row)
    return _output(finding.tenant, told)


def hour_output(window: Window, measures: Iterable[str]) -> list[Output]:
    """What these measures came to in one hour of a release's age, of a window's first publication.

    Hours begin with the release, put back to where windows begin; windows between them say nothing.
    """
    group = parse_group(window.group)
    tags = dict(group.tags)
    release = tags.pop(RELEASE, "")
    named = parse_release(release)
    if window.revision or named is None or group.metric or tags:
        return []
    hour, off = divmod(window.start - (named[1] - named[1] % window.slide), HOUR)
    known = ((name, window.values.get(name)) for name in measures)
    counts = {name: value.value for name, value in known if value and value.value is not None}
    if off or not 0 <= hour < HOURS or not counts:
        return []
    told = Hour(window.tenant, window.stream, window.partition, release, hour, window.start, counts)
    return [_output(window.tenant, told)]


def passed_output(tenant: str, stream: str, at: int, partition: int) -> Output:
    """How far one source partition's windows are."""
    return _output(tenant, Passed(tenant, stream, partition, at))


def _output(tenant: str, testimony: Any) -> Output:
    return Output(TOPIC, tenant.encode(), to_msgpack(testimony))
