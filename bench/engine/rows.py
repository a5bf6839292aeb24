"""Rows of the result: runs of a case gathered, summed up, written as JSON and as a Markdown table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from bench.engine.cases import Case

BEGIN, END = "<!-- bench.engine: begin -->", "<!-- bench.engine: end -->"


def row_name(row: dict[str, Any]) -> str:
    """The name of the case that a row is of."""
    return str(row["case"])


def summed_up(case: Case, each: list[dict[str, Any]]) -> dict[str, Any]:
    """A row from its runs: the median of every figure, and the worst rate."""
    row: dict[str, Any] = {
        "case": case.name, "system": case.system, "variant": case.variant, "job": case.job,
        "keys": case.keys, "payload": case.payload,
        "broker": "embedded" if case.broker == "tansu" else case.broker,
        "settings": dict(case.env), "runs": len(each),
    }  # fmt: skip
    for name in ("commit", "date", "seed", "events"):
        row[name] = each[-1][name]
    for name in FIGURES:
        values = [run[name] for run in each if run.get(name) is not None]
        row[name] = rounded(median(values)) if values else None
    row["events_per_s_worst"] = rounded(min(run["events_per_s"] for run in each))
    row["each"] = each
    return row


FIGURES = (
    "events_per_s", "cpu_us_per_event", "broker_us_per_event", "seconds", "peak_mb", "load",
    "start_s", "restore_s", "restore_records", "restore_records_per_s",
)  # fmt: skip


def rounded(value: float) -> float:
    """Three figures; whole where they are."""
    short = float(f"{value:.3g}") if abs(value) < 1000 else round(value)
    return int(short) if short == int(short) else short


class Rows:
    """The JSON file: rows by case, written after every run, so that a stopped bench goes on."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self._about = about
        self._rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            self._rows = {row_name(row): row for row in json.loads(path.read_text())["rows"]}

    def runs(self, case: Case) -> int:
        """How many there are of a case."""
        return len(self._rows.get(case.name, {}).get("each", []))

    def forget(self, cases: Iterable[Case]) -> None:
        """Drop cases' rows."""
        for case in cases:
            self._rows.pop(case.name, None)

    def add(self, case: Case, run: dict[str, Any]) -> None:
        """One run more, and the file anew."""
        each = [*self._rows.get(case.name, {}).get("each", []), run]
        self._rows[case.name] = summed_up(case, each)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({"about": self._about, "rows": self.rows()}, indent=1) + "\n")
        partial.replace(self.path)

    def rows(self) -> list[dict[str, Any]]:
        """All, by job, keys and speed."""
        order = {"raw": 0, "windowed": 1, "whole-job": 2}
        return sorted(
            self._rows.values(),
            key=lambda row: (order[row["job"]], row["keys"], row["payload"], -row["events_per_s"]),
        )


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        "| job | keys | system | events/s (worst) | CPU µs/event | broker µs/event | peak MB | restored records/s | load | runs |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        system = " ".join(filter(None, [row["system"], row["variant"].replace("_", "-")]))
        if row["broker"] == "embedded":
            system += ", embedded broker"
        job = row["job"] + (", 62-byte metrics" if row["payload"] == "metrics" else "")
        cells = [
            job, f"{row['keys']:,}" if row["keys"] else "simulated", system,
            f"{row['events_per_s']:,} ({row['events_per_s_worst']:,})",
            shown(row["cpu_us_per_event"]), shown(row["broker_us_per_event"]), shown(row["peak_mb"]),
            shown(row["restore_records_per_s"]), shown(row["load"]), str(row["runs"]),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shown(value: float | None) -> str:
    """A cell."""
    return "" if value is None else f"{value:,}"


def write_between(path: Path, text: str) -> None:
    """Replace what stands between the markers.

    Raises ValueError if the file has no such markers.
    """
    whole = path.read_text(encoding="utf-8")
    if BEGIN not in whole or END not in whole:
        msg = f"{path} has no {BEGIN} … {END}"
        raise ValueError(msg)
    before, _, rest = whole.partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
