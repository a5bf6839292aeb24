"""Which detector judges which series and day, through the judge that the worker has."""

import random
import tomllib
from pathlib import Path

import pytest

from agents.detectors import SPECIAL, DetectorChoice
from agents.judging import DETECTORS, JUDGE_STORES, RuleBook, RuleJudge
from agents.topology import create_app
from bench.special_days import CALENDAR, HOLIDAYS, HOUR, alarms, epoch, is_found, run
from ml import registry
from models.config import WindowSpec, parse_series_config
from models.errors import ConfigurationError
from models.records import Value, Window
from models.settings import Settings
from tables.publishing import Gone

ROOT = Path(__file__).parents[2]
RAW = tomllib.loads((ROOT / "config" / "series.toml").read_text())
TEN = 600_000
SPLIT = "demo|country_platform{country=FR,platform=ios}"
METRIC = "demo|metric:queue.depth{host=web-1}"


def configured(*detectors, **more):
    return parse_series_config(RAW | {"detectors": list(detectors)} | more)


def chosen(*detectors):
    return DetectorChoice(configured(*detectors).detectors)


def test_without_configuration_the_default_judges():
    assert chosen().choose(SPLIT, "plays", None).name == "novelty/4"


def test_the_first_table_that_fits_decides():
    choice = chosen(
        {"name": "lite", "measures": ["plays"], "groups": [["platform", "country"]]},
        {"name": "gaussian", "measures": ["plays", "listeners"]},
        {"name": "robust_zscore", "metric": "queue.*", "direction": "up", "minimum": 20},
    )

    def name(group, measure):
        return choice.choose(group, measure, None).name

    assert name(SPLIT, "plays") == "lite/3"
    assert name(SPLIT, "listeners") == "gaussian/1"
    assert name("demo|all{}", "plays") == "gaussian/1"
    assert name("demo|all{}", "error_rate") == "novelty/4"
    assert name("demo|metric:cpu{}", "value") == "novelty/4"
    directed = choice.choose(METRIC, "value", None)
    assert (directed.direction, directed.minimum, directed.inner.name) == (
        "up", 20, "robust_zscore/1",
    )  # fmt: skip


@pytest.mark.parametrize("name", registry.names())
def test_a_detector_that_is_still_configured_is_kept_and_another_begins_anew(name):
    """State outlives a restart; a changed configuration has to count all the same."""
    table = {"name": name, "measures": ["plays"], "direction": "up"}
    present = registry.load(chosen(table).choose(SPLIT, "plays", None).dump())

    assert chosen(table).choose(SPLIT, "plays", present) is present
    assert chosen(table | {"name": present.inner.name}).choose(SPLIT, "plays", present) is present
    for changed in (table | {"direction": "down"}, table | {"minimum": 5}):
        assert chosen(changed).choose(SPLIT, "plays", present) is not present
    other = "lite" if name != "lite" else "gaussian"
    assert chosen(table | {"name": other}).choose(SPLIT, "plays", present) is not present
    assert chosen().choose(SPLIT, "plays", present) is not present


def test_a_detector_the_registry_does_not_make_is_somebody_elses_choice():
    class Foreign:
        name = "foreign/1"

    foreign = Foreign()

    assert chosen().choose(SPLIT, "plays", foreign) is foreign


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"name": "lite"}, "needs either `measures`"),
        ({"name": "lite", "measures": ["plays"], "metric": "*"}, "not both"),
        ({"name": "lite", "metric": "*", "groups": [["country"]]}, "which a metric has not"),
        ({"name": "lite", "measures": ["play"]}, r"\['play'\]; known"),
        ({"name": "lite", "measures": ["plays"], "groups": [["artist_id"]]}, "artist_id"),
        ({"name": "lite", "measures": ["plays"], "direction": "sideways"}, "sideways"),
        ({"name": "lite", "measures": ["plays"], "minimum": -1}, "negative"),
        ({"name": "lite", "measures": ["plays"], "minimum": float("nan")}, "negative"),
        ({"name": "lite", "measure": ["plays"]}, "measure"),
        ({"measures": ["plays"]}, "without name"),
    ],
)
def test_what_cannot_be_meant_is_refused(table, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        configured(table)


def test_an_unknown_detector_is_refused_at_start():
    with pytest.raises(ConfigurationError, match=r"'hst'.*novelty"):
        chosen({"name": "hst", "measures": ["plays"]})


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ('[[detectors]]\nname = "hst"\nmetric = "*"', "there is no detector 'hst'; there are "),
        ('[calendar]\ntimezone = "Mars/Olympus"', "calendar: time zone 'Mars/Olympus'"),
        ('[calendar]\ntimezone = "UTC"\ncountries = ["XX"]', "calendar: no holidays .* 'XX'"),
    ],
)
@pytest.mark.parametrize("role", ["windows", "ingest"])
def test_every_worker_refuses_it_at_start_and_names_the_file(tmp_path, table, complaint, role):
    path = tmp_path / "series.toml"
    path.write_text((ROOT / "config" / "series.toml").read_text() + "\n" + table)
    with pytest.raises(ConfigurationError, match=rf"^series configuration {path}: {complaint}"):
        create_app(Settings(series_config=path, roles=(role,)))


