"""Labels: making them, listing them, and holding alerts against them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from api.problems import InvalidRequestError, UnavailableError, UnknownResourceError
from api.schemas.labels import (
    LabelIn,
    LabelParams,
    LabelReport,
    Quality,
    ReportParams,
    SeriesThreshold,
)
from api.services.history import HistoryReader
from api.services.models import READ_BACK_S, ModelKeeper
from api.services.producer import BrokerUnavailableError, EventProducer, Message
from api.services.series import own_key, span
from ml import registry
from ml.labels import Claim, quality, quality_by_detector, quality_by_rule, threshold_for
from ml.life import selects
from models.learning import Label, Model
from models.records import LIVE, Alert, to_json
from models.series import parse_key
from storage.compacted import MemoryTable
from storage.cursors import decode_cursor, encode_cursor
from storage.protocols import AlertFilter, Queries, SeriesInfo

MONTH_MS = 30 * 86_400_000
MAX_ALERTS = 5_000
"""Alerts that one report looks at, the newest."""

MAX_WINDOWS = 10_000
"""Windows of a stretch that its peak is looked for in: a week of minutes."""

_PAGE = 500


class LabelKeeper:
    """The labels that the topic holds."""

    def __init__(
        self,
        table: MemoryTable | None,
        producer: EventProducer | None,
        queries: Queries,
        history: HistoryReader,
        models: ModelKeeper,
    ) -> None:
        """Without a table or a producer what needs them is refused (503)."""
        self._table = table
        self._producer = producer
        self._queries = queries
        self._history = history
        self._models = models

    def all(self, tenant: str) -> list[Label]:
        """A tenant's labels."""
        if self._table is None or not self._table.is_complete:
            msg = "the labels have not been read from their topic yet"
            raise UnavailableError(msg)
        return [label for label in self._table.values() if label.tenant == tenant]

    def page(self, tenant: str, params: LabelParams) -> tuple[list[Label], str | None]:
        """Labels that fit, the newest stretch first, and where the next page begins."""
        after = decode_cursor(params.cursor, tuple[int, str]) if params.cursor else None
        found = [
            label
            for label in self.all(tenant)
            if params.series in {None, label.series}
            and params.verdict in {None, label.verdict}
            and (params.since is None or label.until > params.since)
            and (params.until is None or label.since < params.until)
            and (after is None or _place(label) > after)
        ]
        page = sorted(found, key=_place)[: params.limit]
        return page, encode_cursor(_place(page[-1])) if len(found) > len(page) else None

    async def add(self, tenant: str, given: LabelIn, now: int) -> Label:
        """Publish a label; one of the same stretch and alert takes the place of the former.

        Raises:
            ProblemError: the alert or series is not there (404); or series and times are not those
                of the alert, or the times lie ahead, which only what is expected can (422).
        """
        self.all(tenant)
        alert = await self._alert(tenant, given.alert) if given.alert else None
        if alert is not None and given.series not in {None, alert.series}:
            msg = f"alert {alert.id!r} is of series {alert.series!r}; leave series out"
            raise InvalidRequestError(msg)
        series = alert.series if alert is not None else given.series or ""
        own_key(tenant, series)
        since, until = _stretch(given, alert, now)
        info = await self._seen(tenant, series, alert)
        identity = f"{series}\n{since}\n{until}\n{given.alert}" if alert is None else given.alert
        label = Label(
            tenant=tenant,
            id=hashlib.sha256(identity.encode()).hexdigest()[:16],
            series=series,
            since=since,
            until=until,
            verdict=given.verdict,
            author=given.author or tenant,
            at=now,
            reason=given.reason,
            alert=given.alert,
            rule=given.rule or (alert.rule if alert else ""),
            detector=given.detector or (self._detector(alert) if alert else ""),
            peak=None if info is None else await self._peak(info, since, until),
        )
        await self._publish(label.tenant, label.id, label)
        return label

    async def remove(self, tenant: str, label_id: str) -> None:
        """Forget a label.

        Raises:
            UnknownResourceError: the tenant has none of that id.
        """
        if all(label.id != label_id for label in self.all(tenant)):
            msg = f"there is no label {label_id!r}"
            raise UnknownResourceError(msg)
        await self._publish(tenant, label_id, None)

    async def report(self, tenant: str, params: ReportParams, now: int) -> LabelReport:
        """Alerts of a time against the labels that touch it; retracted ones claim nothing."""
        since, until = span(params.since, params.until, now, MONTH_MS, ("since", "until"))
        alerts, truncated = await self._alerts(tenant, since, until)
        labels = [la for la in self.all(tenant) if la.since < until and since < la.until]
        claims = [self._claim(alert, now) for alert in alerts if alert.state != "retracted"]
        return LabelReport(
            since=since,
            until=until,
            total=Quality.of("*", quality(claims, labels)),
            rules=[Quality.of(n, q) for n, q in quality_by_rule(claims, labels).items()],
            detectors=[Quality.of(n, q) for n, q in quality_by_detector(claims, labels).items()],
            thresholds=[
                SeriesThreshold(series=series, **threshold_for(series, labels)._asdict())
                for series in sorted({la.series for la in labels if la.peak is not None})
            ],
            truncated=truncated,
        )

    async def _alert(self, tenant: str, alert_id: str) -> Alert:
        alert = await self._queries.alert(tenant, alert_id)
        if alert is None:
            msg = f"there is no alert {alert_id!r}"
            raise UnknownResourceError(msg)
        return alert

    async def _alerts(self, tenant: str, since: int, until: int) -> tuple[list[Alert], bool]:
        where, found = AlertFilter(since=since, until=until), list[Alert]()
        cursor: str | None = None
        while len(found) < MAX_ALERTS:
            page, cursor = await self._queries.alerts(tenant, where, _PAGE, cursor)
            found += page
            if cursor is None:
                return found, False
        return found, True

    async def _seen(self, tenant: str, series: str, alert: Alert | None) -> SeriesInfo | None:
        """The series, of the alert's stream, which may be gone; else the live one before a replay's."""
        if alert is not None:
            return await self._history.one(tenant, series, alert.stream)
        for stream in (LIVE, None):
            if info := await self._history.one(tenant, series, stream):
                return info
        msg = f"there is no series {series!r}"
        raise UnknownResourceError(msg)

    async def _peak(self, info: SeriesInfo, since: int, until: int) -> float | None:
        """The highest score of windows that touch the stretch."""
        size = self._history.size_of(info)
        found = await self._history.windows(info, size, since - size + 1, until, MAX_WINDOWS)
        return max((w.score for w in found if w.score is not None), default=None)

    def _claim(self, alert: Alert, now: int) -> Claim:
        return Claim(
            alert.series, alert.started_at, _end(alert, now), alert.id, alert.rule,
            self._detector(alert),
        )  # fmt: skip

    def _detector(self, alert: Alert) -> str:
        """Which detector judged an alert's series: the active model's, else the one that ships."""
        if alert.kind != "anomaly":
            return ""
        name = parse_key(alert.series).name
        for model in self._active(alert.tenant):
            if selects(model.selector, alert.tags, name, alert.stream):
                return str(model.spec.get("name", registry.DEFAULT))
        return registry.DEFAULT

    def _active(self, tenant: str) -> Sequence[Model]:
        """As the workers have it: of several for a series the one promoted last."""
        models = self._models.models(tenant).values()
        found = [m for m in models if m.state == "active" and m.kind == "detector"]
        return sorted(found, key=lambda m: (m.activated_at, m.id), reverse=True)

    async def _publish(self, tenant: str, label_id: str, label: Label | None) -> None:
        key = f"{tenant}:{label_id}"
        value = None if label is None else to_json(label)
        try:
            if self._producer is None:
                msg = "this API was started without a broker"
                raise BrokerUnavailableError(msg)
            await self._producer.publish("labels", [Message(key.encode(), value)])
        except BrokerUnavailableError as exc:
            msg = f"{exc}; repeat the request: the same label replaces itself"
            raise UnavailableError(msg) from exc
        if self._table is not None:
            await self._table.until(lambda known: known.get(key) == label, READ_BACK_S)


def _place(label: Label) -> tuple[int, str]:
    """Where a label stands in the list."""
    return -label.since, label.id


def _end(alert: Alert, now: int) -> int:
    """When an alert's stretch ends: now, while it is firing."""
    end = alert.resolved_at if alert.resolved_at is not None else max(now, alert.updated_at)
    return max(end, alert.started_at + 1)


def _stretch(given: LabelIn, alert: Alert | None, now: int) -> tuple[int, int]:
    since, until = given.since, given.until
    if alert is not None:
        since = alert.started_at if since is None else since
        until = _end(alert, now) if until is None else until
    if since is None or until is None or since >= until:
        msg = "since is not before until; nothing lies between them"
        raise InvalidRequestError(msg)
    end = now if alert is None else _end(alert, now)
    if alert is not None and not (since < end and alert.started_at < until):
        msg = f"the stretch does not meet alert {alert.id!r}; leave since and until out"
        raise InvalidRequestError(msg)
    if until > max(now, end) and given.verdict != "expected":
        msg = "until lies ahead; only what is expected can be said beforehand"
        raise InvalidRequestError(msg)
    return since, until
