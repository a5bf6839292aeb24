"""How many clusters, and where they begin: over a bounded sample, again and again.

``points`` are (n, d) and ``centres`` (k, d) everywhere, standardised: distances are in weighted
standard deviations.
"""

from __future__ import annotations

import numpy as np

from ml.segmenting.scaling import Array

LEAST, MOST = 2, 10
ROUNDS = 15
GLANCE = 1_024
"""Points of the sample that the number of clusters is chosen on."""

NEARLY, ENOUGH = 0.03, 0.06
"""A silhouette within so much of the best is as good: from one day's sample to the next they differ by
that. A number of clusters that is there already may be within a little more."""


def distances(points: Array, centres: Array) -> Array:
    """(n, k): the squared distance of each point from each centre."""
    squares = (points * points).sum(axis=1)[:, None] + (centres * centres).sum(axis=1)[None, :]
    out: Array = np.maximum(squares - 2.0 * (points @ centres.T), 0.0)
    return out


def cost(points: Array, centres: Array) -> float:
    """The sum of squared distances to the nearest centre."""
    return float(distances(points, centres).min(axis=1).sum())


def seed(points: Array, k: int, rng: np.random.Generator) -> Array:
    """(k, d) of the points, each far from those before (k-means++: Arthur, Vassilvitskii 2007)."""
    chosen = [points[rng.integers(len(points))]]
    nearest = distances(points, chosen[0][None, :])[:, 0]
    for _ in range(k - 1):
        total = nearest.sum()
        if total <= 0:  # all points are the same
            chosen.append(points[rng.integers(len(points))])
            continue
        # A few draws, the best of which is taken, as scikit-learn does.
        draws = np.searchsorted(np.cumsum(nearest), rng.random(3) * total).clip(0, len(points) - 1)
        options = np.minimum(nearest[:, None], distances(points, points[draws]))
        best = int(options.sum(axis=0).argmin())
        chosen.append(points[draws[best]])
        nearest = options[:, best]
    return np.array(chosen)


def settle(points: Array, centres: Array) -> tuple[Array, float]:
    """Centres (k, d) after up to ``ROUNDS`` rounds of Lloyd's algorithm (1957/1982), and their cost."""
    for _ in range(ROUNDS):
        nearest = distances(points, centres).argmin(axis=1)
        members = np.equal(nearest[:, None], np.arange(len(centres))).astype(np.float64)
        counts = members.sum(axis=0)
        moved = np.where(
            counts[:, None] > 0, members.T @ points / np.maximum(counts, 1)[:, None], centres
        )
        if np.allclose(moved, centres, rtol=0, atol=1e-4):
            break
        centres = moved
    return centres, cost(points, centres)


def fit(points: Array, k: int, rng: np.random.Generator, tries: int) -> tuple[Array, float]:
    """The cheapest of ``tries`` settled seeds: centres (k, d) and their cost."""
    return min(
        (settle(points, seed(points, k, rng)) for _ in range(tries)), key=lambda found: found[1]
    )


def worth(points: Array, centres: Array) -> float:
    """How well the points are parted, -1 to 1: the simplified silhouette (Hruschka et al. 2006).

    The mean over the points of how much nearer its own centre is than the next one, as a share of the
    distance to that. At least two centres.
    """
    near = np.sqrt(np.sort(distances(points, centres), axis=1)[:, :2])
    own, other = near[:, 0], near[:, 1]
    return float(np.where(other > 0, (other - own) / np.maximum(other, 1e-12), 0.0).mean())


def worths(points: Array, rng: np.random.Generator) -> dict[int, float]:
    """The worth of each number of clusters: that of the cheapest of three fits to at most ``GLANCE``.

    Not the worthiest of them: a fit that is caught in a dear optimum may part its points well, and
    as it is not the one that would be taken, it says nothing.
    """
    if len(points) > GLANCE:
        points = points[rng.permutation(len(points))[:GLANCE]]
    most = min(MOST, len(points) - 1)
    return {k: worth(points, fit(points, k, rng, 3)[0]) for k in range(LEAST, most + 1)}


def fewest(worths: dict[int, float]) -> int:
    """The least number of clusters that is worth as much as the best one, but for ``NEARLY``."""
    best = max(worths.values())
    return min(k for k, found in worths.items() if found >= best - NEARLY)


def is_enough(worths: dict[int, float], present: int) -> bool:
    """Whether the number of clusters that there is need not be changed."""
    return worths[present] >= max(worths.values()) - ENOUGH
