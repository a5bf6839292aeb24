"""Models, trainings, predictions and roll-backs, as clients see and ask for them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from api.schemas.params import SeriesText, Strict, Text
from api.schemas.segmenting import ListenerIn, Segmented
from api.times import SizeParam, TimeParam, Timestamp
from ml.comparison import Comparison
from ml.forecasting.bands import LEVELS
from ml.forecasting.forecaster import LONGEST_HORIZON
from models import learning
from models.decoding import MAX_TAGS
from models.learning import Kind, State
from models.records import LIVE

MAX_POINTS = 10_000
"""Posted points of one prediction, and windows of one answer."""

MAX_LISTENERS = 2_000
"""Posted listeners of one prediction."""

Spec = dict[str, str | FiniteFloat | int | bool]
Said = Annotated[str, Field(max_length=1_024)]
"""A part of a specification, or a glob."""

SpecIn = Annotated[dict[Text, Said | FiniteFloat | int | bool], Field(max_length=16)]
_BY = Field("", max_length=200, description="Who asks for it; the tenant by default.")
_REASON = Field("", max_length=2_000, description="Why; kept with the record.")


class SelectorBody(Strict):
    """Which series: every given part must match; globs are allowed."""

    name: str = Field("*", max_length=256, description="A measure of plays, or a metric's name.")
    tags: dict[Text, Said] = Field(
        default_factory=dict, max_length=MAX_TAGS, description="Tag to glob."
    )
    stream: Text = LIVE

    def record(self) -> learning.Selector:
        """The selector as it is kept."""
        return learning.Selector(self.name, dict(self.tags), self.stream)


class TrainRequest(Strict):
    """Train a new version of a family over stored windows."""

    family: Text = Field(description="Name of the model; `errors-in-fr` becomes `errors-in-fr.1`.")
    kind: Kind = "detector"
    spec: SpecIn = Field(
        default_factory=dict,
        description="What the model is made of: `name`, `direction`, `minimum`, `threshold`, ...",
        examples=[{"name": "novelty", "direction": "up"}],
    )
    selector: SelectorBody
    since: TimeParam | None = Field(None, alias="from", description="Oldest window there is.")
    until: TimeParam | None = Field(None, alias="to", description="Now.")
    parent: Text = Field("", description="Id of the model that this one follows.")
    by: str = _BY
    reason: str = _REASON


class Change(Strict):
    """Why a model or job is changed, and by whom."""

    by: str = _BY
    reason: str = _REASON


class PromoteRequest(Change):
    """Move a model on; by default it becomes the active one of its family."""

    to: Literal["shadow", "active", "retired"] = "active"


class RollbackRequest(Change):
    """Put what the models of some series have learned back to before a moment."""

    before: TimeParam = Field(description="A time before the incident.")
    series: SeriesText | None = Field(
        None, description="A series key; series with further tags are taken in as well."
    )
    selector: SelectorBody | None = None

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.series is None) == (self.selector is None):
            msg = "say which series: either `series` or `selector`"
            raise ValueError(msg)
        return self


class PointIn(Strict):
    """One value of a series; null is a gap."""

    at: TimeParam
    value: FiniteFloat | None


class PredictRequest(Strict):
    """Judge a stored series, or points that are sent along; nothing of it is kept."""

    mode: Literal["detect", "forecast", "segment"] = "detect"
    model: Text | None = Field(None, description="A model's id; otherwise one is made of `spec`.")
    spec: SpecIn = Field(
        default_factory=dict,
        description="What the model is made of: `name`, `direction`, `minimum`, `threshold`, ...",
        examples=[{"name": "novelty", "direction": "up"}],
    )
    series: SeriesText | None = Field(
        None, description="A series key; with `points`, whose state of the model is used."
    )
    since: TimeParam | None = Field(None, alias="from", description="A day before `to`.")
    until: TimeParam | None = Field(None, alias="to", description="Now.")
    size: SizeParam = Field(
        "detect", description="Window size; `detect`: the windows that detectors judge."
    )
    stream: Text = LIVE
    points: list[PointIn] | None = Field(None, max_length=MAX_POINTS, description="Oldest first.")
    listeners: list[ListenerIn] | None = Field(
        None, max_length=MAX_LISTENERS, description="Of mode segment."
    )
    horizon: int | None = Field(
        None,
        ge=1,
        le=LONGEST_HORIZON,
        description="Slots ahead, of a forecast; as far as the `model` looks, or 48.",
    )
    levels: list[float] = Field(
        default_factory=lambda: [0.9],
        max_length=len(LEVELS),
        description="Levels of a forecast's intervals: " + ", ".join(map(str, LEVELS)) + ".",
    )


class _Row(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Selector(_Row):
    """Which series a model is for; globs."""

    name: str
    tags: dict[str, str]
    stream: str


class Model(_Row):
    """One version of a model."""

    id: str
    family: str
    version: int
    kind: Kind
    state: State
    selector: Selector
    spec: Spec
    features: str = Field(description="Version of the pipeline it was trained with.")
    parent: str
    created_by: str
    created_at: Timestamp
    changed_by: str
    changed_at: Timestamp
    reason: str = Field(description="Of the last change.")
    data_from: Timestamp | None
    data_until: Timestamp | None
    metrics: dict[str, float] = Field(description="Figures of its training, by name.")
    states: int = Field(description="Of how many series it has learned.")
    replaced: str = Field(description="The model that its promotion retired.")
    sha256: str


class ModelPage(BaseModel):
    """Models by family, the newest version first."""

    items: list[Model]


class Shadow(BaseModel):
    """How a shadow does beside the active model, over all partitions."""

    against: str = Field(description="The active model it is held against.")
    since: Timestamp
    until: Timestamp
    windows: int = Field(description="Judged by both.")
    both: int = Field(description="At or above the threshold by both.")
    active_only: int
    shadow_only: int
    agreement: float = Field(description="Share of windows of which both say the same.")
    active_per_week: float = Field(description="Findings in a week, of all series together.")
    shadow_per_week: float
    active_precision: float | None = Field(description="Of the latest findings, on labels.")
    shadow_precision: float | None

    @classmethod
    def of(cls, one: Comparison) -> Self:
        """The comparison as clients see it."""
        return cls(
            against=one.against,
            since=one.since,
            until=one.until,
            windows=one.windows,
            both=one.both,
            active_only=one.active_only,
            shadow_only=one.shadow_only,
            agreement=one.agreement,
            active_per_week=one.per_week(one.active_findings),
            shadow_per_week=one.per_week(one.shadow_findings),
            active_precision=one.active_quality.precision,
            shadow_precision=one.shadow_quality.precision,
        )


class LearnedSeries(_Row):
    """A series that a model has learned."""

    series: str
    size: int = Field(description="Of its windows, in ms.")
    at: Timestamp = Field(description="Start of the last window that was learned.")
    bytes: int


class ModelDetail(BaseModel):
    """A model with what it has learned and how it does."""

    model: Model
    precision: float | None = Field(description="On the labels within its data; null without any.")
    recall: float | None
    learned: list[LearnedSeries] = Field(description="By series.")
    seal: str = Field(description="`intact`, or what is wrong with it.")
    shadows: list[Shadow]


class Job(_Row):
    """A training: what became of it so far. Kept in the API's process for a while."""

    id: str
    state: Literal["queued", "running", "publishing", "done", "failed", "cancelled"]
    family: str
    kind: Kind
    by: str
    created_at: Timestamp
    started_at: Timestamp | None
    ended_at: Timestamp | None
    series: int = Field(description="How many it will learn.")
    series_done: int
    points_done: int
    progress: float = Field(description="Share of the series that are done, 0 to 1.")
    model: str = Field(description="Id of the model it made.")
    metrics: dict[str, float]
    error: str = Field(description="Why it failed.")


