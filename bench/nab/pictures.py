"""A picture of each file: series, expected band, labelled windows, surprise and detections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from bench.nab.contenders import Contest
from bench.nab.corpus import Series
from bench.nab.report import iso
from bench.nab.scoring import detections
from ml import registry


def draw(
    folder: Path, name: str, series: Sequence[Series], contest: Contest, threshold: float
) -> list[Path]:
    """Write one HTML page a file; plotly's script lies beside them, once."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for s, scores in zip(series, contest.scores, strict=True):
        found = detections(scores, threshold, s.probation, contest.cooldown).tolist()
        picture = _picture(s, scores.tolist(), found, _band(name, s), threshold)
        path = folder / f"{s.name.replace('/', '__').removesuffix('.csv')}.html"
        picture.write_html(path, include_plotlyjs="directory")
        paths.append(path)
    return paths


def _band(name: str, series: Series) -> tuple[list[float | None], list[float | None]] | None:
    """(low, high) of each point as one of our detectors expected it; None of others."""
    if name not in registry.names():
        return None
    detector, low, high = registry.create(name), [], []
    for at, value in zip(series.times, series.values, strict=True):
        verdict = detector.score(value, at)
        low.append(verdict.low)
        high.append(verdict.high)
        detector.learn(value, at)
    return low, high


def _picture(
    s: Series,
    scores: list[float],
    found: list[int],
    band: tuple[list[float | None], list[float | None]] | None,
    threshold: float,
) -> Any:
    at = [iso(t) for t in s.times]
    figure = make_subplots(rows=2, shared_xaxes=True, row_heights=[0.7, 0.3])
    if band is not None:
        edge = {"mode": "lines", "line": {"width": 0}, "showlegend": False}
        figure.add_trace(go.Scatter(x=at, y=band[0], **edge), row=1, col=1)
        shade = {**edge, "fill": "tonexty", "fillcolor": "rgba(80,120,200,.2)", "name": "expected"}
        figure.add_trace(go.Scatter(x=at, y=band[1], **shade), row=1, col=1)
    figure.add_trace(go.Scatter(x=at, y=s.values, name="value", line={"width": 1}), row=1, col=1)
    for left, right in s.windows:
        figure.add_vrect(x0=at[left], x1=at[right], fillcolor="orange", opacity=0.25, line_width=0)
    figure.add_trace(
        go.Scatter(
            x=[at[i] for i in found], y=[s.values[i] for i in found], name="detection",
            mode="markers", marker={"color": "crimson", "size": 9},
        ), row=1, col=1,
    )  # fmt: skip
    figure.add_trace(go.Scatter(x=at, y=scores, name="surprise", line={"width": 1}), row=2, col=1)
    figure.add_hline(y=threshold, line_dash="dot", row=2, col=1)
    figure.update_layout(title=s.name, template="plotly_white", hovermode="x")
    return figure
