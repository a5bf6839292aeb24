"""Asking InfluxDB 1.8 by InfluxQL over HTTP, which every version of it answers.

The client library writes; for reading it knows only Flux, which 1.8 leaves off by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx
import msgspec

from models.errors import StorageError, StorageUnavailableError


class Bucket(NamedTuple):
    """A database and one of its retention policies: what version 2 of the API calls a bucket."""

    database: str
    policy: str

    def __str__(self) -> str:
        return f"{self.database}/{self.policy}"


def parse_bucket(text: str) -> Bucket:
    """``database/policy``, or a database with its policy ``autogen``."""
    database, _, policy = text.partition("/")
    return Bucket(database, policy or "autogen")


def identifier(name: str) -> str:
    """A name quoted for InfluxQL."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Result(NamedTuple):
    """One table of an answer: rows that share their tags. Times are epoch ms."""

    tags: Mapping[str, str]
    rows: list[dict[str, Any]]


class InfluxQL:
    """A connection to ``/query``; ``token`` is ``user:password``. Connects when first used."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        user, _, password = (token or "").partition(":")
        auth = httpx.BasicAuth(user, password) if token else None
        self._client = httpx.AsyncClient(base_url=url, auth=auth, timeout=timeout, trust_env=False)

    async def close(self) -> None:
        """Release the connections. Idempotent."""
        await self._client.aclose()

    async def ask(
        self, statement: str, values: Mapping[str, object] | None = None, database: str = ""
    ) -> list[Result]:
        """The tables that answer one statement. ``values`` take the place of ``$name`` in it.

        Raises:
            StorageUnavailableError: no answer, 429, 5xx, or no such database or policy yet.
            StorageError: anything else but an answer.
        """
        form = {"q": statement, "epoch": "ms", "db": database}
        if values:
            form["params"] = msgspec.json.encode(values).decode()
        try:
            response = await self._client.post("/query", data=form)
        except httpx.HTTPError as exc:
            msg = f"InfluxDB does not answer: {exc!r}"
            raise StorageUnavailableError(msg) from exc
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            msg = f"InfluxDB answers {response.status_code}: {response.text[:500]}"
            raise StorageUnavailableError(msg)
        if response.is_error:
            msg = f"InfluxDB refuses {statement!r}: {response.status_code} {response.text[:500]}"
            raise StorageError(msg)
        (result,) = response.json()["results"]
        return _tables(result, statement)


def _tables(result: dict[str, Any], statement: str) -> list[Result]:
    if error := result.get("error"):
        passing = error.startswith(("database not found", "retention policy not found"))
        msg = f"InfluxDB refuses {statement!r}: {error}"
        raise (StorageUnavailableError if passing else StorageError)(msg)
    return [
        Result(
            table.get("tags", {}),
            [dict(zip(table["columns"], row, strict=True)) for row in table.get("values", [])],
        )
        for table in result.get("series", [])
    ]
