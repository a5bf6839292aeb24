"""From a version of an alert to the records that leave: an ordered list of pure stages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from alerts.rules import Receiver
from models.flow import Headers, Output
from models.records import Alert, Notification, to_json
from models.topics import ALERT_ID_HEADER, STREAM_HEADER


class Transition(NamedTuple):
    """A new version of an alert; ``named`` are the receivers its rule names (none: by severity)."""

    alert: Alert
    named: Sequence[str]


Stage = Callable[[Transition, Sequence[Receiver]], list[Output]]
"""A transition, and the receivers there are, to the records it adds."""


def publish(transition: Transition, _: Sequence[Receiver]) -> list[Output]:
    """The version itself, to ``alerts``."""
    alert = transition.alert
    return [Output("alerts", alert.tenant.encode(), to_json(alert), _headers(alert))]


def notify(transition: Transition, receivers: Sequence[Receiver]) -> list[Output]:
    """One notification for each receiver that takes it; none of an alert that another speaks for."""
    alert = transition.alert
    if alert.parent:
        return []
    outputs = []
    for receiver in receivers:
        if not takes(receiver, transition):
            continue
        message = Notification(
            id=notification_id(alert, receiver.name),
            tenant=alert.tenant,
            receiver=receiver.name,
            transition=alert.state,
            alert=alert,
            created_at=alert.seen_at,
        )
        key = alert.tenant.encode()
        outputs.append(Output("notifications", key, to_json(message), _headers(alert)))
    return outputs


STAGES: tuple[Stage, ...] = (publish, notify)
"""Every transition goes through these in this order. Silences, inhibition and grouping belong
between the two."""


def takes(receiver: Receiver, transition: Transition) -> bool:
    """Whether a receiver wants to hear of a transition: named by the rule, or else by severity;
    and only of the streams it asks for.
    """
    alert = transition.alert
    if alert.stream not in receiver.streams:
        return False
    if transition.named:
        return receiver.name in transition.named
    return alert.severity in receiver.severities


def notification_id(alert: Alert, receiver: str) -> str:
    """The same for the same transition to the same receiver in every run: the idempotency key."""
    parts = f"{alert.id}\0{alert.state}\0{receiver}"
    return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()


def _headers(alert: Alert) -> Headers:
    return ((ALERT_ID_HEADER, alert.id.encode()), (STREAM_HEADER, alert.stream.encode()))
