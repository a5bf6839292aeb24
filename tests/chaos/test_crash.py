"""The crash test: worker and API killed three times in the middle of the plays, on real Kafka.

What goes in is judged a second time by a batch job; what came out, from SQLite to a webhook, is compared
with its answer (``tests.chaos.aftermath``). If something were lost, a window would be ``missing`` or
``short``, with its key and both numbers; if something were made up, ``foreign``; if something were
counted twice, it would ``exceed``.

20,000 plays; ``make chaos SCENARIO=shipped_agents`` is the full size.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec
import pytest

from tests.chaos.aftermath import Plans, crashed
from tests.chaos.stack import PATIENCE
from tests.support.comparison import Comparison, compare, refuse_foreign

PLAYS, SEED, KILLS = 20_000, 1, 3
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(3 * PATIENCE)]


@pytest.fixture(scope="module")
def after(kafka_server, tmp_path_factory):
    """Run it all, once."""
    folder = tmp_path_factory.mktemp("chaos")
    with crashed(kafka_server, folder, Plans.of(PLAYS, SEED), KILLS) as found:
        yield found


# -- what must hold -----------------------------------------------------------------------------------


def test_everything_that_was_sent_is_in_the_topic(after):
    """Else the rest would be compared with too little. What the API acknowledged is there, too."""
    assert after.lost_on_the_way() == []
    there = {
        msgspec.json.decode(r.value).get("event_id")
        for partition in after.stored for r in partition
        if r.value and b'"live-%d-' % (SEED + 2) in r.value
    }  # fmt: skip
    assert len(after.acknowledged) == PLAYS // 50
    assert set(after.acknowledged) <= there
    counts = after.verdicts.counts()
    assert min(counts.values()) > 0, counts


def test_no_window_is_missing_or_short_or_wrong(after):
    assert after.comparison.faults + after.published == []
    assert after.distinct_error < 0.016


def test_nothing_is_counted_or_told_twice(after, capsys):
    """A kill repeats nothing: a flush is one transaction from the plays to the notifications."""
    with capsys.disabled():
        print(f"\n{KILLS} kills, {after.verdicts.counts()}: {after.figures()}")
    assert after.comparison.excess == {}
    assert set(after.repeats().values()) == {0}, after.repeats()


def test_every_rejected_record_is_a_dead_letter(after):
    """By place in ``plays``: all that the batch job rejects and nothing else, repeats apart."""
    places = {
        (partition, offset) for topic, partition, offset, _ in after.letters if topic == "plays"
    }
    assert places == after.verdicts.rejected
    assert {topic for topic, _, _, _ in after.letters} == {"plays"}
    assert set(after.late) == after.verdicts.beyond


def test_the_incident_is_alerted_once(after):
    """What fails in the data is found, once, in spite of the kills; and nothing else fails."""
    errors = [a for a in after.alerts if a["rule"] == "playback-errors" and a["stream"] == "live"]
    assert {tuple(sorted(a["tags"].items())) for a in errors} == {
        (("country", "FR"), ("platform", "ios"))
    }
    assert sum(a["tenant"] == "demo" for a in errors) == 1


def test_a_transition_has_one_key_and_a_key_one_content(after):
    """A receiver that honours the key sees each transition once; repeats under a key are allowed."""
    contents = defaultdict(list)
    transitions = defaultdict(set)
    for request in after.requests:
        content = request.content
        if content not in contents[request.key]:
            contents[request.key].append(content)
        transitions[content["alert"]["id"], content["transition"]].add(request.key)
    assert [c for c in contents.values() if len(c) > 1] == []
    assert [t for t, keys in transitions.items() if len(keys) > 1] == []
    assert contents.keys() == after.notifications.keys()
    assert contents


def test_the_api_shows_what_was_published(after):
    mine = {a["id"]: a["state"] for a in after.alerts if a["tenant"] == "demo"}
    assert {a["id"]: a["state"] for a in after.shown} == mine
    assert mine


def test_the_comparison_can_fail(after):
    """Take a window away, or a play, or add one: each is noticed, under its own name."""
    key = next(k for k, w in after.wanted.items() if w.certain and k not in after.comparison.excess)
    got, want = after.found[key], after.wanted[key]
    without = {k: v for k, v in after.found.items() if k != key}
    assert compare(without, after.wanted, ()).missing == [key]
    less = after.found | {key: got._replace(count=want.n - 1)}
    assert compare(less, after.wanted, ()).short == [(key, want.n - 1, want.n)]
    more = after.found | {key: got._replace(count=want.n + 3)}
    assert compare(more, after.wanted, ()).excess == after.comparison.excess | {key: 3}
    fewer = {k: v for k, v in after.wanted.items() if k != key}
    strange = Comparison()
    refuse_foreign(strange, after.found, fewer)
    assert (key, got.count) in strange.foreign
