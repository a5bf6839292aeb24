"""``backbeat doctor``: what it finds, and what it says to do."""

import sqlite3
from contextlib import closing

import pytest
from typer.testing import CliRunner

from cli.doctor import FoundTopic, config, pinned, store, topics
from cli.main import app
from cli.run import ROOT
from models.settings import Settings
from models.topics import TOPICS
from tests.support.process import free_port


def found(**changes):
    have = {name: FoundTopic(4, t.config()["cleanup.policy"]) for name, t in TOPICS.items()}
    return have | changes


def test_all_topics_as_the_table_says_is_one_good_line():
    (check,) = topics(Settings(), found())
    assert (check.level, check.detail) == ("ok", f"all {len(TOPICS)}, 4 partitions each")


def test_a_broker_that_does_not_tell_policies_is_believed():
    assert [c.level for c in topics(Settings(), found(rules=FoundTopic(4, None)))] == ["ok"]


def test_other_partition_counts_fail_with_the_setting_to_use():
    (check,) = topics(Settings(), found(plays=FoundTopic(6, "delete")))
    assert check.level == "fail"
    assert check.detail == "plays has 6 partitions, the settings say 4"
    assert "BACKBEAT_PARTITIONS=6" in check.advice


def test_a_table_that_is_not_compacted_fails_and_a_log_that_is_warns():
    checks = topics(
        Settings(), found(rules=FoundTopic(4, "delete"), plays=FoundTopic(4, "compact"))
    )
    assert {(c.level, c.detail) for c in checks} == {
        ("fail", "rules has cleanup.policy=delete, it needs compact"),
        ("warn", "plays has cleanup.policy=compact, it needs delete"),
    }


def test_missing_topics_are_named_with_their_prefix():
    have = {f"x-{name}": topic for name, topic in found().items() if name != "late"}
    (check,) = topics(Settings(topic_prefix="x-"), have)
    assert (check.level, check.detail) == ("warn", "not there yet: x-late")


def test_the_shipped_configuration_is_one_good_line():
    check = config(Settings())
    assert (check.level, check.what) == ("ok", "config")
    assert "config/series.toml: 8 measures, 3 windows; config/rules.toml: 5 rules" in check.detail


@pytest.mark.parametrize(
    ("which", "added", "reason"),
    [
        ("series", "odd = [", "Invalid value (at end of document)"),
        ("series", "[odd]", "unknown tables ['odd']"),
        ("series", "[[detectors]]\nname = 'odd'\nmetric = '*'", "there is no detector 'odd'"),
        ("series", "[calendar]\ntimezone = 'Mars/Olympus'", "Mars/Olympus"),
        ("rules", "[[rules]]\nid = 'odd'\nwhen = 'plays <'", "rule 'odd'"),
    ],
)
def test_a_configuration_that_the_worker_refuses_fails_with_file_and_reason(
    tmp_path, which, added, reason
):
    shipped = (ROOT / "config" / f"{which}.toml").read_text()
    path = tmp_path / f"{which}.toml"
    path.write_text(f"{shipped}\n{added}\n")
    check = config(Settings(**{f"{which}_config": path}))
    assert check.level == "fail"
    assert str(path) in check.detail
    assert reason in check.detail
    assert "\n" not in check.detail


def test_packages_must_be_the_pinned_ones():
    assert pinned("river", "0.26.1", "0.26.1").level == "ok"
    assert pinned("river", "0.26.1", "0.25.0").detail == "is 0.25.0, not 0.26.1"
    assert pinned("river", "0.26.1", None).level == "fail"


def test_the_store_is_opened_without_being_made(tmp_path):
    path = tmp_path / "backbeat.db"
    assert store(path).level == "warn"
    assert not path.exists()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE windows (x)")
        db.commit()
    check = store(path)
    assert check.level == "ok"
    assert "1 tables" in check.detail
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 50)
    assert store(path).level == "fail"


@pytest.fixture
def nothing_there(monkeypatch, tmp_path):
    port = free_port()
    monkeypatch.setenv("BACKBEAT_BROKER", f"kafka://127.0.0.1:{port}")
    monkeypatch.setenv("BACKBEAT_METRICS_PORT", str(free_port()))
    monkeypatch.setenv("BACKBEAT_API_PORT", str(free_port()))
    monkeypatch.setenv("BACKBEAT_DATA_DIR", str(tmp_path))
    return port


def test_without_anything_running_it_fails_and_says_what_to_start(nothing_there):
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert f"127.0.0.1:{nothing_there} does not answer" in result.output
    assert "BACKBEAT_BROKER=kafka://host:port" in result.output
    assert "faust -A faust_app worker" in result.output
    assert "uvicorn --factory" in result.output


@pytest.mark.integration
def test_a_broker_without_our_topics_is_reachable(nothing_there, tansu_server, monkeypatch):
    monkeypatch.setenv("BACKBEAT_BROKER", tansu_server.url)
    monkeypatch.setenv("BACKBEAT_TOPIC_PREFIX", "nobody-made-these-")
    result = CliRunner().invoke(app, ["doctor"])
    assert f"{tansu_server.bootstrap}: 1 broker(s)" in result.output
    assert "not there yet: nobody-made-these-plays" in result.output
