"""How the API's answers about models look in a terminal: rich tables, and lines of what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

Document = Mapping[str, Any]

_STATES = {
    "active": "bold green", "shadow": "cyan", "candidate": "yellow", "retired": "dim",
    "done": "green", "failed": "bold red", "cancelled": "dim", "running": "cyan",
    "true": "bold red", "false": "green", "expected": "dim",
}  # fmt: skip
_WORST = 10


def models(items: Sequence[Document]) -> list[Any]:
    """Models, one a line."""
    if not items:
        return [Text("no models; train one with: backbeat ml train")]
    table = _table("model", "state", "of", "series", "findings/week", "trained", "by")
    for m in items:
        of = f"{m['spec'].get('name', m['kind'])} for {_selector(m['selector'])}"
        rate = m["metrics"].get("findings_per_week")
        table.add_row(
            m["id"], _state(m["state"]), of, str(m["states"]), _figure(rate),
            _time(m["created_at"]), m["changed_by"],
        )  # fmt: skip
    return [table]


def model(detail: Document) -> list[Any]:
    """One model with everything that is known of it."""
    m = detail["model"]
    facts = _table("", "")
    rows: list[tuple[str, Any]] = [
        ("model", m["id"]), ("state", _state(m["state"])), ("kind", m["kind"]),
        ("for", _selector(m["selector"])), ("spec", _words(m["spec"])),
        ("data", f"{_time(m['data_from'])} to {_time(m['data_until'])}"),
        ("trained", f"{_time(m['created_at'])} by {m['created_by']}"),
        ("changed", f"{_time(m['changed_at'])} by {m['changed_by']}: {m['reason'] or '-'}"),
        ("figures", _words(m["metrics"])),
        ("on labels", f"precision {_figure(detail['precision'])}, recall {_figure(detail['recall'])}"),
        ("seal", detail["seal"]),
    ]  # fmt: skip
    for name, value in rows:
        facts.add_row(name, value)
    learned = _table("learned series", "windows of", "until", "bytes")
    for s in detail["learned"]:
        learned.add_row(s["series"], f"{s['size'] // 1000} s", _time(s["at"]), str(s["bytes"]))
    return [facts, *([learned] if detail["learned"] else []), *shadows(detail["shadows"])]


def shadows(items: Sequence[Document]) -> list[Any]:
    """Comparisons with active models."""
    if not items:
        return []
    table = _table("beside", "windows", "agree", "its findings/week", "the other's", "precision")
    for s in items:
        table.add_row(
            s["against"], str(s["windows"]), f"{s['agreement']:.1%}", _figure(s["shadow_per_week"]),
            _figure(s["active_per_week"]),
            f"{_figure(s['shadow_precision'])} (the other {_figure(s['active_precision'])})",
        )  # fmt: skip
    return [table]


def jobs(items: Sequence[Document]) -> list[Any]:
    """Trainings, one a line."""
    if not items:
        return [Text("no trainings since the API started")]
    table = _table("job", "state", "done", "windows", "model", "what")
    for j in items:
        what = j["error"] or _words(j["metrics"]) or j["family"]
        table.add_row(
            j["id"], _state(j["state"]), f"{j['progress']:.0%}", str(j["points_done"]),
            j["model"] or "-", what,
        )  # fmt: skip
    return [table]


def accepted(document: Document) -> list[Any]:
    """What will happen, and where to see it."""
    return [Text(document["what"]), Text(f"see {document['see']}", "dim")]


def changed(document: Document) -> list[Any]:
    """Models that were moved."""
    return [*models(document["changed"]), *accepted(document)]


def rolled_back(document: Document) -> list[Any]:
    """A roll-back that was asked for."""
    shown = ", ".join(document["series"]) or "none that has been seen"
    more = document["series_count"] - len(document["series"])
    line = f"roll-back {document['rollback']['id']} of {shown}{f' and {more} more' if more else ''}"
    return [Text(line, "bold"), *accepted(document)]


def prediction(document: Document) -> list[Any]:
    """The points that surprised most, in order of time; or what will be."""
    if document["forecast"] is not None:
        return [Text(document["source"]), *forecast(document["forecast"])]
    if document["segmented"] is not None:
        return [Text(document["source"]), *segments(document["segmented"])]
    points = [p for p in document["points"] if p["score"] is not None]
    worst = sorted(points, key=lambda p: p["score"], reverse=True)[:_WORST]
    table = _table("at", "value", "score", "expected", "looks like")
    for p in sorted(worst, key=lambda p: str(p["at"])):
        band = f"{_figure(p['low'])} to {_figure(p['high'])}"
        table.add_row(_time(p["at"]), _figure(p["value"]), _figure(p["score"]), band, p["shape"])
    count = (
        f"{len(document['points'])} points, {len(points)} judged; the {len(worst)} highest scores"
    )
    return [Text(document["source"]), Text(count, "dim"), table]


def segments(document: Document) -> list[Any]:
    """Kinds of listeners, one a line."""
    if document["learning"]:
        return [Text("too few listeners to tell kinds of them apart", "yellow")]
    table = _table("segment", "listeners", "who")
    for s in document["segments"]:
        table.add_row(s["id"], str(s["size"]), s["description"])
    return [table]


def forecast(document: Document) -> list[Any]:
    """What will be, a slot a line."""
    if document["learning"]:
        return [Text("too few values to say what follows", "yellow")]
    table = _table("at", "median", "interval")
    for slot in document["slots"]:
        intervals = ", ".join(
            f"{i['level']:.0%} {_figure(i['low'])} to {_figure(i['high'])}"
            for i in slot["intervals"]
        )
        table.add_row(_time(slot["at"]), _figure(slot["value"]), intervals)
    return [table]


def labels(items: Sequence[Document]) -> list[Any]:
    """Labels, one a line."""
    if not items:
        return [Text("no labels; make one with: backbeat ml label")]
    table = _table("label", "verdict", "series", "since", "until", "peak", "by", "reason")
    for la in items:
        table.add_row(
            la["id"], _state(la["verdict"]), la["series"], _time(la["since"]), _time(la["until"]),
            _figure(la["peak"]), la["author"], la["reason"],
        )  # fmt: skip
    return [table]


def report(document: Document) -> list[Any]:
    """Rules and detectors against labels, and thresholds that would follow."""
    table = _table("", "alerts", "right", "wrong", "unjudged", "precision", "events", "recall")
    groups = (("all", [document["total"]]), ("rule", document["rules"]),
              ("detector", document["detectors"]))  # fmt: skip
    for kind, qualities in groups:
        for q in qualities:
            name = kind if kind == "all" else f"{kind} {q['name']}"
            table.add_row(
                name, str(q["alerts"]), str(q["right"]), str(q["wrong"]), str(q["unjudged"]),
                _figure(q["precision"]), str(q["events"]), _figure(q["recall"]),
            )  # fmt: skip
    shown: list[Any] = [table]
    if document["thresholds"]:
        wanted = _table("series", "threshold", "why")
        for t in document["thresholds"]:
            wanted.add_row(t["series"], _figure(t["value"]), t["reason"])
        shown.append(wanted)
    return shown


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, show_header=any(columns), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _state(state: str) -> Text:
    return Text(state, _STATES.get(state, ""))


def _selector(selector: Document) -> str:
    tags = ",".join(f"{k}={v}" for k, v in sorted(selector["tags"].items()))
    stream = "" if selector["stream"] == "live" else f" of {selector['stream']}"
    return f"{selector['name']}{{{tags}}}{stream}"


def _words(values: Document) -> str:
    return ", ".join(
        f"{k} {_figure(v) if isinstance(v, float) else v}" for k, v in sorted(values.items())
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _time(text: str | None) -> str:
    """RFC 3339 without what nobody reads: the T and the milliseconds."""
    return "-" if text is None else f"{text[:10]} {text[11:19]}Z"
