"""Models: training, predicting, promoting, rolling back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.context import Context, Who
from api.problems import InvalidRequestError
from api.schemas import ml as schemas
from api.schemas.params import ModelParams, NoParams
from api.services.history import MAX_MATCHING, exactly
from api.services.models import Actor
from api.services.series import own_key, span
from api.services.training import Order
from ml.comparison import compare

router = APIRouter(prefix="/api/v1/ml", tags=["models"])

_MODELS = "/api/v1/ml/models"
_JOBS = "/api/v1/ml/jobs"

Nothing = Annotated[NoParams, Query()]


def _actor(context: Context, who: Who, by: str, reason: str = "") -> Actor:
    return Actor(who.tenant, by or who.tenant, context.clock(), reason)


@router.post("/train", status_code=202, summary="Train a model")
async def train_model(
    context: Context, who: Who, response: Response, asked: schemas.TrainRequest
) -> schemas.JobAccepted:
    """Learn from stored windows, as a job; it makes a candidate, the next version of its family."""
    actor = _actor(context, who, asked.by, asked.reason)
    since, until = span(asked.since or 0, asked.until, actor.now, 0)
    order = Order(
        family=asked.family,
        kind=asked.kind,
        spec=asked.spec,
        selector=asked.selector.record(),
        since=since,
        until=until,
        parent=asked.parent,
        labels=context.labels.all(who.tenant),
    )
    job = await context.trainer.submit(order, actor)
    see = response.headers["Location"] = f"{_JOBS}/{job.id}"
    what = (
        f"{job.series} series will be learned; then a new version of {job.family} is a candidate, "
        "which changes nothing until it is promoted"
    )
    return schemas.JobAccepted(what=what, see=see, job=schemas.Job.model_validate(job))


@router.post("/predict", summary="Predict")
async def predict(context: Context, who: Who, asked: schemas.PredictRequest) -> schemas.Prediction:
    """Ask a model about a stored series or about posted points; nothing of it is kept."""
    return await context.predictor.predict(who.tenant, asked, context.clock())


@router.get("/models", summary="List models")
async def list_models(
    context: Context, who: Who, params: Annotated[ModelParams, Query()]
) -> schemas.ModelPage:
    """Models by family, the newest version first."""
    found = [
        model
        for model in context.models.models(who.tenant).values()
        if params.family in {None, model.family} and params.state in {None, model.state}
        and params.kind in {None, model.kind}
    ]  # fmt: skip
    found.sort(key=lambda m: (m.family, -m.version))
    return schemas.ModelPage(items=[schemas.Model.model_validate(m) for m in found])


@router.get("/models/{model_id}", summary="One model")
async def get_model(context: Context, who: Who, model_id: str) -> schemas.ModelDetail:
    """A model, what it has learned, whether its seal is intact, and how it does as a shadow."""
    model = context.models.model(who.tenant, model_id)
    states = context.models.states(who.tenant, model_id)
    reports = context.models.reports(who.tenant, model_id)
    return schemas.ModelDetail(
        model=schemas.Model.model_validate(model),
        precision=model.metrics.get("precision"),
        recall=model.metrics.get("recall"),
        learned=[
            schemas.LearnedSeries(series=s.series, size=s.size, at=s.at, bytes=len(s.body))
            for s in states
        ],
        seal=context.models.check_seal(model),
        shadows=[schemas.Shadow.of(c) for c in compare(reports, context.labels.all(who.tenant))],
    )


@router.post("/models/{model_id}/promote", status_code=202, summary="Move a model on")
async def promote_model(
    context: Context, who: Who, model_id: str, asked: schemas.PromoteRequest
) -> schemas.ModelsChanged:
    """Make a model a shadow, the active one of its family (which retires the former), or retired."""
    actor = _actor(context, who, asked.by, asked.reason)
    moved = await context.models.move(model_id, asked.to, actor)
    what = f"{model_id} is {asked.to}; workers follow with the next windows"
    return schemas.ModelsChanged(
        what=what,
        see=f"{_MODELS}/{model_id}",
        changed=[schemas.Model.model_validate(m) for m in moved],
    )


@router.post("/models/{model_id}/rollback", status_code=202, summary="Undo a promotion")
async def rollback_model(
    context: Context, who: Who, model_id: str, asked: schemas.Change
) -> schemas.ModelsChanged:
    """Activate the model that the family's active one replaced, and retire that."""
    actor = _actor(context, who, asked.by, asked.reason)
    moved = await context.models.go_back(model_id, actor)
    what = f"{moved[-1].id} is active again; workers follow with the next windows"
    return schemas.ModelsChanged(
        what=what,
        see=f"{_MODELS}/{moved[-1].id}",
        changed=[schemas.Model.model_validate(m) for m in moved],
    )


@router.post("/rollbacks", status_code=202, summary="Roll what was learned back")
async def roll_back(
    context: Context, who: Who, asked: schemas.RollbackRequest
) -> schemas.RollbackAccepted:
    """Put what was learned of some series back to before an incident."""
    actor = _actor(context, who, asked.by, asked.reason)
    if asked.before > actor.now:
        msg = "before lies ahead; nothing has been learned there"
        raise InvalidRequestError(msg)
    if asked.selector is not None:
        selector = asked.selector.record()
    else:
        selector = exactly(own_key(who.tenant, asked.series or ""))
    found = await context.history.matching(who.tenant, selector, MAX_MATCHING)
    record = await context.models.roll_back(selector, asked.before, actor)
    what = (
        "each worker puts the models of these series back to its newest snapshot that is not after "
        "the moment, once; a series without one keeps what it has learned"
    )
    return schemas.RollbackAccepted(
        what=what,
        see="/api/v1/ml/rollbacks",
        rollback=schemas.Rollback.model_validate(record),
        series=[info.key for info in found[:20]],
        series_count=len(found),
    )


@router.get("/rollbacks", summary="List roll-backs")
async def list_rollbacks(context: Context, who: Who, _params: Nothing) -> schemas.RollbackPage:
    """Roll-backs that were asked for, the newest first."""
    found = context.models.rollbacks(who.tenant)
    return schemas.RollbackPage(items=[schemas.Rollback.model_validate(r) for r in found])


@router.get("/jobs", summary="List trainings")
async def list_jobs(context: Context, who: Who, _params: Nothing) -> schemas.JobPage:
    """Trainings of this process, the newest first."""
    found = context.trainer.jobs(who.tenant)
    return schemas.JobPage(items=[schemas.Job.model_validate(job) for job in found])


@router.get("/jobs/{job_id}", summary="One training")
async def get_job(context: Context, who: Who, job_id: str) -> schemas.Job:
    """How far a training is, and what came of it."""
    return schemas.Job.model_validate(context.trainer.job(who.tenant, job_id))


@router.delete("/jobs/{job_id}", summary="Cancel a training")
async def cancel_job(context: Context, who: Who, job_id: str) -> schemas.Job:
    """Stop a training that has not ended; nothing of it is kept."""
    return schemas.Job.model_validate(await context.trainer.cancel(who.tenant, job_id))
