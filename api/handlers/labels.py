"""Labels: what people say of alerts and of stretches of series."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.context import Context, Who
from api.schemas import labels as schemas

router = APIRouter(prefix="/api/v1/labels", tags=["labels"])


@router.post("", status_code=201, summary="Label an alert or a stretch")
async def add_label(context: Context, who: Who, given: schemas.LabelIn) -> schemas.Label:
    """Say whether something was wrong. The same stretch or alert again replaces the label."""
    label = await context.labels.add(who.tenant, given, context.clock())
    return schemas.Label.model_validate(label)


@router.get("", summary="List labels")
async def list_labels(
    context: Context, who: Who, params: Annotated[schemas.LabelParams, Query()]
) -> schemas.LabelPage:
    """Labels, the newest stretch first."""
    found, cursor = context.labels.page(who.tenant, params)
    items = [schemas.Label.model_validate(label) for label in found]
    return schemas.LabelPage(items=items, next=cursor)


@router.get("/report", summary="Precision and recall")
async def report_labels(
    context: Context, who: Who, params: Annotated[schemas.ReportParams, Query()]
) -> schemas.LabelReport:
    """Precision and recall of each rule and detector, and the thresholds that labels call for."""
    return await context.labels.report(who.tenant, params, context.clock())


@router.delete("/{label_id}", status_code=204, summary="Forget a label")
async def remove_label(context: Context, who: Who, label_id: str) -> None:
    """Forget a label."""
    await context.labels.remove(who.tenant, label_id)
