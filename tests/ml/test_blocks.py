"""The block forecaster's parts, held against slow and plain versions of themselves."""

import math
import random

import msgspec
import numpy as np
import pytest

from ml.forecasting import BlockForecaster, create
from ml.forecasting.bands import RUNGS
from ml.forecasting.filters import ORIGINS, WINDOW, bank_of, member_names
from ml.forecasting.past import AT_ONCE, Past, Tail
from ml.forecasting.protocol import seasons_of
from models.errors import StateError

HOUR = 3_600_000
DAYS = [50 + 20 * math.sin(place * math.pi / 12) + place % 5 for place in range(900)]


def taught(values, horizon=12, step=HOUR, pace=1):
    it = create(step, horizon, pace=pace)
    for place, value in enumerate(values):
        it.learn(value, place * step)
    return it


# -- what members say, one value at a time -------------------------------------------------------------


class Plain:
    """Each member by its definition, from the values up to an origin."""

    def __init__(self, values, lags):
        self.values, self.lags = values, lags
        self.usual = []
        for place, value in enumerate(values):
            before = self.usual[place - lags[0]] if place >= lags[0] else value
            self.usual.append(before + 0.5 * (value - before))

    def ago(self, row, place, origin):
        """What row ``row`` says of a place, known at an origin: the last season that was over."""
        lag = self.lags[row - 1]
        while place >= origin:
            place -= lag
        return (self.usual if row == 1 else self.values)[place]

    def member(self, name, origin, ahead):
        if name == "line":
            x = np.arange(-WINDOW + 1, 1)
            slope, level = np.polyfit(x, self.values[origin - WINDOW : origin], 1)
            return level + slope * ahead
        row, _, filtered = name.partition("+")
        if row not in {"season", "week"}:
            row, filtered = "", row
        number = ("", "season", "week").index(row)
        place = origin + ahead - 1
        base = self.ago(number, place, origin) if number else 0.0
        if filtered == "median":
            return sorted(self.values[max(0, origin - 255) : origin])[min(origin, 255) // 2]
        if not filtered:
            return base
        off = []
        for i in range(origin - WINDOW, origin):
            lag = self.lags[number - 1] if number else 0
            ago = (self.usual if number == 1 else self.values)[i - lag] if number else 0.0
            off.append(self.values[i] - ago)
        if filtered == "last":
            return base + off[-1]
        rate = {"fast_level": 0.3, "slow_level": 0.03}[filtered]
        weights = [(1 - rate) ** age for age in range(WINDOW)][::-1]
        return base + np.average(off, weights=weights)


@pytest.mark.parametrize(("horizon", "pace"), [(12, 1), (48, 1), (12, 4)])
def test_a_block_holds_against_what_came_what_each_member_said_before_it_came(horizon, pace):
    """With horizons beyond a day too, where the day before is not over at the origin."""
    it = taught(DAYS, horizon, pace=pace)
    bank, first = it._bank, it._first - pace * it._bank.block
    ahead = bank.ahead[it._blocks % len(bank.ahead)]
    targets = (bank.origins + (first - 1))[:, None] + ahead
    errors = it._errors(first, targets, ahead)
    plain = Plain(DAYS, bank.lags)

    assert errors.shape == (pace * ORIGINS, len(member_names()), len(bank.nodes))
    for number, name in enumerate(member_names()):
        for place, origin in enumerate(first + bank.origins):
            for band, h in enumerate(ahead[place].tolist()):
                begun = first + int(bank.origins[place // bank.together * bank.together])
                said = plain.member(name, begun if name == "median" else int(origin), h)
                assert errors[place, number, band] == pytest.approx(
                    DAYS[origin + h - 1] - said, abs=1e-6
                ), (name, origin, h)


@pytest.mark.parametrize("horizon", [12, 48])
def test_points_are_the_weighted_mean_of_what_members_say_and_the_median_of_its_errors(horizon):
    it = taught(DAYS, horizon)
    bank, issue = it._bank, it._issues[-1]
    plain = Plain(DAYS, bank.lags)
    offset = issue.quantiles[:, RUNGS.index(0.5)] @ bank.spread
    for slot in (1, 2, 5, horizon):
        weights = issue.weights[:, bank.band[slot - 1]]
        said = sum(
            weight * plain.member(name, len(DAYS), slot)
            for name, weight in zip(member_names(), weights, strict=True)
        )
        assert it.forecast().points[slot - 1] == pytest.approx(said + offset[slot - 1], abs=1e-6)


def test_the_member_believed_is_the_one_that_made_the_series():
    draw = random.Random(1)
    line = [3.0 * place + draw.gauss(0, 1) for place in range(400)]
    walk = np.cumsum([draw.gauss(0, 1) for _ in range(400)]).tolist()
    weeks = [float((place // 24) % 7 * 10 + place % 24) for place in range(24 * 7 * 6)]
    bursts = [100.0 if draw.random() < 0.05 else 1.0 for _ in range(800)]

    assert taught(line, step=10_000).forecast().member == "line"
    assert taught(walk, step=10_000).forecast().member in {"last", "fast_level"}
    assert taught(weeks).forecast().member.startswith("week")
    assert taught(bursts).forecast().member == "median"


def test_asking_changes_nothing():
    asked, quiet = create(HOUR, 12), create(HOUR, 12)
    for place, value in enumerate(DAYS):
        asked.learn(value, place * HOUR)
        asked.forecast()
        quiet.learn(value, place * HOUR)

    assert asked.dump() == quiet.dump()


def test_nothing_is_concluded_from_slots_that_were_filled():
    """A quarter of the slots is missing; were their own forecasts counted, intervals would be narrow."""
    draw = random.Random(6)
    values = [draw.gauss(0, 1) for _ in range(1_500)]
    whole, holed = taught(values), create(HOUR, 12)
    for place, value in enumerate(values):
        if place % 16 < 12:
            holed.learn(value, place * HOUR)

    def width(it):
        low, high = it.forecast().intervals[0.9]
        return float(np.mean(np.subtract(high, low)))

    assert holed.filled == pytest.approx(375, abs=16)
    assert width(holed) == pytest.approx(width(whole), rel=0.2)


def test_it_follows_a_whole_number_and_a_numpy_one_alike():
    it = create(HOUR, 12)
    for place in range(200):
        it.learn([1, np.float64(2.0), np.float32(3.0), 4.0][place % 4], place * HOUR)

    assert BlockForecaster.load(it.dump()).forecast() == it.forecast()


def bytes_of(*values):
    return np.array(values, dtype=float).tobytes()


# Where in [name, step, horizon, counts, slot, value, held] what is put; held = [pace, blocks, filled,
# past, ranking, ladder, issues].
DAMAGES = {
    "a step that is no int": ((1,), 3_600_000.0),
    "a horizon that is no int": ((2,), 12.0),
    "counts without end": ((3, 0), math.inf),
    "a slot beyond all": ((4,), 1e300),
    "a value that is none": ((5,), math.nan),
    "blocks without end": ((6, 1), math.inf),
    "too many blocks": ((6, 1), 10**12),
    "fewer blocks": ((6, 1), 60),
    "a pace that there is not": ((6, 0), 3),
    "slots filled that never were": ((6, 2), [10**6]),
    "values that are not finite": ((6, 3, 0, 1), bytes_of(*[math.nan] * 460)),
    "too few values": ((6, 3, 0, 1), bytes_of(1.0)),
    "an end that is no int": ((6, 3, 0, 0), math.inf),
    "members never judged": ((6, 4, 0), b""),
    "negative errors": ((6, 4, 1), bytes_of(*[-1.0] * 13 * 7)),
    "more errors than there were": ((6, 5, 0), 10**15),
    "places beyond the middle": ((6, 5, 3), bytes_of(*[math.nan] * 11 * 7)),
    "errors without end": ((6, 5, 4), bytes_of(*[math.inf] * 196 * 7)),
    "nothing in force": ((6, 6), []),
    "in force from never on": ((6, 6, 0, 0), 10**18),
    "weights of nobody": ((6, 6, 0, 2), b""),
    "weights that are not finite": ((6, 6, 0, 2), bytes_of(*[math.nan] * 13 * 7)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_states_that_contradict_themselves_are_refused(damage):
    state = msgspec.msgpack.decode(taught(DAYS).dump())
    path, value = DAMAGES[damage]
    place = state
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(StateError):
        BlockForecaster.load(msgspec.msgpack.encode(state))


@pytest.mark.parametrize("state", [b"\x91" * 200_000, b"\xc1", b"\x99" + b"\x00" * 9])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(StateError):
        BlockForecaster.load(state)


@pytest.mark.parametrize(("every", "slots"), [(281, 300), (60, 40), (41, 200), (3, 400)])
def test_a_forecast_is_made_of_values_and_not_of_what_was_filled_in(every, slots):
    """One value in so many slots, 48 ahead: bridged, but of a horizon little is known for long."""
    draw, it = random.Random(3), create(300_000, 48)
    for place in range(slots):
        it.learn(100 + draw.gauss(0, 10), place * every * 300_000)
        known = it._ladder.known
        said = it.forecast(48)
        assert said.learning == (known.min() < 14)
        if not said.learning:
            low, high = said.intervals[0.9]
            assert np.subtract(high, low).min() > 1
            assert 0 < min(said.points) <= max(said.points) < 200
    assert said.learning == (every > 20)


def test_members_that_join_in_a_gap_are_not_believed_for_it():
    """The day becomes known in a block of which no value came; it says nothing of a random walk."""
    draw, it, at = random.Random(4), create(300_000, 48), 0.0
    for place in range(900):
        at += draw.gauss(0, 1)
        if not 290 <= place < 400:
            it.learn(at, place * 300_000)
        if place in {460, 520, 600}:
            assert it._issues[-1].weights[5:].sum(axis=0).mean() < 0.5


def test_places_and_times_of_numpy_are_kept_as_numbers():
    it = create(HOUR, 12)
    for place in np.arange(200):
        it.learn(float(place), place * HOUR)

    assert BlockForecaster.load(it.dump()).forecast() == it.forecast()


def test_chances_are_chances_where_quantiles_are_almost_one():
    draw, it = random.Random(8), create(HOUR, 12)
    for place in range(300):
        it.learn(draw.randint(-3, 3) * 5e-324, place * HOUR)
    chances = [it.crossing(n * 5e-324, "up", 6 * HOUR).probability for n in range(-4, 6)]

    assert all(0 <= chance <= 1 for chance in chances)
    assert chances == sorted(chances, reverse=True)


# -- horizons and origins ------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", [1, 7, 12, 48, 500])
def test_origins_come_at_every_phase_of_any_period_up_to_the_horizon(horizon):
    bank = bank_of(horizon, seasons_of(HOUR))
    at = [block * bank.block + int(o) for block in range(bank.block) for o in bank.origins]

    assert bank.block >= horizon
    assert len(set(bank.origins.tolist())) == ORIGINS
    for period in range(2, min(horizon, 30) + 1):
        assert {place % period for place in at} == set(range(period))


@pytest.mark.parametrize("horizon", [1, 12, 48, 500])
def test_every_horizon_of_a_band_is_looked_at(horizon):
    bank = bank_of(horizon, seasons_of(HOUR))

    assert set(bank.ahead.ravel().tolist()) == set(range(1, horizon + 1))
    assert (bank.band[bank.ahead - 1] == np.arange(len(bank.nodes))).all()


# -- the past --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [10, 300])
def test_a_tail_holds_the_last_values_however_they_come(kept):
    tail, given, draw = Tail(kept), [], random.Random(3)
    while len(given) < 3_000:
        some = [draw.random() for _ in range(draw.randint(0, AT_ONCE))]
        tail.extend(np.array(some))
        given += some
        start = max(len(given) - kept, 0)
        assert tail.part(start, tail.end).tolist() == given[start:]
        if given:
            numbers = np.array([[start, len(given) - 1]])
            assert tail.take(numbers).tolist() == [[given[start], given[-1]]]


def test_the_past_does_not_depend_on_when_it_is_put_there():
    whole, bits = Past((24, 168), 100, 48), Past((24, 168), 100, 48)
    whole.extend(np.array(DAYS))
    for place in range(0, len(DAYS), 7):
        bits.extend(np.array(DAYS[place : place + 7]))

    assert whole.dump() == bits.dump()


def test_what_a_season_says_is_known_at_the_origin():
    """Numbers stand for themselves, so what comes back is whose value was taken."""
    past = Past((24, 168), 200, 400)
    past.extend(np.arange(600.0))
    ahead = np.arange(1, 101)
    taken = past.ago(2, 499 + ahead, ahead)

    assert (taken < 500).all()
    assert ((499 + ahead - taken) % 168 == 0).all()
    assert (499 + ahead - taken <= 168 * np.ceil(ahead / 168)).all()


def test_before_the_first_value_stands_the_first_and_no_season():
    past = Past((24,), 100, 12)
    past.extend(np.array(DAYS[:30]))
    rows = past.rows(-10, 30, 2)

    assert rows[0].tolist() == [DAYS[0]] * 10 + DAYS[:30]
    assert not rows[1, :34].any()
    assert rows[1, 34:] == pytest.approx(np.subtract(DAYS[24:30], DAYS[:6]))
