"""``backbeat ml``: models, trainings, predictions and labels, over the running API."""

from __future__ import annotations

import time
from math import isfinite
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer
from rich.console import Console

from cli import ml_tables as tables
from cli.pairs import WrongCommandError, read_pairs
from cli.remote import RefusedError, Remote, connect

app = typer.Typer(
    name="ml", help="Models, trainings, predictions and labels.", no_args_is_help=True
)

_POLL = 0.3  # s between two looks at a job

Api = Annotated[str | None, typer.Option("--api", help="Address of the API; as configured.")]
Token = Annotated[str | None, typer.Option(help="Token of the API; as configured.")]
Json = Annotated[bool, typer.Option("--json", help="The API's answer as it is.")]
By = Annotated[str, typer.Option(help="Who asks for it; the tenant by default.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the record.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Part of the model's spec, k=v: name=lite.")
]
Tag = Annotated[list[str] | None, typer.Option(help="k=glob; may be repeated.")]
Since = Annotated[str | None, typer.Option("--from", help="RFC 3339 or epoch ms.")]
Until = Annotated[str | None, typer.Option("--to", help="RFC 3339 or epoch ms; now.")]


@app.command()
def train(
    family: Annotated[str, typer.Argument(help="Name of the model: errors-in-fr.")],
    *,
    name: Annotated[str, typer.Option(help="Which series: measure or metric, a glob.")] = "*",
    tag: Tag = None,
    stream: Annotated[str, typer.Option(help="Of which stream.")] = "live",
    since: Since = None,
    until: Until = None,
    kind: Annotated[str, typer.Option(help="detector or forecaster.")] = "detector",
    spec: Set = None,
    parent: Annotated[str, typer.Option(help="The model that this one follows.")] = "",
    wait: Annotated[bool, typer.Option(help="Wait for the end and show it.")] = True,
    by: By = "",
    reason: Reason = "",
    as_json: Json = False,
    api: Api = None,
    token: Token = None,
) -> None:
    """Train a new version of a model over stored windows; it becomes a candidate."""
    remote = connect(api, token)
    begun = remote.ask("POST", "/ml/train", {
        "family": family, "kind": kind, "spec": _spec(spec), "from": since, "to": until, "parent": parent,
        "selector": {"name": name, "tags": read_pairs("--tag", tag or []), "stream": stream},
        "by": by, "reason": reason,
    })  # fmt: skip
    if not wait:
        _show(begun, tables.accepted(begun), as_json=as_json)
        return
    job = _ended(remote, begun["job"]["id"], quiet=as_json)
    _show(job, tables.jobs([job]), as_json=as_json)
    if job["state"] != "done":
        raise RefusedError(f"training {job['id']} {job['state']}: {job['error'] or 'cancelled'}")


@app.command()
def predict(
    series: Annotated[str | None, typer.Argument(help="A series key.")] = None,
    *,
    mode: Annotated[str, typer.Option(help="detect, forecast or segment.")] = "detect",
    model: Annotated[
        str | None, typer.Option(help="A model's id; else one is made of --set.")
    ] = None,
    spec: Set = None,
    since: Since = None,
    until: Until = None,
    horizon: Annotated[int | None, typer.Option(help="Slots ahead, of a forecast.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="CSV with timestamp and value, instead of stored windows.")
    ] = None,
    listeners: Annotated[
        Path | None, typer.Option(help="JSON: a list of listeners to be segmented.")
    ] = None,
    as_json: Json = False,
    api: Api = None,
    token: Token = None,
) -> None:
    """Ask a model about a series, or about listeners; nothing of it is kept."""
    asked: dict[str, Any] = {
        "mode": mode, "model": model, "spec": _spec(spec), "series": series,
        "from": since, "to": until, "points": _points(file), "horizon": horizon,
        "listeners": _document(listeners),
    }  # fmt: skip
    found = connect(api, token).ask("POST", "/ml/predict", asked)
    _show(found, tables.prediction(found), as_json=as_json)


@app.command()
def models(
    *,
    family: Annotated[str | None, typer.Option(help="Of this family only.")] = None,
    state: Annotated[str | None, typer.Option(help="candidate, shadow, active, retired.")] = None,
    as_json: Json = False,
    api: Api = None,
    token: Token = None,
) -> None:
    """List models, by family, the newest version first."""
    found = connect(api, token).ask("GET", "/ml/models", params={"family": family, "state": state})
    _show(found, tables.models(found["items"]), as_json=as_json)


@app.command("model")
def show_model(
    model: Annotated[str, typer.Argument(help="A model's id: errors-in-fr.3.")],
    *,
    as_json: Json = False,
    api: Api = None,
    token: Token = None,
) -> None:
    """Show a model: what it has learned, and how it does beside the active one."""
    found = connect(api, token).ask("GET", f"/ml/models/{_part(model)}")
    _show(found, tables.model(found), as_json=as_json)


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="A model's id.")],
    *,
    to: Annotated[str, typer.Option(help="shadow, active or retired.")] = "active",
    by: By = "",
    reason: Reason = "",
    as_json: Json = False,
    api: Api = None,
    token: Token = None,
) -> None:
    """Move a model on; promoting one retires the active one of its family."""
    body = {"to": to, "by": by, "reason": reason}
    found = connect(api, token).ask("POST", f"/ml/models/{_part(model)}/promote", body)
    _show(found, tables.changed(found), as_json=as_json)


