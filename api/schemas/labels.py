"""Labels and what they say of rules and detectors, as clients see and make them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.schemas.params import SeriesText, Strict, Text
from api.times import TimeParam, Timestamp
from ml.labels import Quality as QualityRecord

Verdict = Literal["true", "false", "expected"]


class LabelIn(Strict):
    """A judgement of a stretch of a series, or of an alert, whose series and times it then takes."""

    verdict: Verdict = Field(
        description="`true`: something was wrong; `false`: nothing was; `expected`: a known cause."
    )
    alert: Text = Field("", description="An alert's id; what is missing below is taken from it.")
    series: SeriesText | None = Field(None, description="A series key; needed without an alert.")
    since: TimeParam | None = None
    until: TimeParam | None = None
    rule: Text = ""
    detector: Text = ""
    author: str = Field("", max_length=200, description="Who says so; the tenant by default.")
    reason: str = Field("", max_length=2_000)

    @model_validator(mode="after")
    def _is_of_something(self) -> Self:
        if not self.alert and (self.series is None or self.since is None or self.until is None):
            msg = "a label needs an alert, or a series with since and until"
            raise ValueError(msg)
        if self.since is not None and self.until is not None and self.since >= self.until:
            msg = "since is not before until; nothing lies between them"
            raise ValueError(msg)
        return self


class Label(BaseModel):
    """A judgement as it is kept."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="Of its series, stretch and alert: saying it anew replaces it.")
    series: str
    since: Timestamp
    until: Timestamp
    verdict: Verdict
    author: str
    at: Timestamp
    reason: str
    alert: str
    rule: str
    detector: str
    peak: float | None = Field(description="Highest score of the stretch when it was labelled.")


class LabelPage(BaseModel):
    """Labels, the newest stretch first. Send `next` as `cursor` to go on; null is the end."""

    items: list[Label]
    next: str | None


class LabelParams(Strict):
    """Which labels."""

    series: SeriesText | None = Field(None, description="A series key.")
    verdict: Verdict | None = None
    since: TimeParam | None = Field(None, description="Ends after this time.")
    until: TimeParam | None = Field(None, description="Begins before this time.")
    limit: int = Field(500, ge=1, le=5_000)
    cursor: str | None = Field(None, description="The `next` of the page before.")

    @model_validator(mode="after")
    def _is_a_time(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            msg = "`since` is not before `until`; nothing could lie between them"
            raise ValueError(msg)
        return self


class ReportParams(Strict):
    """Which alerts are held against the labels."""

    since: TimeParam | None = Field(None, description="Alerts that began then; 30 days ago.")
    until: TimeParam | None = Field(None, description="Alerts that began before; now.")


class Quality(BaseModel):
    """How alerts stand against labels."""

    name: str = Field(description="Of the rule or detector; `*` for all together.")
    alerts: int
    right: int = Field(description="Alerts that met a true label.")
    wrong: int = Field(description="Alerts that met a false label and no true one.")
    expected: int = Field(description="Alerts that met nothing but an expected stretch.")
    unjudged: int = Field(description="Alerts that met no label.")
    events: int = Field(description="True labels.")
    found: int = Field(description="True labels that an alert met.")
    precision: float | None = Field(description="right / (right + wrong).")
    recall: float | None = Field(description="found / events.")

    @classmethod
    def of(cls, name: str, found: QualityRecord) -> Self:
        """The figures under a name."""
        return cls(
            name=name,
            alerts=found.right + found.wrong + found.expected + found.unjudged,
            precision=found.precision,
            recall=found.recall,
            **found._asdict(),
        )


class SeriesThreshold(BaseModel):
    """What the labels of a series make of its threshold."""

    series: str
    value: float
    reason: str


class LabelReport(BaseModel):
    """Rules and detectors against what people said, and thresholds that would follow from it."""

    since: Timestamp
    until: Timestamp
    total: Quality
    rules: list[Quality]
    detectors: list[Quality]
    thresholds: list[SeriesThreshold]
    truncated: bool = Field(description="Whether there were more alerts than are looked at.")
