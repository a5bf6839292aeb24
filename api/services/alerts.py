"""Reading incidents."""

from __future__ import annotations

from api.problems import UnknownResourceError
from api.schemas.alerts import Alert, AlertDetail, AlertPage, Delivery
from api.schemas.params import AlertParams
from storage.protocols import AlertFilter, Queries


class AlertReader:
    """The incidents of one store."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def page(self, tenant: str, params: AlertParams) -> AlertPage:
        """The incidents that fit, newest first."""
        where = AlertFilter(
            state=params.state,
            rule=params.rule,
            severity=params.severity,
            series=params.series,
            stream=params.stream,
            since=params.since,
            until=params.until,
            tags=params.tags,
        )
        alerts, cursor = await self._queries.alerts(tenant, where, params.limit, params.cursor)
        return AlertPage.of(alerts, cursor)

    async def detail(self, tenant: str, alert_id: str) -> AlertDetail:
        """One incident with its history and deliveries.

        Raises:
            UnknownResourceError: the tenant has no such incident.
        """
        alert = await self._queries.alert(tenant, alert_id)
        if alert is None:
            msg = f"there is no alert {alert_id!r}"
            raise UnknownResourceError(msg)
        history = await self._queries.alert_history(tenant, alert_id)
        deliveries = await self._queries.deliveries(tenant, alert_id)
        return AlertDetail(
            alert=Alert.of(alert),
            history=[Alert.of(a) for a in history],
            deliveries=[Delivery.of(d) for d in deliveries],
        )
