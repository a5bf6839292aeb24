"""The references name everything there is, and their examples are taken by the code that reads them.

A key, form or field that is added fails here until a page explains it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from alerts.grammar import FORMS, Operator, parse_when
from alerts.receivers.webhook import _Body
from alerts.rules import SEVERITIES, Receiver, _RuleSource, parse_rules
from models.config import (
    KEYS,
    PLAY_FIELDS,
    PLAY_PREDICATES,
    PLAY_TAGS,
    TABLES,
    Measure,
    SeriesConfig,
    parse_series_config,
)
from models.errors import ConfigurationError
from models.records import SHAPES, Alert, Delivery, Share
from tests.docs.test_blocks import EXAMPLE_SERIES, PAGES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WITH_RULES = (
    "rules.md",
    "series.md",
    "detection.md",
    "forecasting.md",
    "alerts.md",
    "attribution.md",
)
TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
WHEN = re.compile(r"^when = .*$", re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
CONDITION = re.compile(r"(\w+\([\w ]+\)|\w+) (>=|<=|>|<) [-+\d.]+\b.*|absent\(\w+\) for .*")
SERIES = parse_series_config(EXAMPLE_SERIES)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def named(text: str) -> set[str]:
    """What stands in backticks outside of code blocks, without quotes."""
    return {word.strip('"') for word in INLINE.findall(FENCED.sub("", text))}


def part(text: str, title: str) -> str:
    """A page from a heading to the next of the same depth or less."""
    depth = title.partition(" ")[0]
    _, found, rest = text.partition(f"\n{title}\n")
    assert found, f"no heading {title}"
    return re.split(rf"^#{{1,{len(depth)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


# -- everything is named ---------------------------------------------------------------------------


def test_every_key_of_a_rule_and_a_receiver_is_named():
    keys = part(page("rules.md"), "## The keys of a rule")
    assert set(_RuleSource.__struct_fields__) <= named(keys)
    assert set(SEVERITIES) <= named(keys)
    receivers = part(page("rules.md"), "## Receivers")
    assert set(Receiver.__struct_fields__) <= named(receivers)


def forms() -> list[str]:
    return re.findall(r"`([^`]+)`", FORMS)


def test_the_forms_are_those_of_the_grammar():
    """Else the test below would look for nothing."""
    heads = {form.partition("(")[0].partition(" ")[0] for form in forms()}
    assert heads == {"<measure>", "anomaly", "release", "absent", "joint", "forecast"}


@pytest.mark.parametrize("form", forms())
def test_every_form_is_shown_and_has_an_example(form: str):
    text = part(page("rules.md"), "## What `when` can say")
    _, found, after = text.partition(f"`{form}`")
    assert found, f"{form} is not in docs/rules.md"
    example = tomllib.loads(TOML.findall(after)[0])["rules"][0]
    kind = parse_rules({"rules": [example]}, SERIES)[0][0].kind
    head = form.partition("(")[0]
    assert kind == {"absent": "absence"}.get(head, head if "(" in form else "threshold")


def test_every_operator_direction_and_shape_is_named():
    text = named(part(page("rules.md"), "## What `when` can say"))
    assert {*get_args(Operator), "up", "down", *SHAPES} <= text


@pytest.mark.parametrize("kind", [Alert, Share])
def test_every_field_of_an_alert_is_explained(kind: Any):
    assert set(kind.__struct_fields__) <= named(part(page("alerts.md"), "## The fields"))


def test_every_field_of_the_webhook_and_of_a_delivery_is_named():
    text = named(part(page("alerts.md"), "## The webhook"))
    assert set(_Body.__struct_fields__) <= text
    known = {"notification", "tenant", "receiver", "alert", "transition"}
    assert set(Delivery.__struct_fields__) - known <= text


@pytest.mark.parametrize("table", sorted(KEYS))
def test_every_key_of_the_series_is_explained(table: str):
    outer = table.partition(".")[0]
    brackets = f"[[{outer}]]" if outer in {"windows", "detectors", "joint"} else f"[{outer}]"
    text = named(part(page("series.md"), f"## `{brackets}`"))
    assert set(KEYS[table]) <= text


def test_every_table_field_tag_and_predicate_is_named():
    text = named(page("series.md"))
    assert text >= PLAY_FIELDS | PLAY_PREDICATES | PLAY_TAGS
    assert {f"[{t}]" if f"[{t}]" in text else f"[[{t}]]" for t in TABLES} <= text
    kinds = Measure.__annotations__["kind"]
    assert set(re.findall(r'"(\w+)"', str(kinds))) <= text


# -- examples are taken ----------------------------------------------------------------------------


def conditions(text: str) -> Iterator[str]:
    """Every condition that a page shows: in a block, or in backticks."""
    for line in WHEN.findall(text):
        yield tomllib.loads(line)["when"]
    for word in INLINE.findall(FENCED.sub("", text)):
        inner = (
            word.removeprefix('when = "').removesuffix('"') if word.startswith("when =") else word
        )
        if "<measure>" not in inner and CONDITION.fullmatch(inner):
            yield inner


@pytest.mark.parametrize("name", WITH_RULES)
def test_conditions_on_a_page_are_understood(name: str):
    for condition in conditions(page(name)):
        parse_when(condition)


def test_conditions_are_found_where_they_stand():
    text = '`plays < 1 for 60s`, `anomaly(x) >= 2 upp`\n```text\nwhen = "absent(x) for"\n```\n'
    assert list(conditions(text)) == ["absent(x) for", "plays < 1 for 60s", "anomaly(x) >= 2 upp"]
    for wrong in ("absent(x) for", "anomaly(x) >= 2 upp"):
        with pytest.raises(ConfigurationError):
            parse_when(wrong)
    assert len(list(conditions(page("detection.md")))) >= 8
    assert len(list(conditions(page("rules.md")))) >= 8


@pytest.mark.parametrize("name", ["rules.md", "series.md", "detection.md", "forecasting.md"])
def test_blocks_of_configuration_are_taken(name: str):
    blocks = [tomllib.loads(text) for text in TOML.findall(page(name))]
    assert blocks
    for block in blocks:
        if block.keys() & {"rules", "receivers"}:
            assert parse_rules(block, SERIES)
        else:
            assert isinstance(parse_series_config({**EXAMPLE_SERIES, **block}), SeriesConfig)


PLAIN = {"when": "eror_rate > 0.15", "window": "10s", "group": [], "severity": "page"}


@pytest.mark.parametrize(
    "raw",
    [
        PLAIN | {"id": "playback-errors"},
        PLAIN | {"id": "plays-unusual", "when": "anomaly(plays) >= 2"},
    ],
)
def test_mistakes_read_as_the_page_says(raw: dict[str, Any]):
    with pytest.raises(ConfigurationError) as caught:
        parse_rules({"rules": [raw]}, SERIES)
    assert f"\n{caught.value}\n" in part(page("rules.md"), "## When something is wrong")


# -- links -----------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """What a heading is linked by."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_a_file_and_a_heading(path: Path):
    text = FENCED.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        if anchor:
            body = FENCED.sub("", file.read_text(encoding="utf-8"))
            headings = re.findall(r"^#+ (.*)$", body, re.MULTILINE)
            assert anchor in map(slug, headings), target


def test_the_references_are_found_from_the_start():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    read_on = readme.partition("## Read on")[2]
    for name in ("rules.md", "alerts.md", "series.md"):
        assert f"(docs/{name})" in read_on
        assert f"](docs/{name}" in readme.partition("## Read on")[0]
    for name in ("detection.md", "forecasting.md"):
        assert "](rules.md" in page(name)
