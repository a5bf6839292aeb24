"""The page's files, what browsers are told about them, and how errors look."""

from __future__ import annotations

import gzip
import json

import pytest

from api.handlers import page
from api.problems import ABOUT
from models.errors import StorageError, StorageUnavailableError
from tests.api.conftest import make_world

FILES = [
    "/web/app.js",
    "/web/style.css",
    "/web/icon.svg",
    "/web/js/charts.js",
    "/web/css/small.css",
]


@pytest.mark.parametrize("path", ["/", *FILES])
async def test_the_pages_files_are_asked_for_again_and_not_sent_again(client, path):
    first = await client.get(path)
    assert first.status_code == 200
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_every_file_that_the_page_names_is_there(client):
    import re

    html = (await client.get("/")).text
    named = set(re.findall(r'(?:src|href)="(/[^"#]+)"', html))
    assert len(named) >= 6
    for path in named:
        assert (await client.get(path)).status_code == 200, path
    for module in (page.WEB / "js").glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', module.read_text()):
            assert (page.WEB / "js" / name).exists(), (module.name, name)


async def test_the_chart_library_is_kept_for_ever_and_sent_packed(client):
    html = (await client.get("/")).text
    (path,) = {w.split('"')[1] for w in html.split("<script") if "vendor" in w}
    packed = await client.get(path, headers={"Accept-Encoding": "gzip, br"})
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.content == plain.content
    assert b"plotly.js" in plain.content[:100]
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert "content-encoding" not in plain.headers
    for answer in (packed, plain):
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["content-type"].startswith("text/javascript")
    again = await client.get(path, headers={"If-None-Match": packed.headers["etag"]})
    assert again.status_code == 304


async def test_another_version_of_the_library_is_not_kept(client):
    for path in ("/vendor/plotly.min.js", "/vendor/plotly.min.js?v=0.1"):
        assert (await client.get(path)).headers["cache-control"] == "no-cache"


def test_the_library_is_packed_once_and_whole():
    raw, packed, tag = page.chart_library()
    assert gzip.decompress(packed) == raw
    assert page.chart_library()[2] is tag


@pytest.mark.parametrize(
    "path",
    ["/web/../pyproject.toml", "/web/%2e%2e/pyproject.toml", "/web/..%2fpyproject.toml", "/web/",
     "/web/js", "/web//etc/passwd", "/web/nothing.js"],
)  # fmt: skip
async def test_nothing_else_is_served(client, path):
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/", "/api/v1/alerts", "/nope", "/web/app.js", "/health/live"])
async def test_browsers_are_held_short(client, path):
    headers = (await client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"


async def test_answers_of_the_api_are_not_kept(client):
    for path in ("/api/v1/alerts", "/api/v1/overview", "/nope"):
        assert (await client.get(path)).headers["cache-control"] == "no-store"


class Broken:
    """A store whose every answer is the error it was given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def alerts(self, *args):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (StorageUnavailableError("10.0.0.7:6379 refused"), 503, "unavailable"),
        (StorageError("table alerts is gone"), 500, "internal"),
        (RuntimeError("secret in a traceback"), 500, "internal"),
    ],
)
async def test_faults_behind_the_api_are_not_shown(settings, error, status, kind):
    world = await make_world(settings, queries=Broken(error))
    async with world.client() as client:
        answer = await client.get("/api/v1/alerts")
    assert answer.status_code == status
    assert answer.json()["type"] == f"/problems/{kind}"
    assert str(error) not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_problems_are_as_written_down(world, client, golden):
    headers = {"Content-Type": "application/json"}
    world.producer.reachable = False
    answers = {
        "not-found": await client.get("/api/v1/nothing"),
        "alert-not-found": await client.get("/api/v1/alerts/nope"),
        "method": await client.put("/api/v1/plays"),
        "parameter": await client.get("/api/v1/alerts?limit=0&since=x&typo=1"),
        "cursor": await client.get("/api/v1/series?cursor=x"),
        "body": await client.post("/api/v1/plays", content="{", headers=headers),
        "media-type": await client.post("/api/v1/plays", content="{}"),
        "unavailable": await client.post("/api/v1/metrics", json={"name": "x", "value": 1}),
        "host": await client.get("/api/v1/alerts", headers={"Host": "evil.example"}),
        "origin": await client.post("/api/v1/plays", headers={"Origin": "https://evil.example"}),
    }
    documents = {}
    for name, answer in answers.items():
        document = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert document["status"] == answer.status_code
        assert document["type"].removeprefix("/problems/") in ABOUT
        documents[name] = document
    golden("problems.json", json.dumps(documents, indent=2) + "\n")


async def test_every_kind_of_problem_is_explained(client):
    for kind, about in ABOUT.items():
        answer = await client.get(f"/problems/{kind}")
        assert about in answer.text
    assert (await client.get("/problems/boredom")).status_code == 404
