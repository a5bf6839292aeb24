"""Whom the block forecaster believes, and how wide its intervals are."""

import numpy as np
import pytest

from ml.forecasting.bands import RUNGS
from ml.forecasting.filters import ORIGINS
from ml.forecasting.ladder import Ladder
from ml.forecasting.ranking import Ranking

# -- ranking ---------------------------------------------------------------------------------------------


def errors(*members):
    """(origins, members, bands): each member is off by as much, two bands."""
    return np.tile(np.array(members, dtype=float)[None, :, None], (ORIGINS, 1, 2))


def test_the_best_is_believed_and_those_alike_share():
    ranking = Ranking(2)
    assert ranking.weights()[:, 0].tolist() == [0, 0, 1, 0, 0]
    ranking.learn(errors(2.0, 1.0, -1.0, 9.0, 9.0), None)

    assert ranking.weights()[:3, 0] == pytest.approx([2**-12 / 2, 0.5, 0.5], abs=1e-4)


def test_who_is_never_off_has_all_the_weight_and_tiny_errors_are_told_apart():
    ranking = Ranking(2)
    ranking.learn(errors(0.0, *[1e-300] * 4), None)
    assert ranking.weights()[:, 1] == pytest.approx([1.0, 0.0, 0.0, 0.0, 0.0], abs=1e-200)
    ranking = Ranking(2)
    ranking.learn(errors(*[4e-300] * 4, 1e-300), None)
    assert ranking.weights()[:, 1] == pytest.approx([0.0, 0.0, 0.0, 0.0, 1.0], abs=1e-6)


@pytest.mark.parametrize("blocks", [3, 60])
def test_members_that_join_are_judged_by_their_own_errors(blocks):
    ranking = Ranking(2)
    for _ in range(blocks):
        ranking.learn(errors(*[5.0] * 5), None)
    ranking.learn(errors(*[5.0] * 5, 1.0, *[9.0] * 3), None)

    assert ranking.weights()[5, 0] > 0.99


def test_what_is_not_known_ranks_nobody():
    """Of band 1 nothing is known, first of all members and then of those that join."""
    ranking, known = Ranking(2), np.ones((ORIGINS, 2), dtype=bool)
    known[:, 1] = False
    ranking.learn(errors(1.0, 2.0, 2.0, 2.0, 2.0), known)
    assert ranking.weights()[:, 1].tolist() == [0, 0, 1, 0, 0]
    ranking.learn(errors(1.0, 2.0, 2.0, 2.0, 2.0), None)
    before = ranking.weights()
    ranking.learn(errors(9.0, *[1.0] * 8), known)

    assert ranking.weights()[:, 1].tolist() == [*before[:, 1].tolist(), 0, 0, 0, 0]
    assert ranking.weights()[1, 0] > before[1, 0]


# -- intervals -------------------------------------------------------------------------------------------


def test_intervals_are_narrow_again_once_a_run_of_misses_is_over():
    draw, ladder, widths = np.random.default_rng(4), Ladder(np.ones(1)), []
    for block in range(130):
        issued = ladder.quantiles()
        widths.append(float(issued[0, -2] - issued[0, 1]))
        off = (
            draw.normal(size=(ORIGINS, 1)) if not 57 <= block < 66 else np.full((ORIGINS, 1), 50.0)
        )
        ladder.learn(off, issued, None)

    assert widths[56] < 6
    assert widths[67] > 20
    assert max(widths[95:]) < 1.5 * max(widths[40:56])


def test_first_errors_are_soon_forgotten():
    draw, ladder, widths = np.random.default_rng(5), Ladder(np.ones(1)), []
    for block in range(18):
        issued = ladder.quantiles()
        widths.append(float(issued[0, -2] - issued[0, 1]))
        ladder.learn(draw.normal(size=(ORIGINS, 1)) * (50 if block < 4 else 1), issued, None)

    assert widths[4] > 50
    assert max(widths[9:]) < 10


def test_the_middle_stays_the_median_of_what_is_remembered():
    ladder = Ladder(np.ones(1))
    given = [float(i % 7) for i in range(301)] + [9.0] * 28
    for start in range(0, len(given), ORIGINS):
        ladder.learn(np.array(given[start : start + ORIGINS])[:, None], ladder.quantiles(), None)

    kept = given[-(len(given) // 2) :]
    assert ladder.quantiles()[0, RUNGS.index(0.5)] == pytest.approx(np.median(kept), abs=0.01)


def test_errors_that_are_not_known_count_as_if_they_had_never_been():
    """Band 0 has seen every other error of band 1, and nothing else."""
    draw = np.random.default_rng(9)
    mixed, alone = Ladder(np.ones(2)), Ladder(np.ones(1))
    for _ in range(8):
        off = draw.normal(size=(ORIGINS, 2))
        known = np.ones((ORIGINS, 2), dtype=bool)
        known[:, 0] = np.arange(ORIGINS) % 2 == 0
        mixed.learn(off, mixed.quantiles(), known)
        alone.learn(off[:, 1:], alone.quantiles(), None)
    ladder = mixed.quantiles()

    assert ladder[1].tolist() == alone.quantiles()[0].tolist()
    assert np.isfinite(ladder).all()
    assert (np.diff(ladder, axis=1) >= 0).all()
    nothing = Ladder(np.ones(1))
    nothing.learn(np.ones((ORIGINS, 1)), nothing.quantiles(), np.zeros((ORIGINS, 1), dtype=bool))
    assert not nothing.quantiles().any()