def test_a_direction_and_a_volume_of_the_configuration_silence_the_judge():
    series = configured(
        {"name": "novelty", "measures": ["plays"], "direction": "down", "minimum": 50}
    )
    minute = next(w for w in series.windows if w.detect)
    judge = RuleJudge(RuleBook([]), [minute.size], DetectorChoice(series.detectors))
    state = {spec.name: {} for spec in JUDGE_STORES}
    draw = random.Random(3)

    def judged(i, value):
        start = i * minute.size
        window = Window(
            "demo", SPLIT, "live", start, start + minute.size, minute.size, minute.slide, 1,
            {"plays": Value(value, value)},
        )  # fmt: skip
        return judge(window, minute, state)[0].values["plays"].score

    for i in range(600):
        judged(i, draw.gauss(100, 4))
    assert judged(600, 300.0) == 0
    assert judged(601, 10.0) > 1


class TestSpecialDays:
    """Eight weeks with five public holidays, as `bench.special_days` makes them."""

    @pytest.mark.parametrize("seed", [0, 1])
    def test_a_holiday_is_no_alarm_and_ordinary_days_are_none_the_worse(self, seed):
        without, with_it = (alarms(run(seed, TEN, c)[0], 1.0) for c in (None, CALENDAR))

        assert without[0] > 20
        assert with_it[0] <= 2
        assert with_it[1] <= without[1] + 2

    @pytest.mark.parametrize("day", HOLIDAYS[2:], ids=lambda day: f"{day:%d-%b}")
    def test_an_incident_on_a_holiday_is_found(self, day):
        incident = epoch(day) + 15 * HOUR

        assert is_found(run(1, TEN, CALENDAR, incident)[0], incident, 1.0)

    def test_nothing_of_a_holiday_is_learned_as_ordinary(self):
        """What ordinary days were judged by does not know what happened on holidays."""

        def ordinary(incident):
            _, state = run(1, TEN, CALENDAR, incident)
            return state[DETECTORS]["live/600000@demo|all{}"]["plays"].dump()

        assert ordinary(None) == ordinary(epoch(HOLIDAYS[3]) + 15 * HOUR)
        assert ordinary(None) != ordinary(epoch(HOLIDAYS[3]) + 39 * HOUR)

    def test_the_special_ones_cross_the_changelog_and_go_with_the_group(self):
        _, state = run(1, TEN, CALENDAR)
        spec = next(spec for spec in JUDGE_STORES if spec.name == DETECTORS)
        key = f"live/{TEN}@demo|all{{}}{SPECIAL}"
        held = spec.decode(spec.encode(state[DETECTORS][key]))
        assert held["holiday/plays"].dump() == state[DETECTORS][key]["holiday/plays"].dump()

        RuleJudge(RuleBook([]), [TEN]).forget(
            Gone("demo", "demo|all{}", "live", TEN, 0, "silent"), state
        )
        assert not any(state.values())

    def test_a_kind_of_day_that_is_configured_no_more_is_forgotten(self):
        """The day that comes next has no use for what campaigns of last year were like."""
        state = {spec.name: {} for spec in JUDGE_STORES}
        start = epoch(HOLIDAYS[0])
        window = Window(
            "demo", "demo|all{}", "live", start, start + TEN, TEN, TEN, 1, {"plays": Value(5.0)}
        )
        key = f"live/{TEN}@demo|all{{}}{SPECIAL}"
        state[DETECTORS][key] = {"campaign/plays": registry.create()}
        judge = RuleJudge(RuleBook([]), [TEN], DetectorChoice((), CALENDAR))
        judge(window, WindowSpec(TEN, TEN, 0, detect=True, retention=1), state)

        assert state[DETECTORS][key].keys() == {"holiday/plays"}

    def test_ordinary_and_special_detectors_of_a_series_stay_small(self):
        _, state = run(1, TEN, CALENDAR)
        detectors = [d for kept in state[DETECTORS].values() for d in kept.values()]

        assert len(detectors) == 2
        assert sum(len(d.dump()) for d in detectors) < 6 * 1024
