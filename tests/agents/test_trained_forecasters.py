"""Forecasters of the registry in the judge: where one is in force, and where it is of no use."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from agents.forecasting import FORECASTERS, Watched
from agents.judging import JUDGE_STORES, Models, RuleBook, RuleJudge
from alerts.rules import parse_rule
from ml import life
from ml.forecast_training import complete, train
from ml.forecasting import BlockForecaster, create
from ml.training import History
from models.errors import ConfigurationError
from models.learning import Selector
from models.records import decode_finding
from tests.agents.models_bed import Records
from tests.agents.test_forecasting import RULE, SERIES, SIZE, SPEC, disk, window
from tests.ml.test_training import finish
from tests.support.pipeline import Tally

NAME = "acme|disk_used{host=db-1}"
HOUR = 60


class Bed:
    """A judge, what it holds, and the topic's records."""

    def __init__(self):
        self.records, self.tally = Records(), Tally()
        models = Models(self.records, self.tally)
        self.judge = RuleJudge(RuleBook([parse_rule(RULE, SERIES)]), [SIZE], models=models)
        self.state = {spec.name: {} for spec in JUDGE_STORES}

    def see(self, points):
        found = []
        for minute, value in points:
            _, outputs = self.judge(window(minute, value), SPEC, self.state)
            found += [decode_finding(out.value) for out in outputs]
        return found

    def promote(self, hours, *, within="6h", name="disk_used", tenant="acme", spoil=None):
        """A model that learned so many hours of the disk, made active."""
        spec = complete({"within": within})
        points = [(minute * SIZE, value) for minute, value in disk(hours, random.Random(1))]
        learned = finish(train(spec, History(NAME, SIZE, points)))[1]
        known = {m.id: m for m in self.records.values() if hasattr(m, "family")}
        model = life.new_version(
            known.values(), tenant=tenant, family="disks", kind="forecaster",
            selector=Selector(name), spec=spec, created_by="ann", now=1,
        )  # fmt: skip
        states = [life.state_of(model, NAME, SIZE, learned.at, learned.body)]
        sealed = life.seal(model, states)
        if spoil:
            states = [spoil(states[0])]
        changed = life.transition(known | {sealed.id: sealed}, sealed.id, "active", by="bob", now=2)
        self.records.publish(*states, sealed)
        self.records.publish(*changed)
        return sealed.id, learned.body

    def watched(self) -> Watched:
        (held,) = self.state[FORECASTERS].values()
        (watched,) = held.values()
        return watched


@pytest.fixture
def bed():
    return Bed()


def rest(hours, after):
    return [(m, v) for m, v in disk(hours, random.Random(1)) if m >= after * HOUR]


def test_a_worker_that_is_new_foretells_with_what_was_trained(bed):
    """Fifteen hours before it is full a new forecaster is learning; the trained one warns in time."""
    model, _ = bed.promote(24)
    found = bed.see(rest(40, 24))
    assert bed.watched().model == model
    firing = next(f for f in found if f.state == "firing")
    assert firing.at < 37 * HOUR * SIZE
    alone = Bed()
    late = [f for f in alone.see(rest(40, 35)) if f.state == "firing" and f.at < 37 * HOUR * SIZE]
    assert late == []


def test_it_goes_on_as_if_it_had_been_there_all_the_time(bed):
    bed.promote(24)
    bed.see(rest(30, 24))
    whole = Bed()
    whole.see(disk(30, random.Random(1)))
    assert bed.watched().forecaster.dump() == whole.watched().forecaster.dump()


def test_its_model_survives_the_changelog(bed):
    model, _ = bed.promote(24)
    bed.see(rest(25, 24))
    (spec,) = [s for s in JUDGE_STORES if s.name == FORECASTERS]
    (held,) = bed.state[FORECASTERS].values()
    (again,) = spec.decode(spec.encode(held)).values()
    assert (again.model, again.dump()) == (model, bed.watched().dump())


def test_one_in_service_is_replaced_and_when_it_is_retired_keeps_what_it_has_learned(bed):
    bed.see(disk(24, random.Random(1)))
    model, body = bed.promote(24)
    before = bed.watched()
    bed.see(rest(25, 24)[:1])
    assert bed.watched() is not before
    assert bed.watched().model == model
    assert bed.watched().forecaster.dump() == body
    known = {m.id: m for m in bed.records.values() if hasattr(m, "family")}
    bed.records.publish(*life.transition(known, model, "retired", by="bob", now=3))
    held = bed.watched().forecaster
    bed.see(rest(25, 24)[1:2])
    assert bed.watched().model == ""
    assert bed.watched().forecaster is held


@pytest.mark.parametrize("other", [{"within": "1h"}, {"name": "cpu"}, {"tenant": "other"}])
def test_a_model_of_another_time_series_or_tenant_is_not_in_force(bed, other):
    bed.promote(24, **other)
    bed.see(rest(25, 24))
    assert bed.watched().model == ""
    assert bed.tally.counts == {}


def _exchanged(state):
    return replace(state, body=create(8 * SIZE, 45).dump())


@pytest.mark.parametrize(
    ("hours", "spoil", "reason"), [(24, _exchanged, "changed"), (10, None, "too_old")]
)
def test_a_state_of_no_use_is_refused_once_and_what_is_there_goes_on(bed, hours, spoil, reason):
    bed.see(rest(24, 20))
    held = bed.watched().forecaster
    bed.promote(hours, spoil=spoil)
    bed.see(rest(25, 24))
    assert bed.watched().forecaster is held
    assert bed.tally.counts == {("model_states_refused", reason): 1}


def test_a_forecaster_of_another_version_begins_anew_and_stops_nobody(caplog):
    (spec,) = [s for s in JUDGE_STORES if s.name == FORECASTERS]
    held = {"value/480000/45": Watched(create(8 * SIZE, 45))}
    foreign = spec.encode(held).replace(BlockForecaster.name.encode(), b"forecaster/0")
    assert spec.decode(foreign) == {}
    assert "begins anew" in caplog.text


def test_only_detectors_have_shadows(bed):
    model, _ = bed.promote(24)
    known = {m.id: m for m in bed.records.values() if hasattr(m, "family")}
    known |= {m.id: m for m in life.transition(known, model, "retired", by="bob", now=3)}
    with pytest.raises(ConfigurationError, match="only detectors can be shadows"):
        life.transition(known, model, "shadow", by="bob", now=4)
