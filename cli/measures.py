"""Tables of the Prometheus metrics, read off registries as they are served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector


class Measure(NamedTuple):
    """One metric, as it is scraped."""

    name: str
    kind: str
    labels: Sequence[str]
    about: str


def measures(registry: CollectorRegistry) -> Iterator[Measure]:
    """Every metric of ours in a registry, in the order in which they were made."""
    for collector in list(registry._collector_to_names):  # noqa: SLF001 - nothing public lists them
        if isinstance(collector, ProcessCollector | PlatformCollector):
            continue
        for family in collector.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = getattr(collector, "_labelnames", getattr(family, "_labelnames", ()))
            yield Measure(name, family.type, labels, family.documentation)


def measures_table(registry: CollectorRegistry) -> str:
    """The metrics of a registry in Markdown."""
    lines = ["| metric | type | labels | about |", "|---|---|---|---|"]
    for m in measures(registry):
        labels = ", ".join(f"`{label}`" for label in m.labels)
        lines.append(f"| `{m.name}` | {m.kind} | {labels} | {m.about} |")
    return "\n".join(lines)


def things_table(things: Mapping[str, str]) -> str:
    """What is counted under each name, in Markdown."""
    rows = [f"| `{name}` | {about} |" for name, about in things.items()]
    return "\n".join(["| `name` | what, by `reason` |", "|---|---|", *rows])
