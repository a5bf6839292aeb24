"""`backbeat ml` against an API in this process: what it asks for, shows, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json

import httpx
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from cli import ml, remote
from cli.main import app, main
from cli.remote import RefusedError, first_token
from models.errors import ConfigurationError
from models.settings import Settings
from tests.api.conftest import make_world
from tests.api.history import FAMILY, FIRST, MINUTE, published, store_with_history
from tests.api.seed import NOW
from tests.api.test_segmenting import PEOPLE

TRAIN = ["train", "plays", "--name", "plays", "--tag", "plan=*", "--set", "threshold=1"]


@pytest.fixture
def world(monkeypatch):
    """An API with history to learn from, which `backbeat ml` is connected to."""
    settings = Settings(tenants=("demo",))
    found = asyncio.run(_make(settings))
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(
            TestClient(found.app, base_url="http://127.0.0.1:8080", client=("127.0.0.1", 1))
        )
        monkeypatch.setattr(ml, "connect", lambda api, token: remote.Remote(client))
        monkeypatch.setattr(ml, "_POLL", 0.01)
        yield found


async def _make(settings):
    return await make_world(settings, await store_with_history())


def run(*words: str) -> str:
    """What a command shows; a failure is raised as `main` would print it."""
    done = CliRunner().invoke(app, ["ml", *words], env={"COLUMNS": "240"})
    if isinstance(done.exception, RefusedError | ConfigurationError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def run_json(*words: str):
    return json.loads(run(*words, "--json"))


def test_a_model_from_training_to_rollback(world):
    shown = run(*TRAIN, "--by", "ann", "--reason", "first")
    assert "done" in shown
    assert "plays.1" in shown
    run(*TRAIN)
    assert run_json("jobs")["items"][0]["model"] == "plays.2"

    shown = run("models", "--family", "plays")
    assert [line.split()[0] for line in shown.splitlines()[1:]] == ["plays.2", "plays.1"]
    shown = run("model", "plays.1")
    for wanted in ("plays{plan=*}", "intact", FAMILY, "by ann: first", "threshold 1"):
        assert wanted in shown

    run("promote", "plays.1")
    shown = run("promote", "plays.2", "--by", "bob", "--reason", "calmer")
    assert "retired" in shown
    assert "see /api/v1/ml/models/plays.2" in shown
    shown = run("rollback", "plays.2", "--reason", "worse")
    assert "plays.1 is active again" in shown
    note = published(world, "audit")[-1]
    assert (note["what"], note["now"], note["reason"]) == ("model plays.1", "active", "worse")
    assert run_json("models", "--state", "active")["items"][0]["id"] == "plays.1"


def test_a_forecaster_is_trained_and_asked(world):
    until = str(FIRST + 280 * MINUTE)
    words = ["ahead", "--kind", "forecaster", "--name", "plays", "--tag", "plan=*", "--to", until]
    assert "ahead.1" in run("train", *words, "--set", "within=30m")
    shown = run("predict", FAMILY, "--mode", "forecast", "--model", "ahead.1", "--horizon", "3")
    assert "model ahead.1" in shown
    assert "20 values since" in shown


def test_a_model_becomes_a_shadow(world):
    run(*TRAIN)
    assert "shadow" in run("promote", "plays.1", "--to", "shadow")
    assert published(world)[-1].state == "shadow"


def test_a_prediction_shows_what_surprised_most(world):
    shown = run("predict", FAMILY, "--set", "name=lite")
    assert "a new lite/" in shown
    assert "300 points" in shown
    found = run_json("predict", FAMILY)
    assert len(found["points"]) == 300


def test_a_forecast_shows_what_follows(world):
    shown = run("predict", FAMILY, "--mode", "forecast", "--horizon", "3")
    assert shown.count("90% ") == 3
    shown = run("predict", FAMILY, "--mode", "forecast", "--from", str(FIRST + 295 * MINUTE))
    assert "too few values" in shown


def test_listeners_of_a_file_are_segmented(world, tmp_path):
    file = tmp_path / "listeners.json"
    file.write_text(json.dumps(PEOPLE))
    shown = run("predict", "--mode", "segment", "--listeners", str(file))
    assert "learned 160 listeners" in shown
    assert "night listeners" in shown
    file.write_text(json.dumps(PEOPLE[:5]))
    assert "too few" in run("predict", "--mode", "segment", "--listeners", str(file))
    file.write_text("{")
    with pytest.raises(ConfigurationError, match="cannot be read as JSON"):
        run("predict", "--mode", "segment", "--listeners", str(file))


def test_a_file_is_predicted_from_a_model(world, tmp_path):
    run(*TRAIN)
    file = tmp_path / "points.csv"
    file.write_text("timestamp,value\n2026-01-03 00:00:00,100\n2026-01-03 00:01:00,900\n")
    found = run_json("predict", FAMILY, "--model", "plays.1", "--file", str(file))
    assert [p["value"] for p in found["points"]] == [100, 900]
    assert "plays.1" in found["source"]


def test_a_rollback_to_before_an_incident(world):
    shown = run("rollback", "--before", str(NOW - 60 * MINUTE), "--series", FAMILY, "--by", "ann")
    assert FAMILY in shown
    run("rollback", "--before", "2026-01-02T00:00:00Z", "--name", "plays", "--tag", "plan=f*")
    first, second = published(world)
    assert (first.before, first.by) == (NOW - 60 * MINUTE, "ann")
    assert second.selector.tags == {"plan": "f*"}


@pytest.mark.parametrize(
    "words", [[], ["plays.1", "--before", "1"], ["--before", "1"], ["--before", "1", "--tag", "x"]]
)
def test_a_rollback_says_of_what(world, words):
    with pytest.raises(ConfigurationError, match=r"say|name=value"):
        run("rollback", *words)
    assert published(world) == []


def test_labels_are_made_listed_reported_and_forgotten(world):
    shown = run("label", "true", "--alert", "inc-demo-005", "--author", "ann", "--reason", "outage")
    assert "outage" in shown
    run("label", "false", "--series", FAMILY, "--from", str(FIRST), "--to", str(FIRST + MINUTE))
    kept = run_json("labels")["items"]
    assert [la["verdict"] for la in kept] == ["true", "false"]
    shown = run("labels", "--report")
    assert "rule playback-errors" in shown
    shown = run("labels", "--forget", kept[0]["id"], "--forget", kept[1]["id"])
    assert [la["verdict"] for la in run_json("labels")["items"]] == ["true"]


def test_a_training_that_fails_ends_with_an_error(world):
    with pytest.raises(RefusedError, match="no series has a value"):
        run(*TRAIN, "--from", "0", "--to", "1000")
    assert "failed" in run("jobs")


def test_a_training_need_not_be_waited_for(world):
    begun = run_json(*TRAIN, "--no-wait")
    assert begun["job"]["state"] in {"queued", "running"}
    job = begun["job"]["id"]
    while run_json("jobs", job)["ended_at"] is None:
        pass
    with pytest.raises(RefusedError, match="is done"):
        run("jobs", job, "--cancel")


def test_what_the_api_refuses_is_said_in_its_words(world):
    with pytest.raises(RefusedError, match=r"there is no model 'none\.1'"):
        run("model", "none.1")
    with pytest.raises(RefusedError, match="crystal"):
        run(*TRAIN, "--set", "name=crystal")
    world.producer.reachable = False
    with pytest.raises(RefusedError, match=r"try again in 2 s"):
        run("label", "true", "--alert", "inc-demo-005")


def test_a_refusal_is_one_line_and_an_exit_code(monkeypatch, capsys):
    monkeypatch.setenv("BACKBEAT_API_PORT", "1")
    monkeypatch.setenv("BACKBEAT_BROKER", "kafka://127.0.0.1:1")
    monkeypatch.setattr("sys.argv", ["backbeat", "ml", "models"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("backbeat: the API on http://127.0.0.1:1 does not answer")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "x", "--set", "x"], "--set 'x' is not of the form name=value"),
        (["train", "x", "--tag", "x"], "--tag 'x' is not of the form name=value"),
        (["rollback"], "say either a model, or --before"),
        (["rollback", "--before", "1"], "say which series"),
        (["jobs", "--cancel"], "--cancel needs the id of a job"),
        (["models", "--token", "tök"], "a token is printable ASCII"),
        (["models", "--api", "http://[::1"], "--api 'http://[::1' is no address"),
        (["models", "--family", "\udcff"], "cannot be sent"),
        (["promote", "x", "--reason", "\udcff"], "cannot be sent"),
        (["predict", "--mode", "segment", "--listeners", "/none"], "cannot be read as JSON"),
    ],
)
def test_a_wrong_command_is_one_line_and_its_own_exit_code(monkeypatch, capsys, words, says):
    monkeypatch.setenv("BACKBEAT_BROKER", "kafka://127.0.0.1:1")
    monkeypatch.setattr("sys.argv", ["backbeat", "ml", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("backbeat: ")
    assert says in error
    assert "tök" not in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_what_is_no_number_for_the_api_is_refused_by_it(world, value):
    with pytest.raises(RefusedError, match=f"threshold is '{value}'"):
        run(*TRAIN, "--set", f"threshold={value}")


def test_an_argument_of_other_bytes_than_text_is_not_there(world):
    with pytest.raises(RefusedError, match="there is no model"):
        run("model", "\udcff")


def test_an_answer_that_is_no_problem_document_is_told_by_its_status():
    transport = httpx.MockTransport(lambda _: httpx.Response(502, text="bad gateway"))
    client = httpx.Client(transport=transport, base_url="http://x")
    with pytest.raises(RefusedError, match="answered 502"):
        remote.Remote(client).ask("GET", "/ml/models")


def test_the_token_is_the_first_of_the_settings():
    assert first_token('{"a-long-random-token": "demo", "b": "c"}') == "a-long-random-token"
    assert first_token("{") is None
    assert first_token("[]") is None


def test_the_token_and_address_reach_the_api(monkeypatch):
    monkeypatch.setenv("BACKBEAT_API_TOKENS", '{"a-long-random-token": "demo"}')
    monkeypatch.setenv("BACKBEAT_BROKER", "kafka://127.0.0.1:1")
    client = remote.connect(None, None)._client
    assert client.headers["authorization"] == "Bearer a-long-random-token"
    assert str(client.base_url) == "http://127.0.0.1:8080"
    client = remote.connect("http://h:1", "mine")._client
    assert (client.headers["authorization"], str(client.base_url)) == ("Bearer mine", "http://h:1")
