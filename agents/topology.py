"""The worker, wired: this file reads as the data flows.

plays, metrics -> ingest -> partials -> windows -> windows, findings, evidence
                  ingest -> features -> segments -> segments, segment-descriptions, metrics
evidence -> attribution -> findings (with their causes), and windows and findings of what is
            judged together and of tracks in their first week
findings -> alerts -> alerts, notifications -> notify -> deliveries
windows, findings, alerts, deliveries -> sinks

Not drawn: samples of what is judged together go straight from ingest to ``evidence``; ``late`` and
``dead-letters``; the tables that the judges read (``rules``, ``models``), and what they write of
models (``models``, ``audit``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from agents import alerts, attribution, ingest, notify, segments, sinks, windows
from agents.attributing import AttributionConfig
from agents.detectors import DetectorChoice, choose_detectors
from agents.journal import Journal
from agents.judging import Models, RuleBook, RuleJudge
from agents.meeting import MeetingConfig
from agents.releases import ReleasesConfig
from alerts.delivery import Backoff
from alerts.incidents import IncidentConfig
from alerts.receivers import Receiver as Sender
from alerts.receivers.webhook import WebhookReceiver
from alerts.rules import Receiver, load_rules, rule_from_json
from engine import EngineApp
from models.config import SeriesConfig, load_series_config
from models.learning import decode_learning
from models.logs import logging_config
from models.settings import Settings
from models.topics import TOPICS
from storage.factory import create_sink
from tables.ingest import IngestConfig
from tables.windowing import WindowsConfig

log = logging.getLogger("backbeat.worker")

WINDOWS_AT_ONCE = 2_000
"""Windows published in one batch: about half a second of work, which other steps wait for."""

SINKS = ("sqlite", "influxdb", "redis")


def create_app(settings: Settings) -> EngineApp:
    """The worker with the roles that the settings name.

    Raises:
        ConfigurationError: settings, series or rules that cannot work.
    """
    series = load_series_config(settings.series_config)
    choice = choose_detectors(series, settings.series_config)
    rules, receivers = load_rules(settings.rules_config, series)
    app = EngineApp(settings, topics=list(TOPICS.values()), logging_config=logging_config(settings))
    count = app.engine.metrics
    journal = Journal(count)
    judges = {"windows", "alerts"} & set(settings.roles)
    book = RuleBook(rules, app.global_store("rules", rule_from_json) if judges else None)
    sources = {"plays": settings.partitions, "metrics": settings.partitions}
    if "ingest" in settings.roles:
        ingest.declare(
            app,
            IngestConfig(
                series=series,
                tenants=frozenset(settings.tenants),
                partials=settings.partitions,
                sources=settings.partitions,
                forwarding=True,
                counters=count,
            ),
            journal,
        )
    if "windows" in settings.roles:
        windows.declare(
            app,
            WindowsConfig(series=series, sources=sources, counters=count, budget=WINDOWS_AT_ONCE),
            create_judge(app, series, choice, book),
            journal,
        )
    if "alerts" in settings.roles:
        limit = series.limits.entities_per_tenant
        meeting = MeetingConfig(series.joints, settings.partitions, limit, book, count)
        releases = ReleasesConfig(series.limits.releases_per_tenant, book, count)
        judged = AttributionConfig(settings.partitions, count, meeting, releases)
        attribution.declare(app, judged, journal)
        alerts.declare(app, IncidentConfig(receivers=receivers, counters=count), journal)
    if "segments" in settings.roles:
        segments.declare(app, count, journal)
    if "notify" in settings.roles:
        notify.declare(app, senders(receivers, settings))
    for name in SINKS:
        if name in settings.roles:
            sinks.declare(app, name, create_sink(name, settings, series))
    return app


def create_judge(
    app: EngineApp, series: SeriesConfig, choice: DetectorChoice, book: RuleBook
) -> RuleJudge:
    """The judge of windows: by the rules and the configuration, overruled by models in force."""
    records = app.global_store("models", decode_learning)
    models = Models(records, app.engine.metrics, choice)
    return RuleJudge(book, (w.size for w in series.windows), choice, models)


def senders(receivers: Sequence[Receiver], settings: Settings) -> dict[str, Sender]:
    """What can send, by receiver name; a receiver without an address in the settings is left out."""
    if settings.webhook_url is None:
        return {}
    backoff = Backoff(attempts=settings.webhook_attempts)
    url = settings.webhook_url.get_secret_value()
    return {
        receiver.name: WebhookReceiver(url, timeout=settings.webhook_timeout, backoff=backoff)
        for receiver in receivers
    }
