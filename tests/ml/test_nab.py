"""The NAB scorer: by hand on a small case, and against published figures on a corpus if given one.

The corpus is a directory with NAB's data, labels, two detectors' published score files and the
figures they give (`expected.json`), named by BACKBEAT_NAB_DIR.
"""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from bench import known_cause, nab

NAB_DIR = os.environ.get("BACKBEAT_NAB_DIR")
needs_corpus = pytest.mark.skipif(
    NAB_DIR is None, reason="no copy of the Numenta Anomaly Benchmark: set BACKBEAT_NAB_DIR"
)
STANDARD = nab.PROFILES["standard"]


@pytest.fixture
def series():
    """A thousand points, one window of a hundred."""
    return nab.Series("g/f.csv", [i * 60_000 for i in range(1000)], [0.0] * 1000, [(400, 499)])


def scored(series, *points):
    return nab.score([series], [np.array(points, dtype=np.int64)], STANDARD)[0]


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
    cooldown = nab.Cooldown(share=0.1, least=50, most=300)

    assert series.probation == 150
    assert nab.detections(scores, 0.5, series.probation, nab.NONE)[0] == 150
    assert nab.detections(scores, 0.5, 150, cooldown)[:3].tolist() == [150, 200, 250]
    gaps = np.diff(nab.detections(scores, 0.5, 150, cooldown))
    assert gaps.min() == 50
    assert gaps[-1] > 80


def test_the_best_threshold_is_found(series):
    scores = np.zeros(1000)
    scores[450], scores[700] = 2.0, 1.0
    result = nab.best([series], [scores], STANDARD)

    assert result[1:] == (2.0, 0, 1, 1)
    assert result.score == pytest.approx(scored(series, 450))


def test_block_means_keep_the_windows_in_place(series):
    small = nab.decimate(series, 4)

    assert len(small.values) == 250
    assert small.windows == [(100, 124)]


def test_alerts_are_counted_by_windows_hit_inside_and_outside():
    got = known_cause.count_alerts([5, 10, 15, 99], [(10, 20), (30, 40)])

    assert got[:4] == (2, 1, 2, 2)
    assert got.alerts == 4


def test_samples_are_put_into_panes_of_their_own_spacing():
    irregular = nab.Series("g/f", [0, 60_000, 61_000, 120_000, 360_000], [1, 2, 4, 5, 6], [])
    size, got = known_cause.panes(irregular)

    assert size == 60_000
    assert got == [(0, 1), (60_000, 3), (120_000, 5), (360_000, 6)]


def test_a_corpus_that_is_not_there_is_said_so(tmp_path, capsys):
    assert nab.main(["--corpus", str(tmp_path)]) == 2
    assert "combined_windows.json" in capsys.readouterr().err


def test_the_command_writes_what_it_prints(tmp_path, capsys):
    (tmp_path / "labels").mkdir()
    (tmp_path / "data" / "g").mkdir(parents=True)
    rows = [
        f"2020-01-01 {i // 60:02}:{i % 60:02}:00,{i % 5 + (50 if i > 900 else 0)}"
        for i in range(1000)
    ]
    (tmp_path / "data" / "g" / "f.csv").write_text("timestamp,value\n" + "\n".join(rows))
    window = [["2020-01-01 15:00:00", "2020-01-01 15:40:00"]]
    (tmp_path / "labels" / "combined_windows.json").write_text(json.dumps({"g/f.csv": window}))
    out = tmp_path / "out.json"

    assert nab.main(["--corpus", str(tmp_path), "--json", str(out)]) == 0
    assert json.loads(out.read_text())["novelty"]["standard"]["found"] == 1
    assert "metronome" in capsys.readouterr().out
    assert known_cause.main(["--corpus", str(tmp_path), "--groups", "g"]) == 0
    assert "1/1: 1+0" in capsys.readouterr().out


@needs_corpus
@pytest.mark.parametrize("detector", ["knncad", "windowedGaussian"])
def test_published_scores_give_the_published_figures(detector):
    corpus = Path(NAB_DIR)
    expected = json.loads((corpus / "expected.json").read_text())[detector]
    series = nab.read_corpus(corpus)
    scores = [_published(corpus, detector, s.name) for s in series]

    for label, profile in nab.PROFILES.items():
        got = nab.best(series, scores, profile)
        assert got.score == pytest.approx(expected[label]["score"], abs=0.01)
        assert got.false_points == expected[label]["false_positive_points"]
        assert got.found == expected[label]["windows_found"]


@needs_corpus
def test_the_shipped_detector_is_far_above_the_baselines():
    series = nab.read_corpus(Path(NAB_DIR))
    report = nab.run(series, "novelty", None)
    got = {name: report[name]["standard"]["score"] for name in report}

    assert got["novelty"] > 70
    assert got["zscore"] < 40
    assert got["metronome"] < 30
    assert min(r["score"] for r in report["novelty"]["left_out"].values()) > 55


@needs_corpus
def test_the_shipped_rule_finds_most_known_causes_and_few_others():
    series = nab.read_corpus(Path(NAB_DIR), ["realKnownCause"])
    table = known_cause.compare(series, "novelty", known_cause.shipped_rule())
    ours, zscore, metronome = (known_cause.together(counts) for counts in table.values())

    assert ours.hit >= 11
    assert ours.outside <= 15
    assert ours.hit > 1.5 * max(zscore.hit, metronome.hit)


def _published(corpus: Path, detector: str, name: str) -> np.ndarray:
    group, file = name.split("/")
    path = corpus / "results" / detector / group / f"{detector}_{file}"
    with path.open() as rows:
        return np.array([float(row["anomaly_score"]) for row in csv.DictReader(rows)])
