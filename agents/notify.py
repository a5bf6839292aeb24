"""Notifications are sent only from their committed topic; what became of each goes to deliveries."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from aiokafka.structs import ConsumerRecord

from alerts.receivers import Receiver
from engine import EngineApp, Follower
from engine.follower import Records
from models.flow import Output
from models.logs import Unreadable
from models.records import Delivery, decode_notification, to_json
from models.topics import ALERT_ID_HEADER

log = logging.getLogger("backbeat.notify")
_unreadable = Unreadable(log, "record is no notification")


def declare(app: EngineApp, receivers: Mapping[str, Receiver]) -> None:
    """Have notifications sent, one after the other, by the receivers of these names."""
    settings = app.settings

    async def send_all(records: Records) -> None:
        for record in (r for batch in records.values() for r in batch):
            if (delivery := await send(record, receivers, app)) is not None:
                await app.engine.flush.publish([_output(delivery)], app.engine.now())

    follower = Follower(
        settings.bootstrap,
        f"{settings.app_id}-notify",
        [settings.topic("notifications")],
        send_all,
        max_records=20,  # committed together: a crash repeats at most these, under their keys
        session_timeout=settings.session_timeout,
    )
    app.on_engine_start(follower.start)
    app.on_engine_stop(follower.stop)
    app.engine.followers.append(follower)


async def send(
    record: ConsumerRecord, receivers: Mapping[str, Receiver], app: EngineApp
) -> Delivery | None:
    """Send one notification; None if the record is not one, which is counted."""
    try:
        notification = decode_notification(record.value)
    except Exception as exc:  # noqa: BLE001 - foreign bytes must not stop the notifier
        app.engine.metrics.count("notification", "undecodable")
        _unreadable.write(record.topic, exc, partition=record.partition, offset=record.offset)
        return None
    receiver = receivers.get(notification.receiver)
    if receiver is None:
        delivery = Delivery(
            notification=notification.id, tenant=notification.tenant,
            receiver=notification.receiver, alert=notification.alert.id,
            transition=notification.transition, outcome="skipped", attempts=0,
            at=app.engine.now(), reason="receiver has no address in the settings",
        )  # fmt: skip
    else:
        delivery = await receiver.send(notification)
    app.engine.metrics.count("notification", delivery.outcome)
    log.info(
        "notification %s to %s: %s", delivery.transition, delivery.receiver, delivery.outcome,
        extra={"alert_id": delivery.alert, "notification_id": delivery.notification},
    )  # fmt: skip
    return delivery


def _output(delivery: Delivery) -> Output:
    headers = ((ALERT_ID_HEADER, delivery.alert.encode()),)
    return Output("deliveries", delivery.tenant.encode(), to_json(delivery), headers)
