"""The table of the API's addresses, read off its OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api.app import create_api
from models.config import load_series_config
from models.settings import Settings
from storage.feeds import MemoryFeed
from storage.memory import MemoryStore

_SERIES = Path(__file__).parents[1] / "config" / "series.toml"


def openapi_document() -> dict[str, Any]:
    """The document that the API serves, of an API that is made and never started."""
    series = load_series_config(_SERIES)
    settings = Settings(api_host="127.0.0.1", api_tokens=None)
    app = create_api(settings, queries=MemoryStore(series), feed=MemoryFeed("docs"), series=series)
    return app.openapi()


def addresses_table(document: Mapping[str, Any]) -> str:
    """Method, path, summary and what each call needs, in Markdown."""
    lines = ["| method | path | what | needs |", "|---|---|---|---|"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needs = _needs(operation.get("security", ()))
            lines.append(f"| {method.upper()} | `{path}` | {operation['summary']} | {needs} |")
    return "\n".join(lines)


def _needs(security: Any) -> str:
    names = [{"bearer": "token", "session": "cookie"}[name] for way in security for name in way]
    return " or ".join(names) or "nothing"
