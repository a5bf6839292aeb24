"""The pictures of docs/detection.md, drawn from the simulator: always the same, as the seed is fixed.

    python -m bench.pictures [--out docs/images]

Three SVG files: a finding that is right and how its score came about, a day that becomes normal by
being repeated, and an incident that is missed. The incidents shown are the first of their kind that
a score of 2 finds, and misses.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from bench.incidents.contest import alerts, score
from bench.incidents.ground import PANE, SIZE, Ground, Track, kind_of, simulate
from ml import registry
from ml.protocol import Verdict
from simulate.incidents import MINUTE, Incident, expected

ROOT = Path(__file__).parents[1]
SEED, RULE = 7, 2.0
COLOURS = ("#1f5fa8", "#c23b22", "#2e7d32", "#8e44ad", "#b9770e", "#607d8b", "#00838f", "#555")
WIDTH, LEFT, RIGHT, GAP = 720, 60, 12, 34

Points = Sequence[float | None]


class Panel(NamedTuple):
    """One plot: named lines over the same times, and a band, a threshold and dots where given."""

    title: str
    lines: Mapping[str, Points]
    height: int = 130
    low: Points = ()
    high: Points = ()
    level: float | None = None
    dots: Sequence[int] = ()


def svg(times: Sequence[int], panels: Sequence[Panel], shades: Sequence[tuple[int, int]]) -> str:
    """Panels under each other; ``shades`` are labelled spans in epoch ms."""
    span = times[-1] - times[0] or 1
    xs = [LEFT + (WIDTH - LEFT - RIGHT) * (t - times[0]) / span for t in times]
    parts, top = [], 22
    for panel in panels:
        parts += _panel(panel, xs, top)
        for start, end in shades:
            a, b = (LEFT + (WIDTH - LEFT - RIGHT) * (t - times[0]) / span for t in (start, end))
            box = f'y="{top}" width="{max(b - a, 1):.1f}" height="{panel.height}"'
            parts.append(f'<rect x="{a:.1f}" {box} fill="#f5a623" fill-opacity="0.25"/>')
        top += panel.height + GAP
    step = max(1, len(times) // 6)
    for x, t in zip(xs[::step], times[::step], strict=True):
        clock = dt.datetime.fromtimestamp(t / 1000, dt.UTC).strftime("%H:%M")
        parts.append(f'<text x="{x:.1f}" y="{top - GAP + 14}" text-anchor="middle">{clock}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top - GAP + 22}"'
        ' font-family="sans-serif" font-size="11">\n'
        f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(panel: Panel, xs: Sequence[float], top: int) -> list[str]:
    shown = [v for line in (*panel.lines.values(), panel.low, panel.high) for v in line
             if v is not None]  # fmt: skip
    if panel.level is not None:
        shown.append(panel.level)
    least, most = min(shown, default=0.0), max(shown, default=1.0)
    most = most if most > least else least + 1

    def y(value: float) -> float:
        return top + panel.height * (1 - (value - least) / (most - least))

    out = [f'<text x="{LEFT}" y="{top - 7}" font-weight="bold">{escape(panel.title)}</text>']
    out += [
        f'<text x="{LEFT - 5}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>'
        for value in (least, most)
    ]
    if panel.low:
        edge = [(x, v) for x, v in zip(xs, panel.high, strict=True) if v is not None]
        edge += reversed([(x, v) for x, v in zip(xs, panel.low, strict=True) if v is not None])
        corners = " ".join(f"{x:.1f},{y(v):.1f}" for x, v in edge)
        out.append(f'<polygon points="{corners}" fill="#1f5fa8" fill-opacity="0.15"/>')
    for n, (name, values) in enumerate(panel.lines.items()):
        colour = COLOURS[n % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y(v):.1f}" for x, v in zip(xs, values, strict=True)
                        if v is not None)  # fmt: skip
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
        if len(panel.lines) > 1:
            place = f'x="{LEFT + 6}" y="{top + 12 + 12 * n}"'
            out.append(f'<text {place} fill="{colour}">{escape(name)}</text>')
    if panel.level is not None:
        at = f"{y(panel.level):.1f}"
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}" stroke="#999"'
                   ' stroke-dasharray="4 3"/>')  # fmt: skip
    first = next(iter(panel.lines.values()))
    for i in panel.dots:
        height = y(first[i] or 0.0)
        out.append(f'<circle cx="{xs[i]:.1f}" cy="{height:.1f}" r="4" fill="#c23b22"/>')
    return out


def judged(ground: Ground, track: Track) -> list[Verdict]:
    """The default detector's verdict on each window of a series."""
    detector, out = registry.create(registry.DEFAULT), []
    for n, value in enumerate(track.values.tolist()):
        at = ground.start + n * PANE
        out.append(detector.score(value, at))
        if at % SIZE == 0:
            detector.learn(value, at)
    return out