class JobPage(BaseModel):
    """Jobs of this tenant, the newest first."""

    items: list[Job]


class Accepted(BaseModel):
    """What will happen, and where to see it."""

    what: str
    see: str = Field(description="An address of this API.")


class JobAccepted(Accepted):
    """A training that waits for its turn."""

    job: Job


class ModelsChanged(Accepted):
    """Models that were changed, in the order in which it was published."""

    changed: list[Model]


class Rollback(_Row):
    """A roll-back as it is kept."""

    id: str
    selector: Selector
    before: Timestamp
    by: str
    at: Timestamp
    reason: str


class RollbackAccepted(Accepted):
    """A roll-back that the workers will apply."""

    rollback: Rollback
    series: list[str] = Field(description="Series seen so far that it takes in, at most 20.")
    series_count: int


class RollbackPage(BaseModel):
    """Roll-backs of this tenant, the newest first."""

    items: list[Rollback]


class JudgedPoint(BaseModel):
    """A value and what the detector thought of it before it learned it."""

    at: Timestamp
    value: float | None
    score: float | None = Field(description="Surprise; null while learning.")
    low: float | None
    high: float | None
    direction: int = Field(description="Above the band 1, below -1, inside 0.")
    shape: str
    learned: bool = Field(description="False for gaps, and where the model already was further.")


class Interval(BaseModel):
    """Where a value will lie with so much probability."""

    level: float
    low: float
    high: float


class ForecastSlot(BaseModel):
    """One slot ahead."""

    at: Timestamp = Field(description="Its start.")
    value: float = Field(description="The median.")
    intervals: list[Interval]


class Forecast(BaseModel):
    """What will be, a slot after the other."""

    learning: bool = Field(description="Whether there were too few values to say anything.")
    step_ms: int
    member: str = Field(description="The method that is believed most for the last slot.")
    slots: list[ForecastSlot]


class Prediction(BaseModel):
    """What a model says; nothing of it is kept."""

    mode: str
    source: str = Field(description="Which model, and how far it had learned.")
    series: str | None
    size_ms: int | None
    points: list[JudgedPoint] = Field(description="Of mode detect.")
    forecast: Forecast | None = Field(None, description="Of mode forecast.")
    segmented: Segmented | None = Field(None, description="Of mode segment.")
    truncated: bool = Field(description="Whether there are more windows than were looked at.")
