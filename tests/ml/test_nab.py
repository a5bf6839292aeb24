"""The NAB scorer: by hand on a small case, and against published figures on a corpus if given one.

The corpus is a directory with NAB's data, labels, two detectors' published score files and the
figures they give (`expected.json`), named by BACKBEAT_NAB_DIR.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from bench import known_cause
from bench.nab import corpus as nab_corpus
from bench.nab import operating, scoring
from bench.nab.__main__ import main
from bench.nab.contenders import RIVER, enter
from bench.nab.corpus import Series, read_corpus
from bench.nab.report import report

NAB_DIR = os.environ.get("BACKBEAT_NAB_DIR")
needs_corpus = pytest.mark.skipif(
    NAB_DIR is None, reason="no copy of the Numenta Anomaly Benchmark: set BACKBEAT_NAB_DIR"
)
STANDARD = scoring.PROFILES["standard"]


@pytest.fixture
def series():
    """A thousand points, one window of a hundred."""
    return Series("g/f.csv", [i * 60_000 for i in range(1000)], [0.0] * 1000, [(400, 499)])


def scored(series, *points):
    return scoring.score([series], [np.array(points, dtype=np.int64)], STANDARD)[0]


def test_silence_is_nought_and_the_left_edge_of_every_window_a_hundred(series):
    assert scored(series) == 0
    assert scored(series, 400) == pytest.approx(100)


def test_a_later_detection_earns_less_and_only_the_earliest_counts(series):
    assert 50 < scored(series, 480) < scored(series, 420) < 100
    assert scored(series, 420, 480) == scored(series, 420)


def test_a_false_point_costs_most_far_from_a_window(series):
    assert scored(series, 400, 200) == pytest.approx(100 - 100 * 0.11 / 2)
    assert scored(series, 400, 510) > scored(series, 400, 700) > scored(series, 400, 900) - 1e-3


def test_probation_and_cooldown_leave_points_out(series):
    scores = np.ones(1000)
    cooldown = scoring.Cooldown(share=0.1, least=50, most=300)

    assert series.probation == 150
    assert scoring.detections(scores, 0.5, series.probation, scoring.NONE)[0] == 150
    assert scoring.detections(scores, 0.5, 150, cooldown)[:3].tolist() == [150, 200, 250]
    gaps = np.diff(scoring.detections(scores, 0.5, 150, cooldown))
    assert gaps.min() == 50
    assert gaps[-1] > 80


def test_the_best_threshold_is_found(series):
    scores = np.zeros(1000)
    scores[450], scores[700] = 2.0, 1.0
    result = scoring.best([series], [scores], STANDARD)

    assert result[1:] == (2.0, 0, 1, 1)
    assert result.score == pytest.approx(scored(series, 450))


def test_a_steady_threshold_stays_away_from_the_edge_of_a_plateau(series):
    scores = np.zeros(1000)
    scores[420], scores[700] = 2.0, 0.5
    result = scoring.steady([series], [scores], STANDARD, scoring.Cooldown())

    assert 1.03 * 0.5 < result.threshold < 2.0 / 1.03
    assert result.score == pytest.approx(scored(series, 420))


def test_block_means_keep_the_windows_in_place(series):
    small = nab_corpus.decimate(series, 4)

    assert len(small.values) == 250
    assert small.windows == [(100, 124)]


def test_every_fourth_point_is_itself_and_windows_shrink_to_the_points_inside(series):
    values = [float(i) for i in range(1000)]
    small = nab_corpus.thin(series._replace(values=values, windows=[(401, 499)]), 4)

    assert small.values[:3] == [0, 4, 8]
    assert small.times[:2] == [0, 240_000]
    assert small.windows == [(101, 124)]


def test_the_groups_left_out_are_scored_with_the_others_threshold(series):
    scores = {"g": np.zeros(1000), "h": np.zeros(1000)}
    scores["g"][420], scores["h"][420], scores["h"][700] = 2.0, 3.0, 2.5
    both = [series, series._replace(name="h/f.csv")]
    got = scoring.left_out(both, list(scores.values()), STANDARD, scoring.NONE, scoring.best)

    assert got["g"].threshold == 3.0
    assert got["g"].found == 0
    assert got["h"].threshold == 2.0
    assert got["h"].false_points == 1


def test_alerts_are_counted_by_windows_hit_inside_and_outside():
    got = known_cause.count_alerts([5, 10, 15, 99], [(10, 20), (30, 40)])

    assert got[:4] == (2, 1, 2, 2)
    assert got.alerts == 4


def test_samples_are_put_into_panes_of_their_own_spacing():
    irregular = Series("g/f", [0, 60_000, 61_000, 120_000, 360_000], [1, 2, 4, 5, 6], [])
    size, got = known_cause.panes(irregular)

    assert size == 60_000
    assert got == [(0, 1), (60_000, 3), (120_000, 5), (360_000, 6)]


def test_a_corpus_that_is_not_there_is_said_so(tmp_path, capsys):
    assert main(["--corpus", str(tmp_path)]) == 2
    assert "combined_windows.json" in capsys.readouterr().err


@pytest.fixture
def small_corpus(tmp_path):
    """One file of a thousand points, with an anomaly in its window."""
    (tmp_path / "labels").mkdir()
    (tmp_path / "data" / "g").mkdir(parents=True)
    rows = [
        f"2020-01-01 {i // 60:02}:{i % 60:02}:00,{i % 5 + (50 if i > 900 else 0)}"
        for i in range(1000)
    ]
    (tmp_path / "data" / "g" / "f.csv").write_text("timestamp,value\n" + "\n".join(rows))
    window = [["2020-01-01 15:00:00", "2020-01-01 15:40:00"]]
    (tmp_path / "labels" / "combined_windows.json").write_text(json.dumps({"g/f.csv": window}))
    return tmp_path


def run(corpus, *more):
    out = corpus / "out.json"
    assert main(["--corpus", str(corpus), "--workers", "1", "--json", str(out), *more]) == 0
    return json.loads(out.read_text())


def test_the_command_writes_what_it_prints(small_corpus, capsys):
    got = run(small_corpus, "--decimate", "2", "--rescale", "2", "3", "--power", "1", "2")

    assert got["found"]["standard"] == got["windows"] == 1
    assert set(got["scores"]) == set(got["threshold"]) == set(scoring.PROFILES)
    assert got["per_file"]["g/f.csv"]["inside"][0].startswith("2020-01-01 15:0")
    assert got["us_per_point"] > 0
    assert 1000 < got["bytes_per_series"] < 18 * 1024
    assert got["decimated"]["means of 2"]["best"] > 0
    assert got["decimated"]["every 2"]["best"] > 0
    # A power of two leaves every value where it was in its cell; another factor does not.
    assert got["otherwise"]["times 2"]["best"] == got["scores"]["standard"]
    assert got["otherwise"]["times 2"]["same"] == got["scores"]["standard"]
    assert got["otherwise"]["times 3"]["best"] > 0
    assert got["otherwise"]["power 1"] == got["otherwise"]["times 2"]
    assert got["otherwise"]["power 2"]["best"] > 0
    assert got["per_group"]["g"]["recall"] == 1
    assert "metronome" in capsys.readouterr().out
    assert known_cause.main(["--corpus", str(small_corpus), "--groups", "g"]) == 0
    assert "1/1: 1+0" in capsys.readouterr().out


def test_emitted_scores_are_a_published_detector_of_the_same_score(small_corpus):
    ours = run(small_corpus, "--emit", str(small_corpus / "results"))
    at = ours["threshold"]["standard"]
    theirs = run(small_corpus, "--detector", "novelty", "--threshold", str(at))
    assert theirs["scores"] == ours["scores"]

    (small_corpus / "results" / "novelty").rename(small_corpus / "results" / "another")
    file = small_corpus / "results" / "another" / "g" / "novelty_f.csv"
    file.rename(file.with_name("another_f.csv"))
    again = run(small_corpus, "--detector", "another", "--threshold", str(at / (1 + at) - 1e-12))

    assert again["scores"] == ours["scores"]
    assert again["false_points"] == ours["false_points"]


def test_groups_choose_and_the_others_are_run_beside(small_corpus, capsys):
    data, labels = small_corpus / "data", small_corpus / "labels" / "combined_windows.json"
    (data / "h").mkdir()
    (data / "h" / "f.csv").write_text((data / "g" / "f.csv").read_text())
    labels.write_text(
        json.dumps(dict.fromkeys(("g/f.csv", "h/f.csv"), json.loads(labels.read_text())["g/f.csv"]))
    )
    emit = small_corpus / "results"
    run(small_corpus, "--groups", "h", "--detector", "lite", "--emit", str(emit))
    (emit / "lite" / "h" / "lite_f.csv").rename(emit / "lite" / "h" / "another_f.csv")
    (emit / "lite").rename(emit / "another")
    got = run(small_corpus, "--groups", "h", "--workers", "2", "--beside", "all")

    assert set(got["per_file"]) == {"h/f.csv"}
    assert set(got["baselines"]) == {
        "zscore", "metronome", *(f"river:{name}" for name in RIVER), "another",
    }  # fmt: skip
    assert got["left_out"] == {}
    assert (
        set(run(small_corpus)["left_out"])
        == set(run(small_corpus)["left_out_at_best"])
        == {"g", "h"}
    )
    assert main(["--corpus", str(small_corpus), "--groups", "nothing"]) == 2
    assert "nothing" in capsys.readouterr().err


def test_a_picture_is_drawn_of_each_file(small_corpus):
    run(small_corpus, "--plots", str(small_corpus / "plots"))

    page = (small_corpus / "plots" / "g__f.html").read_text()
    assert "detection" in page
    assert "expected" in page
    assert (small_corpus / "plots" / "plotly.min.js").exists()


@pytest.mark.parametrize("name", sorted(RIVER))
def test_detectors_of_river_can_be_scored_as_shipped(name, small_corpus):
    series = read_corpus(small_corpus)
    got = report(series, enter(f"river:{name}", small_corpus, series), None)

    assert got["scores"]["standard"] <= 100
    assert got["us_per_point"] > 0


def test_a_detector_that_nobody_knows_is_said_so(small_corpus, capsys):
    assert main(["--corpus", str(small_corpus), "--detector", "river:Nothing"]) == 2
    assert "river:HalfSpaceTrees" in capsys.readouterr().err
    assert main(["--corpus", str(small_corpus), "--detector", "nothing"]) == 2
    assert "nothing_f.csv" in capsys.readouterr().err


@needs_corpus
@pytest.mark.parametrize("detector", ["knncad", "windowedGaussian"])
def test_published_scores_give_the_published_figures(detector):
    corpus = Path(NAB_DIR)
    expected = json.loads((corpus / "expected.json").read_text())[detector]
    series = read_corpus(corpus)
    got = report(series, enter(detector, corpus, series), None)

    for label, want in expected.items():
        key = label.lower()
        assert got["scores"][key] == pytest.approx(want["score"], abs=0.01)
        assert got["false_points"][key] == want["false_positive_points"]
        assert got["found"][key] == want["windows_found"]


def test_the_operating_point_is_the_best_share_inside_where_enough_windows_are_found(series):
    two, scores = series._replace(windows=[(400, 499), (600, 699)]), np.zeros(1000)
    scores[[410, 445, 480]], scores[650], scores[[300, 800]] = 3.0, 2.0, [2.5, 1.0]

    def at(recall, points):
        return operating.best_at([two], [scores], recall, scoring.Cooldown(0.0, points, points))

    assert at(0.5, 30) == (3, 3, 1, 3.0)
    assert at(0.5, 60) == (2, 2, 1, 3.0)
    assert at(0.51, 30) == (4, 5, 2, 2.0)
    # Quiet for two hundred points, the alert at 300 is quiet over the first window.
    assert at(0.5, 200) == (1, 1, 1, 3.0)
    assert at(0.51, 200) is None


@pytest.mark.parametrize("quiet", ["auto", "0", "1", "7", "150"])
def test_operating_points_are_those_of_the_detections_at_every_score(series, quiet):
    rng = np.random.default_rng(1)
    both = [series, series._replace(windows=[(160, 170), (200, 201), (990, 999)])]
    scores = [np.round(rng.exponential(size=1000) ** 3, 1) for _ in both]
    _, cooldown = operating.quiet_time(quiet)
    got = list(operating.points(both, scores, cooldown))

    assert [p.threshold for p in got] == sorted(
        {v for x in scores for v in x[150:].tolist()}, reverse=True
    )
    for inside, alerts, found, threshold in got:
        hits = [
            (k, next((w for w in s.windows if w[0] <= i <= w[1]), None))
            for k, (s, x) in enumerate(zip(both, scores, strict=True))
            for i in scoring.detections(x, threshold, 150, cooldown).tolist()
        ]
        within = [hit for hit in hits if hit[1]]
        assert (inside, alerts, found) == (len(within), len(hits), len(set(within)))


def test_the_command_reports_operating_points_of_all_contenders(small_corpus, capsys):
    flags = ("--recall", "0.86", "--quiet", "auto", "40", "900", "--rescale", "2")
    got = run(small_corpus, *flags)
    points = got["operating"]["groups"]["g"]
    ours = points["contenders"]["novelty"]

    assert (got["operating"]["recall"], got["operating"]["quiet"]) == (0.86, ["auto", "40", "900"])
    assert set(points["contenders"]) == {"novelty", "zscore", "metronome"}
    assert points["windows"] == 1
    assert points["series_weeks"] == round(849 / (7 * 24 * 60), 2)
    assert ours["auto"]["found"] == 1
    assert ours["40"]["precision"] == ours["40"]["inside"] / ours["40"]["alerts"] == 1
    assert ours["40"]["outside_per_series_week"] == 0
    # The last window begins at point 900, the second alert of an eternal one at 1050 at the soonest.
    assert points["contenders"]["metronome"]["900"] is None
    assert got["otherwise"]["times 2"]["operating"]["groups"]["g"]["contenders"] == {
        "novelty": ours
    }
    assert "novelty                  quiet    40: 1/1 windows" in (out := capsys.readouterr().out)
    assert "metronome                quiet   900: not reached" in out
    assert "operating" not in run(small_corpus)


@pytest.mark.parametrize(
    "flags",
    [
        ("--recall", "0.86", "--quiet", "2h30m"), ("--quiet", "-5"), ("--recall", "0.86", "--quiet"),
        ("--recall", "86"), ("--recall", "most"), ("--recall", "nan"),
    ],
)  # fmt: skip
def test_a_recall_or_quiet_time_that_is_none_is_a_usage_error(flags, small_corpus, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--corpus", str(small_corpus), *flags])

    assert stop.value.code == 2
    assert re.search("argument --(recall|quiet): ", capsys.readouterr().err)


@needs_corpus
def test_a_shorter_quiet_time_raises_the_share_inside_and_not_the_false_alarms():
    series = read_corpus(Path(NAB_DIR), ["realAWSCloudwatch"])
    scores = enter("lite", Path(NAB_DIR), series).scores
    auto, short = (
        operating.best_at(series, scores, 0.86, operating.quiet_time(q)[1]) for q in ("auto", "30")
    )

    assert auto.found == short.found == 26
    assert short.inside / short.alerts > 0.05 + auto.inside / auto.alerts
    assert short.alerts - short.inside >= auto.alerts - auto.inside
    # One window more, and chance does as well.
    more = operating.best_at(series, scores, 0.9, scoring.Cooldown())
    assert more.inside / more.alerts < 0.25


@needs_corpus
@pytest.mark.slow
@pytest.mark.parametrize(
    ("detector", "standard", "low_fp", "low_fn", "worst"),
    [("novelty", 77.5, 70.5, 81.9, 75), ("lite", 75, 68.5, 80, 62.5)],
)
def test_shipped_detectors_hold_their_scores(detector, standard, low_fp, low_fn, worst):
    corpus = Path(NAB_DIR)
    series = read_corpus(corpus)
    got = report(series, enter(detector, corpus, series), None)

    assert got["scores"]["standard"] >= standard
    assert got["scores"]["low_fp"] >= low_fp
    assert got["scores"]["low_fn"] >= low_fn
    assert min(got["left_out"].values()) >= worst


@needs_corpus
@pytest.mark.slow
def test_baselines_are_far_below():
    corpus = Path(NAB_DIR)
    series = read_corpus(corpus)
    got = {
        name: report(series, enter(name, corpus, series), None)["scores"]["standard"]
        for name in ("zscore", "metronome")
    }

    assert got["zscore"] < 40
    assert got["metronome"] < 30


@needs_corpus
@pytest.mark.slow
@pytest.mark.parametrize("by", [2, 3])
def test_the_default_holds_on_block_means(by):
    copies = [nab_corpus.decimate(s, by) for s in read_corpus(Path(NAB_DIR))]
    contest = enter("novelty", Path(NAB_DIR), copies)

    assert scoring.best(copies, contest.scores, STANDARD, contest.cooldown).score >= 70


@needs_corpus
def test_the_shipped_rule_finds_most_known_causes_and_few_others():
    series = read_corpus(Path(NAB_DIR), ["realKnownCause"])
    table = known_cause.compare(series, "novelty", known_cause.shipped_rule())
    ours, zscore, metronome = (known_cause.together(counts) for counts in table.values())

    assert ours.hit >= 14
    assert ours.outside <= 30
    assert ours.hit > 1.5 * max(zscore.hit, metronome.hit)
