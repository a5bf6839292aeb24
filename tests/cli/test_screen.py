"""What ``up`` says of how far behind it is, until it has caught up."""

import asyncio
import io
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from cli import parts
from cli.screen import Screen
from tests.support.process import free_port

HOURS = 231 * 60_000


def screen_of(stack=None, *, terminal=False):
    written = io.StringIO()
    console = Console(file=written, width=200, force_terminal=terminal, color_system=None)
    return Screen(stack or stack_at(1), console), written


def stack_at(port):
    binaries = parts.Binaries(Path("broker"), Path("valkey"))
    return parts.Stack(Path("data"), binaries, 1, 2, 3, 4, 5, port)


def test_it_says_once_that_it_is_behind_and_once_that_it_is_not():
    screen, written = screen_of()
    said = [screen.behind(lag) for lag in (None, HOURS, HOURS - 60_000, 61_000, 59_000)]
    assert written.getvalue().split("\n") == [
        "  Still reading: 3 h 51 min behind. Alerts of now come when it has caught up.",
        "  Caught up: what is shown is of now.",
        "",
    ]
    assert said == [False, False, False, False, True]


def test_who_was_never_behind_is_told_nothing():
    screen, written = screen_of()
    assert screen.behind(14_000)
    assert written.getvalue() == ""


def test_the_status_line_says_how_far():
    screen, _ = screen_of(terminal=True)
    assert "behind" not in screen.status().plain
    screen.behind(HOURS)
    assert "3 h 51 min behind · 0 alert versions" in screen.status().plain
    screen.behind(20_000)
    assert "behind" not in screen.status().plain


@pytest.mark.parametrize(
    ("body", "lag"), [({"lag_ms": 5}, 5), ({"lag_ms": None}, None), ({}, None), ([], None)]
)
def test_the_api_is_asked(body, lag):
    class Api(BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path == "/api/v1/overview"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Api) as server:
        Thread(target=server.handle_request).start()
        assert asyncio.run(parts.behind(stack_at(server.server_port))) == lag


def test_an_api_that_does_not_answer_says_nothing():
    assert asyncio.run(parts.behind(stack_at(free_port()))) is None