def first_of(ground: Ground, kinds: str, *, is_found: bool) -> tuple[Incident, int, list[int]]:
    """The first incident of a kind that a score of :data:`RULE` finds, or misses.

    With the number of its first series and the windows that alerts begin with there.

    Raises:
        ValueError: there is none.
    """
    found = alerts(score(ground, [registry.DEFAULT]), registry.DEFAULT, RULE)
    for incident in ground.incidents:
        if not kind_of(incident).startswith(kinds):
            continue
        tags = [(e.measure, e.tags) for e in expected(incident)]
        numbers = [n for n, t in enumerate(ground.tracks) if (t.measure, t.tags) in tags]
        for n in reversed(numbers):
            ends = ground.ends()[found[n]]
            hit = bool(((ends > incident.start) & (ends - SIZE < incident.end)).any())
            if hit == is_found:
                return incident, n, found[n].tolist()
    msg = f"no incident of kind {kinds!r} is {'found' if is_found else 'missed'} in this simulation"
    raise ValueError(msg)


def around(ground: Ground, kinds: str, *, is_found: bool, with_contexts: bool = True) -> str:
    """A picture of forty minutes before an incident to twenty after it."""
    incident, n, begins = first_of(ground, kinds, is_found=is_found)
    track = ground.tracks[n]
    first = (incident.start - 40 * MINUTE - ground.start) // PANE
    last = min((incident.end + 20 * MINUTE - ground.start) // PANE, len(track.values))
    verdicts = judged(ground, track)[first:last]
    times = ground.ends()[first:last].tolist()
    dots = [i - first for i in begins if first <= i < last]
    panels = [
        Panel(f"{track.name} and the range expected", {"value": track.values[first:last].tolist()},
              low=[v.low for v in verdicts], high=[v.high for v in verdicts], dots=dots),
        Panel(f"score; a rule alerts at {RULE:g}", {"score": [v.score for v in verdicts]},
              level=RULE, height=90, dots=dots),
    ]  # fmt: skip
    if with_contexts:
        names = [name for name, _ in verdicts[-1].contributions]
        each = {name: [dict(v.contributions).get(name) for v in verdicts] for name in names}
        panels.append(Panel("what each context brings to the score", each, height=110))
    return svg(times, panels, [(incident.start, incident.end)])


def learning(ground: Ground, name: str) -> str:
    """A picture of a whole series: the first day and a half of what the detector makes of it."""
    track = next(t for t in ground.tracks if t.name == name)
    every = 30  # five minutes; more is not to be seen
    verdicts, times = judged(ground, track)[::every], ground.ends()[::every].tolist()
    panels = [
        Panel(f"{name} and the range expected", {"value": track.values[::every].tolist()},
              low=[v.low for v in verdicts], high=[v.high for v in verdicts]),
        Panel("score", {"score": [v.score for v in verdicts]}, height=90, level=RULE),
    ]  # fmt: skip
    return svg(times, panels, [])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.pictures", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    out = parser.parse_args().out
    busy = simulate(SEED, 1.0, is_calm=False)
    calm = simulate(SEED, 1.0, is_calm=True)
    pictures = {
        "detection-found": around(busy, "release", is_found=True),
        "detection-learning": learning(calm, "plays{}"),
        "detection-missed": around(busy, "breakout", is_found=False, with_contexts=False),
    }
    for name, text in pictures.items():
        path = out / f"{name}.svg"
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
