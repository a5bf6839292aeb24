"""What InfluxDB gets to see; the golden file is what dashboards rest on."""

from hypothesis import given
from hypothesis import strategies as st

from models.records import Value
from storage.line_protocol import (
    alert_line,
    finding_line,
    plain_tag_name,
    plain_tag_value,
    tag_name,
    tag_value,
    window_lines,
)
from tests.storage.rows import HOUR, MINUTE, alert, finding, metric, plays, window

AT = 1_700_000_000_000 // HOUR * HOUR


def test_the_lines_are_as_they_were(golden):
    scored = Value(
        0.25, 8.0, 3.5, 0.0, 0.125, learning=True, minimum=0.0, maximum=1.0, variance=2.0
    )
    both = {"platform": "i os", "country": "D=E,\\"}
    clash = {"tenant": "x", "value": "y", "tag_a": "z", "empty": "", "new\nline": "100 %"}
    silent = alert(
        "a,b c", 2, state="resolved", started_at=AT, fired_at=AT + 1, updated_at=AT + 2,
        resolved_at=AT + 3, value=0.0, threshold=1.0, summary='No "plays"\\ from\nDE',
    )  # fmt: skip
    firing = finding(at=AT, since=AT - 1, window_start=AT - 2, window_end=AT, peak=9.5)
    lines = [
        *window_lines(window(AT, values={"plays": plays(120), "error_rate": scored})),
        *window_lines(window(AT, group="country_platform", tags=both, size=HOUR, slide=MINUTE)),
        *window_lines(window(AT, group="all", tags={}, stream="import 2010", revision=3)),
        *window_lines(metric(AT, 1e21, "cpu load", tags=clash)),
        *window_lines(metric(AT, None, tags={})),
        *window_lines(metric(AT, float("inf"), tags={})),
        *window_lines(metric(AT, None, tags={}, revision=1)),
        alert_line(silent),
        finding_line(firing),
    ]
    golden("lines.txt", b"\n".join(lines) + b"\n")


@given(st.text())
def test_a_tags_value_can_be_read_back(text: str):
    stored = tag_value(text)
    assert stored
    assert not set("\\\n\r\0") & set(stored)
    assert plain_tag_value(stored) == text


@given(st.text(min_size=1) | st.sampled_from(["time", "value", "tenant", "tag_value", "tag_tag_x"]))
def test_a_tags_name_can_be_read_back_and_hides_none_of_ours(name: str):
    assert plain_tag_name(tag_name(name)) == name
    assert plain_tag_name("tenant") is None
