"""What identifies a row of the incidents' history, and which incidents a filter lets through.

Shared by the stores that keep it, so that they agree. Pure.
"""

from __future__ import annotations

from models.records import Alert, Delivery, Finding
from storage.protocols import AlertFilter

STATES = ("pending", "firing", "resolved", "retracted")
"""The states of a finding in the order they come in, which breaks ties of time."""


def finding_key(finding: Finding) -> tuple[str, str, int, int]:
    """(tenant, incident, at, state): one transition; a higher revision of it replaces it."""
    return finding.tenant, finding.incident, finding.at, STATES.index(finding.state)


def delivery_key(delivery: Delivery) -> tuple[str, str, int, str, str]:
    """(tenant, alert, at, notification, outcome): a delivery has no revisions, only repetitions."""
    return delivery.tenant, delivery.alert, delivery.at, delivery.notification, delivery.outcome


def matches(alert: Alert, where: AlertFilter) -> bool:
    """Whether a filter lets an incident through."""
    return (
        where.state in {None, alert.state}
        and where.rule in {None, alert.rule}
        and where.severity in {None, alert.severity}
        and where.series in {None, alert.series}
        and where.stream in {None, alert.stream}
        and (where.since is None or alert.started_at >= where.since)
        and (where.until is None or alert.started_at < where.until)
        and where.tags.items() <= alert.tags.items()
    )
