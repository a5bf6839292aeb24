"""The life of a model: what moves are possible, what a seal holds, what a roll-back leads to."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ml import life
from models.errors import ConfigurationError, StateError
from models.learning import ModelState, Selector, decode_learning, key_of
from models.records import to_json

FAMILIES = ("errors", "plays")
STATES = ("candidate", "shadow", "active", "retired")


def made(existing, family="errors", **over):
    fields = {
        "tenant": "demo", "kind": "detector", "selector": Selector("error_rate"),
        "spec": {"name": "lite"}, "created_by": "ann", "now": 1_000,
    }  # fmt: skip
    return life.new_version(existing, family=family, **fields | over)


def book(n=3, family="errors"):
    models = {}
    for _ in range(n):
        model = made(models.values(), family)
        models[model.id] = model
    return models


def move(models, model_id, to, now=2_000):
    for record in life.transition(models, model_id, to, by="ann", now=now, reason="because"):
        models[record.id] = record


moves = st.lists(
    st.tuples(
        st.sampled_from(FAMILIES),
        st.integers(1, 4),
        st.sampled_from([*STATES, "new", "back"]),
    ),
    max_size=40,
)


@given(moves)
def test_whatever_is_done_a_family_has_at_most_one_active_and_every_refusal_helps(steps):
    models = {}
    for now, (family, version, what) in enumerate(steps, 1):
        before = dict(models)
        try:
            if what == "new":
                published = [made(models.values(), family, now=now)]
            elif what == "back":
                published = life.roll_back(models, family, by="bob", now=now)
            else:
                published = life.transition(
                    models, f"{family}.{version}", what, by="bob", now=now, reason="test"
                )
        except ConfigurationError as exc:
            assert any(word in str(exc) for word in ("can become", "there are", "retire"))  # noqa: PT017
            continue
        told = life.changes(before, published)
        assert [change.now for change in told] == [m.state for m in published]
        for record in published:
            models[record.id] = record
            life.verify(record)  # no move breaks a seal
            assert record.changed_at == now
            in_between = [m for m in models.values() if m.family == family and m.state == "active"]
            assert len(in_between) <= 1
        for each in FAMILIES:
            own = [m for m in models.values() if m.family == each]
            assert sum(m.state == "shadow" for m in own) <= life.SHADOWS
            assert sorted(m.version for m in own) == list(range(1, len(own) + 1))
        if what == "back":
            assert models[published[-1].id].state == "active"


def test_a_roll_back_leads_to_what_was_active_before_and_then_further_back():
    """Two roll-backs are two steps back, not one back and one forth."""
    models = book()
    for now, version in enumerate((1, 2, 3), 10):
        move(models, f"errors.{version}", "active", now)
    assert life.previous(models, "errors").id == "errors.2"
    for expected in ("errors.2", "errors.1"):
        for record in life.roll_back(models, "errors", by="ann", now=20):
            models[record.id] = record
        assert [m.id for m in models.values() if m.state == "active"] == [expected]
    assert life.previous(models, "errors") is None
    with pytest.raises(ConfigurationError, match="nothing to go back to"):
        life.roll_back(models, "errors", by="ann", now=21)


def back(models, now=50):
    """Roll back; the id of what is active then."""
    for record in life.roll_back(models, "errors", by="ann", now=now):
        models[record.id] = record
    (active,) = (m.id for m in models.values() if m.state == "active")
    return active


def test_roll_backs_do_not_go_round_in_a_circle():
    """The first is promoted once more: what it replaced first is overwritten."""
    models = book()
    for now, version in enumerate((1, 2, 3, 1), 10):
        move(models, f"errors.{version}", "active", now)
    assert [back(models, 20), back(models, 21)] == ["errors.3", "errors.2"]
    with pytest.raises(ConfigurationError, match="nothing to go back to"):
        back(models, 22)
    # Whom a person promotes again is no longer one that was left.
    move(models, "errors.1", "active", 30)
    assert back(models, 31) == "errors.2"


def test_a_roll_back_ends_the_shadowing_of_what_was_active_before():
    models = book()
    for now, version in enumerate((1, 2, 3), 10):
        move(models, f"errors.{version}", "active", now)
    move(models, "errors.2", "shadow", 20)
    assert back(models, 30) == "errors.2"
    assert [m.state for m in models.values()] == ["retired", "active", "retired"]
    assert back(models, 31) == "errors.1"


def test_where_none_is_active_the_one_that_was_last_comes_back():
    models = book()
    for now, version in enumerate((1, 2), 10):
        move(models, f"errors.{version}", "active", now)
    move(models, "errors.2", "retired", 20)
    move(models, "errors.1", "shadow", 21)
    move(models, "errors.1", "retired", 22)
    assert back(models, 30) == "errors.2"


@given(moves)
def test_roll_backs_come_to_an_end(steps):
    models = book(4)
    for now, (_, version, to) in enumerate(steps, 1):
        with contextlib.suppress(ConfigurationError):
            if to == "back":
                back(models, now)
            else:
                move(models, f"errors.{version}", to, now)
    ends = pytest.raises(ConfigurationError, match="nothing to go back to")
    been = []
    with ends:
        for now in range(100, 105):
            been.append(back(models, now))  # noqa: PERF401  until it is refused
    assert len(set(been)) == len(been)


def test_a_record_of_before_roll_backs_were_marked_can_be_read():
    model = decode_learning(to_json(made([])))
    assert b"undone" not in to_json(model)
    assert not model.undone


def test_a_roll_back_knows_what_was_replaced_not_what_it_was_made_from():
    models = book(2)
    move(models, "errors.1", "active")
    third = made(models.values(), parent="errors.1")
    models[third.id] = third
    move(models, "errors.2", "active", 3_000)
    move(models, "errors.3", "active", 4_000)
    assert life.previous(models, "errors").id == "errors.2"


def test_the_retired_one_is_published_first():
    models = book(2)
    move(models, "errors.1", "active")
    published = life.transition(models, "errors.2", "active", by="ann", now=3_000)
    assert [(m.id, m.state) for m in published] == [
        ("errors.1", "retired"), ("errors.2", "active"),
    ]  # fmt: skip


def test_impossible_moves_say_what_is_possible():
    models = book()
    with pytest.raises(ConfigurationError, match="can become shadow, active, retired"):
        life.transition(models, "errors.1", "candidate", by="ann", now=1)
    with pytest.raises(ConfigurationError, match=r"there are errors\.1, errors\.2, errors\.3"):
        life.transition(models, "plays.1", "active", by="ann", now=1)
    move(models, "errors.1", "shadow")
    move(models, "errors.2", "shadow")
    with pytest.raises(ConfigurationError, match=r"errors\.1, errors\.2; retire one first"):
        life.transition(models, "errors.3", "shadow", by="ann", now=1)


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"family": "Errors:fr"}, "use up to 63"),
        ({"kind": "forecaster"}, "needs a family of its own"),
        ({"parent": "errors.9"}, "not a model of demo"),
        ({"spec": {"name": "magic"}}, "there is no detector 'magic'"),
        ({"spec": {"nmae": "lite"}}, "spec has nmae"),
        ({"spec": {"drift": "guess"}}, "adwin, page_hinkley"),
        (
            {"spec": {"threshold": 10**400}},
            r"threshold is 10+; it must be a number from 0 to 1e\+15",
        ),
        ({"spec": {"minimum": float("nan")}}, "minimum is nan; it must be a number from 0"),
    ],
)
def test_a_version_that_cannot_be_is_refused(over, says):
    with pytest.raises(ConfigurationError, match=says):
        made(book().values(), **over)


def test_other_tenants_count_for_nothing():
    first = made([made([], tenant="acme"), made([], "plays")])
    assert (first.id, first.version) == ("errors.1", 1)


def sealed():
    model = made([])
    states = [life.state_of(model, f"demo|plays{{n={i}}}", 60_000, 5, b"x%d" % i) for i in range(3)]
    return life.seal(model, states), states


def test_a_seal_survives_the_wire_and_any_order():
    model, states = sealed()
    model = decode_learning(to_json(model))
    states = [decode_learning(to_json(s)) for s in reversed(states)]
    life.verify(model, states)
    assert len({key_of(r) for r in (model, *states)}) == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spec", {"name": "novelty"}), ("selector", Selector("plays")), ("features", "f1"),
        ("data_until", 7), ("kind", "forecaster"), ("tenant", "acme"), ("sha256", ""),
        ("states", 2),
    ],
)  # fmt: skip
def test_any_change_of_what_was_sealed_is_found(field, value):
    model, states = sealed()
    with pytest.raises(StateError, match=r"sealed|not of"):
        life.verify(replace(model, **{field: value}), states)


def test_exchanged_states_are_found_and_named():
    model, states = sealed()
    forged = replace(states[1], body=b"y")
    with pytest.raises(StateError, match=r"series demo\|plays\{n=1\}.*was changed"):
        life.verify(model, [states[0], forged, states[2]])
    resealed = replace(forged, sha256=life.digest(b"y"))
    with pytest.raises(StateError, match="not what was sealed"):
        life.verify(model, [states[0], resealed, states[2]])
    with pytest.raises(StateError, match="sealed with 3 states; here are 2"):
        life.verify(model, states[:2])
    other = ModelState("demo", "plays.1", "s", 1, 1, b"", life.digest(b""))
    with pytest.raises(StateError, match=r"of model demo:plays\.1"):
        life.verify(model, [*states[:2], other])


def test_a_selector_wants_every_tag_and_takes_globs():
    tags = {"country": "FR", "platform": "ios"}
    assert life.selects(Selector("error_*", {"country": "F?"}), tags, "error_rate", "live")
    assert not life.selects(Selector("error_*", {"plan": "*"}), tags, "error_rate", "live")
    assert not life.selects(Selector("plays"), tags, "error_rate", "live")
    assert not life.selects(Selector(), tags, "error_rate", "replay")
