"""The feature pipeline: declared, the same online and in batch, versioned, with explicit state."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.features import LONGEST, Features, in_batch, parse, version
from models.errors import ConfigurationError, StateError

HOUR = 3_600_000
EVERYTHING = "value, difference, lag(3), mean(4), ratio(2), log, hour_of_week"
values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


def points(numbers):
    return [(number, i * HOUR) for i, number in enumerate(numbers)]


def test_each_feature_is_what_its_name_says():
    *_, last = in_batch(Features(EVERYTHING), points([1.0, 2.0, 4.0, 8.0, 16.0]))
    assert last == {
        "value": 16.0, "difference(1)": 8.0, "lag(3)": 2.0, "mean(4)": 7.5, "ratio(2)": 4.0,
        "log": math.log(17.0), "hour_of_week": 4.0,
    }  # fmt: skip


def test_without_a_past_a_feature_makes_do_with_what_there_is():
    (first,) = in_batch(Features(EVERYTHING), points([5.0]))
    assert (first["difference(1)"], first["lag(3)"], first["mean(4)"], first["ratio(2)"]) == (
        0.0, 5.0, 5.0, 1.0,
    )  # fmt: skip


@given(values, st.integers(0, 40), st.sampled_from(["", "; scaled"]))
def test_online_with_a_restart_anywhere_equals_batch(numbers, cut, scaled):
    spec = EVERYTHING + scaled
    expected = list(in_batch(Features(spec), points(numbers)))
    online, got = Features(spec), []
    for i, (value, at) in enumerate(points(numbers)):
        if i == cut:
            online = Features.load(online.dump())
        x = {"value": value, "at": at}
        got.append(online.transform_one(x))
        assert online.transform_one(x) == got[-1], "looking changed something"
        online.learn_one(x)
    assert got == expected


def test_scaled_features_have_mean_nought_and_deviation_one():
    made = list(
        in_batch(Features("value, mean(3); scaled"), points([float(i % 7) for i in range(700)]))
    )
    late = [m["value"] for m in made[350:]]
    assert sum(late) / len(late) == pytest.approx(0, abs=0.05)
    assert sum(x * x for x in late) / len(late) == pytest.approx(1, abs=0.05)


def test_a_version_is_of_what_is_said_not_of_how_it_is_written():
    assert version("value,lag( 3)".replace(" ", "")) == version(" value ,  lag(3) ")
    assert version("difference") == version("difference(1)")
    others = {version(t) for t in ("value", "value; scaled", "lag(3), value", "value, lag(3)")}
    assert len(others) == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("value, luck", "there is no feature 'luck'; there are value"),
        ("", "there is no feature ''"),
        ("lag(0)", "can be 1 to 512"),
        (", ".join(f"lag({n})" for n in range(1, 18)), "16 at most"),
        (f"mean({LONGEST + 1})", "can be 1 to 512"),
        ("value(3)", "no feature 'value"),
        ("lag, lag(1)", r"lag\(1\) twice"),
        ("value; squared", "can only be 'scaled'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(text, says):
    with pytest.raises(ConfigurationError, match=says):
        parse(text)


def test_foreign_and_damaged_states_are_refused():
    state = Features("value, lag(3); scaled").dump()
    with pytest.raises(StateError, match="this program reads features/1"):
        Features.load(state.replace(b"features/1", b"features/0"))
    for n in range(len(state)):
        with pytest.raises(StateError):
            Features.load(state[:n])
    with pytest.raises(ValueError, match="finite"):
        Features("value").transform_one({"value": math.nan, "at": 0})
