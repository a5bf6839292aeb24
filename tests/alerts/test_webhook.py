"""The webhook receiver against a real HTTP server on loopback; nobody sleeps."""

import asyncio
import datetime as dt
import email.utils
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from alerts.delivery import Backoff, GiveUp, Wait, next_try
from alerts.receivers.webhook import WebhookReceiver, body, retry_after
from alerts.routing import notification_id
from models.errors import ConfigurationError, DeliveryError, DeliveryRetryableError
from models.logs import logging_config
from models.records import Alert, Notification
from models.settings import Settings
from tests.alerts.timeline import T0
from tests.support.logs import logged

ALERT = Alert(
    id="a1b2", revision=0, tenant="acme", rule="playback-errors", rule_version="f00", kind="threshold",
    state="firing", severity="page", series="acme|error_rate{country=FR,platform=ios}",
    measure="error_rate", tags={"country": "FR", "platform": "ios"}, stream="live", started_at=T0,
    fired_at=T0 + 20_000, updated_at=T0 + 20_000,
    reason="error rate of ios × FR is 31.2 %, above 5 %, for 20 s",
    summary="Playback is failing on ios in FR", value=0.312, threshold=0.05, peak=0.312,
    seen_at=T0 + 21_000,
)  # fmt: skip
MESSAGE = Notification(
    notification_id(ALERT, "hook"), "acme", "hook", "firing", ALERT, created_at=T0 + 21_000
)
NOW = T0 / 1000


class Server(ThreadingHTTPServer):
    """Answers with what it was told to, the last answer for ever, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str]]] = [(200, {})]
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.asked = threading.Event()
        self.hold = threading.Event()
        self.hold.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?token=secret"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        headers = {k.lower(): v for k, v in self.headers.items()}
        self.server.requests.append((self.path, headers, self.rfile.read(length)))
        self.server.asked.set()
        self.server.hold.wait(10)
        answers = self.server.answers
        status, extra = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in extra.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.hold.set()
        made.shutdown()
        thread.join()


class Sleeper:
    """Notes how long it was asked to sleep and does not."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


async def send(url: str, *, jitter: float = 0.5, **settings):
    sleeper = Sleeper()
    receiver = WebhookReceiver(
        url, sleep=sleeper, clock=lambda: NOW, jitter=lambda: jitter, **settings
    )
    try:
        return await receiver.send(MESSAGE), sleeper.slept
    finally:
        await receiver.aclose()


async def test_posts_json_with_its_keys(server, golden):
    delivery, slept = await send(server.url)
    ((path, headers, content),) = server.requests

    assert (delivery.outcome, delivery.attempts, delivery.status) == ("delivered", 1, 200)
    assert (delivery.notification, delivery.alert, delivery.at) == (MESSAGE.id, "a1b2", T0)
    assert slept == []
    assert path == "/hook?token=secret"
    assert headers["idempotency-key"] == MESSAGE.id
    assert headers["x-backbeat-alert"] == "a1b2"
    assert headers["content-type"] == "application/json"
    golden("webhook.json", json.dumps(json.loads(content), indent=2, ensure_ascii=False) + "\n")
    assert body(MESSAGE) == content


async def test_tries_again_until_it_is_taken_and_keeps_its_key(server):
    server.answers = [(500, {}), (429, {"Retry-After": "7"}), (200, {})]
    delivery, slept = await send(server.url)

    assert (delivery.outcome, delivery.attempts, delivery.status) == ("delivered", 3, 200)
    assert slept == [0.5, 7.0]
    assert {headers["idempotency-key"] for _, headers, _ in server.requests} == {MESSAGE.id}


async def test_gives_up_after_its_attempts(server):
    server.answers = [(503, {})]
    delivery, slept = await send(server.url, backoff=Backoff(attempts=4))

    assert (delivery.outcome, delivery.attempts, delivery.status) == ("failed", 4, 503)
    assert delivery.reason == "receiver answered 503; gave up after 4 attempts"
    assert slept == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
async def test_a_refusal_is_final(server, status):
    server.answers = [(status, {})]
    delivery, slept = await send(server.url)

    assert (delivery.outcome, delivery.attempts, delivery.status) == ("failed", 1, status)
    assert slept == []