@app.command()
def rollback(
    model: Annotated[str | None, typer.Argument(help="Undo its family's last promotion.")] = None,
    *,
    before: Annotated[
        str | None, typer.Option(help="Instead: put what was learned back to before this time.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="... of this series.")] = None,
    name: Annotated[str, typer.Option(help="... of series of this measure, a glob.")] = "*",
    tag: Tag = None,
    by: By = "",
    reason: Reason = "",
    as_json: Json = False,
    api: Api = None,
    token: Token = None,
) -> None:
    """Undo a promotion, or put what was learned of some series back to before an incident."""
    remote, note = connect(api, token), {"by": by, "reason": reason}
    if (model is None) == (before is None):
        raise WrongCommandError("say either a model, or --before with --series, --name or --tag")
    if model is not None:
        found = remote.ask("POST", f"/ml/models/{_part(model)}/rollback", note)
        _show(found, tables.changed(found), as_json=as_json)
        return
    selector = None if series else {"name": name, "tags": read_pairs("--tag", tag or [])}
    if selector == {"name": "*", "tags": {}}:
        raise WrongCommandError("say which series: --series, --name or --tag")
    body = {"before": before, "series": series, "selector": selector, **note}
    found = remote.ask("POST", "/ml/rollbacks", body)
    _show(found, tables.rolled_back(found), as_json=as_json)


@app.command()
def jobs(
    job: Annotated[str | None, typer.Argument(help="One job's id.")] = None,
    *,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop it.")] = False,
    as_json: Json = False,
    api: Api = None,
    token: Token = None,
) -> None:
    """Show trainings, or one of them; with --cancel stop it."""
    remote = connect(api, token)
    if cancel and job is None:
        raise WrongCommandError("--cancel needs the id of a job; see: backbeat ml jobs")
    if job is None:
        found = remote.ask("GET", "/ml/jobs")
        _show(found, tables.jobs(found["items"]), as_json=as_json)
        return
    one = remote.ask("DELETE" if cancel else "GET", f"/ml/jobs/{_part(job)}")
    _show(one, tables.jobs([one]), as_json=as_json)


@app.command()
def label(
    verdict: Annotated[str, typer.Argument(help="true, false or expected.")],
    *,
    alert: Annotated[str, typer.Option(help="Of this alert, its series and times.")] = "",
    series: Annotated[str | None, typer.Option(help="Else of this series.")] = None,
    since: Since = None,
    until: Until = None,
    rule: Annotated[str, typer.Option(help="Of which rule it is said.")] = "",
    detector: Annotated[str, typer.Option(help="Of which detector.")] = "",
    author: Annotated[str, typer.Option(help="Who says so; the tenant by default.")] = "",
    reason: Reason = "",
    as_json: Json = False,
    api: Api = None,
    token: Token = None,
) -> None:
    """Say of an alert or of a stretch of a series whether something was wrong."""
    body = {
        "verdict": verdict, "alert": alert, "series": series, "since": since, "until": until,
        "rule": rule, "detector": detector, "author": author, "reason": reason,
    }  # fmt: skip
    found = connect(api, token).ask("POST", "/labels", body)
    _show(found, tables.labels([found]), as_json=as_json)


@app.command()
def labels(
    *,
    report: Annotated[
        bool, typer.Option("--report", help="Precision and recall of rules and detectors.")
    ] = False,
    series: Annotated[str | None, typer.Option(help="Of this series only.")] = None,
    forget: Annotated[str | None, typer.Option(help="Forget the label of this id.")] = None,
    as_json: Json = False,
    api: Api = None,
    token: Token = None,
) -> None:
    """List labels, or what they say of rules and detectors."""
    remote = connect(api, token)
    if forget is not None:
        remote.ask("DELETE", f"/labels/{_part(forget)}")
    if report:
        found = remote.ask("GET", "/labels/report")
        _show(found, tables.report(found), as_json=as_json)
        return
    found = remote.ask("GET", "/labels", params={"series": series})
    _show(found, tables.labels(found["items"]), as_json=as_json)


def _show(document: Any, shown: list[Any], *, as_json: bool) -> None:
    if as_json:
        print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        return
    console = Console(highlight=False)
    for part in shown:
        console.print(part)


def _ended(remote: Remote, job_id: str, *, quiet: bool) -> dict[str, Any]:
    """The job, when it has ended; Ctrl-C leaves it running."""
    console = Console(stderr=True, quiet=quiet)
    with console.status("waits for its turn") as status:
        while True:
            job: dict[str, Any] = remote.ask("GET", f"/ml/jobs/{job_id}")
            if job["ended_at"] is not None:
                return job
            done = f"{job['series_done']} of {job['series']} series, {job['points_done']} windows"
            status.update(f"{job['state']}: {done}")
            time.sleep(_POLL)


def _spec(texts: list[str] | None) -> dict[str, str | float]:
    return {key: _number(value) for key, value in read_pairs("--set", texts or []).items()}


def _number(text: str) -> str | float:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if isfinite(number) else text


def _points(file: Path | None) -> list[dict[str, Any]] | None:
    if file is None:
        return None
    from importers.series_csv import read_series

    return [{"at": sample.at, "value": sample.value} for sample in read_series(file)]


def _document(file: Path | None) -> Any:
    if file is None:
        return None
    try:
        return orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as exc:
        msg = f"{file} cannot be read as JSON: {exc}"
        raise WrongCommandError(msg) from exc


def _part(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")
