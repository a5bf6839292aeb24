"""Whose data a request sees, and who is refused. Every endpoint is held to it."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import httpx
import pytest
from pydantic import SecretStr

from api.security import (
    COOKIE,
    OpenAuthenticator,
    Principal,
    TokenAuthenticator,
    create_authenticator,
    is_loopback,
)
from models.errors import ConfigurationError
from models.settings import Settings
from tests.api.asgi import event_stream, socket
from tests.api.conftest import TOKENS, make_world
from tests.api.seed import alert

DEMO, OTHER = TOKENS
SECRET = "other"


def key(text: str) -> str:
    return quote(text, safe="")


READS = [
    "/api/v1/overview",
    "/api/v1/alerts",
    "/api/v1/alerts/inc-demo-005",
    "/api/v1/alerts/inc-other-005",
    "/api/v1/alerts?series=other%7Cplays%7B%7D",
    "/api/v1/series",
    "/api/v1/series?q=other",
    f"/api/v1/series/{key('other|plays{}')}/windows",
    f"/api/v1/series/{key('other|plays{}')}/findings",
    f"/api/v1/series/{key('demo|plays{}')}/windows",
    f"/api/v1/series/{key('demo|plays{}')}/findings",
    "/api/v1/ml/models",
    "/api/v1/ml/jobs",
    "/api/v1/ml/rollbacks",
    "/api/v1/labels",
    "/api/v1/labels?series=other%7Cplays%7B%7D",
    "/api/v1/labels/report",
]
OPEN = {
    "/health/live", "/health/ready", "/metrics", "/", "/vendor/plotly.min.js", "/problems/{kind}",
    "/openapi.json", "/web",
}  # fmt: skip


def tenants_in(document: object) -> set[str]:
    """Every tenant that a JSON document names, in a field or at the head of a key."""
    found: set[str] = set()
    if isinstance(document, dict):
        for name, value in document.items():
            if name == "tenant":
                found.add(value)
            elif name in {"key", "series", "group"} and isinstance(value, str):
                found.add(value.partition("|")[0])
            found |= tenants_in(value)
    elif isinstance(document, list):
        for value in document:
            found |= tenants_in(value)
    return found


@pytest.mark.parametrize("path", READS)
async def test_reads_show_one_tenant(guarded_world, path):
    async with guarded_world.client(DEMO) as client:
        answer = await client.get(path)
        foreign = path.startswith(("/api/v1/alerts/inc-other", "/api/v1/series/other"))
        assert (404 if foreign else 200) == answer.status_code
        if not foreign:
            assert tenants_in(answer.json()) <= {"demo"}


@pytest.mark.parametrize("path", READS)
async def test_reads_need_a_token(guarded_world, path):
    for token in (None, "wrong-token-of-nobody", DEMO[:-1]):
        async with guarded_world.client(token) as client:
            answer = await client.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"


async def test_no_route_is_forgotten(guarded_world):
    """Every route refuses a stranger, but for those that are listed as open."""
    seen = 0
    for path, operations in guarded_world.app.openapi()["paths"].items():
        if path in OPEN or path == "/api/v1/session":
            continue
        for method in operations:
            async with guarded_world.client() as client:
                url = re.sub(r"\{\w+\}", "x", path)
                answer = await client.request(method, url)
                assert (401, path) == (answer.status_code, path)
                seen += 1
    assert seen >= 9


WRITES = [
    ("POST", "/api/v1/plays"),
    ("POST", "/api/v1/metrics"),
    ("POST", "/api/v1/ml/train"),
    ("POST", "/api/v1/ml/predict"),
    ("POST", "/api/v1/ml/models/a.1/promote"),
    ("POST", "/api/v1/ml/models/a.1/rollback"),
    ("POST", "/api/v1/ml/rollbacks"),
    ("DELETE", "/api/v1/ml/jobs/a"),
    ("POST", "/api/v1/labels"),
    ("DELETE", "/api/v1/labels/a"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_writes_need_a_token(guarded_world, method, path):
    async with guarded_world.client() as client:
        assert (await client.request(method, path, json={})).status_code == 401
        # A cookie does not write: another site could send it along.
        client.cookies.set(COOKIE, DEMO)
        assert (await client.request(method, path, json={})).status_code == 401
    assert guarded_world.producer.topics == {}


async def test_writes_are_the_callers(guarded_world):
    sample = {"name": "x", "value": 1.0, "event_id": "e"}
    async with guarded_world.client(OTHER) as client:
        answer = await client.post(
            "/api/v1/metrics", json=[sample, {**sample, "tenant_id": "demo"}]
        )
        assert answer.status_code == 202
        assert [r["reason"] for r in answer.json()["rejected"]] == ["foreign_tenant"]
    (message,) = guarded_world.producer.topics["metrics"]
    assert message.key == b"other|x{}"
    assert json.loads(message.value)["tenant_id"] == "other"


async def test_streams_show_one_tenant(guarded_world):
    async with event_stream(guarded_world.app, token=DEMO) as stream:
        first = await stream.next()
        assert {"demo"} == tenants_in(first.data)
        guarded_world.feed.publish(alert(7, SECRET))
        guarded_world.feed.publish(alert(8, "demo"))
        assert {"demo"} == tenants_in((await stream.next()).data)
        assert stream.waiting == 0
    # Nor do the ids of one tenant's stream open another's past.
    async with event_stream(guarded_world.app, token=OTHER, last_id="c1:0=-1") as stream:
        await stream.next()
        assert {"other"} == tenants_in((await stream.next()).data)
        assert stream.waiting == 0


async def test_streams_and_sockets_need_a_token(guarded_world):
    async with event_stream(guarded_world.app) as stream:
        assert stream.status == 401
    async with socket(guarded_world.app) as link:
        answer = await link.raw()
        assert (answer["type"], answer["status"]) == ("websocket.http.response.start", 401)
        assert json.loads((await link.raw())["body"])["status"] == 401


async def test_a_token_in_the_address_is_not_taken(guarded_world):
    async with event_stream(guarded_world.app, access_token=DEMO, token=None) as stream:
        assert stream.status == 401


async def test_sockets_show_one_tenant(guarded_world):
    async with socket(guarded_world.app, token=DEMO, series=["other|plays{}"]) as link:
        await link.raw()
        assert await link.next() == {
            "type": "subscribed",
            "series": [],
            "unknown": ["other|plays{}"],
        }
        link.say({"type": "subscribe", "groups": ["other|all{}"]})
        assert (await link.next())["series"] == []


async def test_signing_in_keeps_the_token_in_a_cookie(guarded_world):
    async with guarded_world.client() as client:
        headers = {"Authorization": f"Bearer {DEMO}"}
        answer = await client.post("/api/v1/session", headers=headers)
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "secure" not in cookie  # plain http in this test
        assert (await client.get("/api/v1/overview")).status_code == 200
        sent = {"cookie": f"{COOKIE}={DEMO}"}
        async with event_stream(guarded_world.app, headers=sent) as stream:
            assert (await stream.next()).name == "snapshot"
        async with socket(guarded_world.app, headers=sent) as link:
            assert (await link.raw())["type"] == "websocket.accept"
        assert (await client.delete("/api/v1/session")).status_code == 204
        assert (await client.get("/api/v1/overview")).status_code == 401
    async with guarded_world.client("nobody-knows-this-one") as client:
        answer = await client.post("/api/v1/session")
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers


async def test_the_cookie_is_secure_over_https(guarded_world):
    async with guarded_world.client(DEMO) as client:
        answer = await client.post("https://backbeat.example/api/v1/session")
        assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "169.254.169.254", ""])
async def test_without_tokens_only_loopback_names_are_answered(world, host):
    """Or a page could reach the API under a name of its own (DNS rebinding)."""
    async with world.client() as client:
        answer = await client.get("/api/v1/overview", headers={"Host": host})
        assert answer.status_code == 421
    async with socket(world.app, headers={"host": host}) as link:
        assert (await link.raw())["status"] == 421


@pytest.mark.parametrize(
    ("client", "status"), [("10.0.0.7", 421), ("127.0.0.1", 200), ("::1", 200)]
)
async def test_without_tokens_other_machines_are_not_answered_whatever_name_they_send(
    world, client, status
):
    """Where the server listens is not ours to say: `uvicorn --host 0.0.0.0` must open nothing."""
    transport = httpx.ASGITransport(world.app, client=(client, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asking:
        assert (await asking.get("/api/v1/overview")).status_code == status


async def test_with_tokens_other_machines_are_answered(guarded_world):
    transport = httpx.ASGITransport(guarded_world.app, client=("10.0.0.7", 5))
    bearer = {"Authorization": f"Bearer {DEMO}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://x", headers=bearer
    ) as asking:
        assert (await asking.get("/api/v1/overview")).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8080", "127.1.2.3"])
async def test_loopback_names(world, host):
    async with world.client() as client:
        answer = await client.get("/api/v1/overview", headers={"Host": host})
        assert answer.status_code == 200


async def test_pages_of_other_origins_cannot_write_or_connect(world):
    evil = {"Origin": "https://evil.example"}
    own = {"Origin": "http://127.0.0.1:8080"}
    body = {"name": "x", "value": 1}
    async with world.client() as client:
        assert (await client.post("/api/v1/metrics", json=body, headers=evil)).status_code == 403
        assert (await client.post("/api/v1/metrics", json=body, headers=own)).status_code == 202
    async with socket(world.app, headers={"origin": "https://evil.example"}) as link:
        assert (await link.raw())["status"] == 403
    async with socket(world.app, headers={"origin": "http://127.0.0.1:8080"}) as link:
        assert (await link.raw())["type"] == "websocket.accept"


async def test_no_other_origin_may_read(world):
    async with world.client() as client:
        answer = await client.get("/api/v1/overview", headers={"Origin": "https://evil.example"})
        assert not [h for h in answer.headers if h.startswith("access-control")]


def test_an_api_for_others_needs_tokens():
    with pytest.raises(ConfigurationError, match="BACKBEAT_API_TOKENS"):
        create_authenticator(Settings(api_host="0.0.0.0"))


def test_a_loopback_api_serves_the_first_tenant():
    found = create_authenticator(Settings(tenants=("a", "b")))
    assert isinstance(found, OpenAuthenticator)
    assert Principal("a") == found.principal(None)


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ("{", "not JSON"),
        ("[]", "must be an object"),
        ("{}", "must be an object"),
        ('{"long-enough-token-1": "nobody"}', "tenants are"),
        ('{"short": "demo"}', "16 or more"),
        ('{"long-enough-tokän-1": "demo"}', "printable ASCII"),
    ],
)
def test_tokens_that_cannot_work_are_refused_without_being_shown(tokens, says):
    with pytest.raises(ConfigurationError, match=says) as raised:
        create_authenticator(Settings(api_tokens=SecretStr(tokens)))
    assert "long-enough" not in str(raised.value)


def test_a_token_speaks_for_its_tenant():
    found = TokenAuthenticator({"a" * 20: "one", "b" * 20: "two"})
    assert found.principal("b" * 20).tenant == "two"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "backbeat.example", ""])
def test_not_loopback(host):
    assert not is_loopback(host)


async def test_settings_reach_the_api(guarded):
    with pytest.raises(ConfigurationError):
        await make_world(guarded.model_copy(update={"api_tokens": None, "api_host": "0.0.0.0"}))
