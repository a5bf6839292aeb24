"""What lines look like, and which of others' are written."""

import json
import logging
import re

import pytest

from models.logs import QUOTA_LINES, QUOTA_PERIOD, Unreadable
from models.settings import Settings
from tests.support.logs import logged

FIELDS = {"reason": "not_json", "offset": 7, "detail": 'a "b" c', "none": None, "odd": "x\ny"}


@pytest.fixture
def text():
    with logged(Settings(log_format="text")) as lines:
        yield lines


@pytest.fixture
def objects():
    with logged(Settings(log_format="json")) as lines:
        yield lambda: [json.loads(line) for line in lines()]


def test_a_line_of_text_ends_with_its_fields(text):
    logging.getLogger("backbeat.journal").warning("event %s", "rejected", extra=FIELDS)
    (line,) = text()
    assert line.partition(" WARNING ")[2] == (
        'backbeat.journal: event rejected reason=not_json offset=7 detail="a \\"b\\" c" odd="x\\ny"'
    )


def test_fields_stand_before_a_traceback(text):
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("backbeat").exception("failed", extra={"job": "j1"})
    first, *_, last = text()
    assert first.endswith("backbeat: failed job=j1")
    assert last == "ValueError: no"


def test_the_time_of_an_object_is_utc_and_says_so(objects):
    logging.getLogger("backbeat").info("hello", extra={"offset": 7})
    (line,) = objects()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "INFO", "logger": "backbeat", "message": "hello", "offset": 7}


def test_lines_of_the_http_server_are_like_all_others(objects):
    server = logging.getLogger("uvicorn")
    handler, propagates = logging.StreamHandler(), server.propagate
    server.addHandler(handler)  # as it does itself, before it makes the API
    server.propagate = False
    try:
        with logged(Settings()) as lines:
            logging.getLogger("uvicorn.error").info("up", extra={"color_message": "\x1b[1mup"})
            (line,) = map(json.loads, lines())
    finally:
        server.removeHandler(handler)
        server.propagate = propagates
    assert (line["logger"], line["message"]) == ("uvicorn.error", "up")
    assert "color_message" not in line


def test_records_that_cannot_be_read_are_warned_of_up_to_a_number(caplog, monkeypatch):
    log = logging.getLogger("backbeat.test")
    now = [0]
    monkeypatch.setattr("models.logs.time.time_ns", lambda: now[0] * 1_000_000)
    unreadable = Unreadable(log, "record is no alert")
    for offset in range(QUOTA_LINES + 5):
        unreadable.write("alerts", ValueError("bad"), partition=1, offset=offset)
    assert len(caplog.records) == QUOTA_LINES
    first = caplog.records[0]
    assert (first.levelname, first.topic, first.offset) == ("WARNING", "alerts", 0)
    assert (first.error, first.exc_info) == ("bad", None)
    now[0] = QUOTA_PERIOD
    unreadable.write("alerts", ValueError("bad"), partition=1, offset=99)
    assert caplog.records[-1].getMessage() == "record is no alert: 6 more were not logged"


@pytest.mark.parametrize(
    ("name", "level", "written"),
    [
        ("mode.timers", "warning", False),  # "Timer livelock is overlapping", under any load
        ("mode.timers", "error", True),
        ("mode.services", "error", True),
        ("httpx", "info", False),  # whole addresses
        ("httpcore.connection", "debug", False),
        ("backbeat.engine", "debug", True),
    ],
)
def test_what_is_written_of_others(name, level, written):
    with logged(Settings(log_level="debug")) as lines:
        getattr(logging.getLogger(name), level)("a line")
        assert bool(lines()) is written