@pytest.mark.parametrize("status", [408, 425, 500, 502, 504])
async def test_what_may_pass_is_tried_again(server, status):
    server.answers = [(status, {}), (204, {})]
    delivery, _ = await send(server.url)

    assert (delivery.outcome, delivery.attempts) == ("delivered", 2)


async def test_redirects_are_not_followed(server):
    server.answers = [(307, {"Location": "http://127.0.0.1:9/elsewhere"})]
    delivery, _ = await send(server.url)

    assert (delivery.outcome, delivery.attempts, delivery.status) == ("failed", 1, 307)


async def test_nobody_listening_is_tried_again_and_the_address_stays_secret():
    with Server() as gone:
        url = gone.url
    delivery, slept = await send(url, backoff=Backoff(attempts=3))

    assert (delivery.outcome, delivery.attempts, delivery.status) == ("failed", 3, None)
    assert len(slept) == 2
    assert "secret" not in delivery.reason
    assert "ConnectError" in delivery.reason


async def test_a_receiver_that_never_answers_runs_into_the_limit(server):
    server.hold.clear()
    delivery, _ = await send(server.url, timeout=0.05, backoff=Backoff(attempts=2))

    assert (delivery.outcome, delivery.attempts) == ("failed", 2)
    assert "did not answer" in delivery.reason


async def test_the_address_is_in_no_log(server, caplog):
    for name, logger in logging_config(Settings())["loggers"].items():
        caplog.set_level(logger["level"], name)
    caplog.set_level("DEBUG")  # last, for it is the handler's level as well
    delivery, _ = await send(server.url)

    assert delivery.outcome == "delivered"
    assert "secret" not in caplog.text


@pytest.mark.parametrize("url", ["ftp://x/secret", "secret", "http://", "http://x:secret/y"])
def test_an_address_that_is_none_is_refused_and_not_repeated(url):
    with pytest.raises(ConfigurationError) as caught:
        WebhookReceiver(url)

    assert "secret" not in str(caught.value)


async def test_cancelling_ends_it_at_once(server):
    server.hold.clear()
    receiver = WebhookReceiver(server.url, timeout=30)
    task = asyncio.create_task(receiver.send(MESSAGE))
    await asyncio.to_thread(server.asked.wait, 10)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    server.hold.set()
    await receiver.aclose()
    await receiver.aclose()


def test_back_off_doubles_up_to_its_limit_with_full_jitter():
    error, backoff = DeliveryRetryableError("no"), Backoff(attempts=20, first=1, longest=60)
    waits = [next_try(n, error, backoff, 1.0) for n in range(1, 9)]

    assert waits == [Wait(s) for s in (1, 2, 4, 8, 16, 32, 60, 60)]
    assert next_try(5, error, backoff, 0.0) == Wait(0)


def test_what_a_receiver_asks_for_is_kept_within_reason():
    backoff = Backoff(patience=300)

    assert next_try(1, DeliveryRetryableError("no", 120), backoff, 0.5) == Wait(120)
    given_up = next_try(1, DeliveryRetryableError("no", 4000), backoff, 0.5)
    assert given_up == GiveUp("no; it asked to wait 4000 s, longer than 300 s")


def test_a_final_error_is_given_up():
    assert next_try(1, DeliveryError("refused"), Backoff(), 0.5) == GiveUp("refused")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("30", 30.0), (" 0 ", 0.0), ("soon", None), ("-5", None), ("٣", None),
     (email.utils.format_datetime(dt.datetime.fromtimestamp(NOW + 90, dt.UTC), usegmt=True), 90.0),
     ("Thu, 01 Jan 2015 00:00:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert retry_after(header, NOW) == seconds


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("status", [200, 302, 400, 500, None])
async def test_the_address_is_never_written(server, status, log_format):
    """It is a secret: not in the log, be it ours or the client's, and not in what is published."""
    server.answers = [(status or 200, {"Location": "/else"} if status == 302 else {})]
    url = server.url if status else "http://127.0.0.1:1/hook?token=secret"
    settings = Settings(log_level="debug", log_format=log_format)
    with logged(settings) as lines:
        receiver = WebhookReceiver(url, backoff=Backoff(attempts=2), sleep=Sleeper())
        delivery = await receiver.send(MESSAGE)
        await receiver.aclose()
        logging.getLogger("backbeat.notify").info("sent %s", delivery)
        written = "\n".join(lines())
    assert "sent Delivery(" in written
    assert "secret" not in written
    assert "/hook" not in written
