"""The running API, asked over HTTP by commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from cli.pairs import WrongCommandError
from cli.run import load_settings
from models.errors import BackbeatError

PATIENCE = 30.0


class RefusedError(BackbeatError):
    """The API does not answer, or refused; the message is its own."""


class Remote:
    """A client that speaks for one tenant; every refusal is an error with the API's own words."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Any:
        """The answer's document; None where it has none. What is None is not sent.

        Raises:
            RefusedError: the API does not answer, or answers with a problem.
            WrongCommandError: what is asked cannot be written as JSON or as an address.
        """
        json = None if body is None else _given(body)
        try:
            answer = self._client.request(
                method, f"/api/v1{path}", json=json, params=_given(params or {})
            )
        except httpx.HTTPError as exc:
            msg = f"the API on {self._client.base_url} does not answer: {exc}; see: backbeat doctor"
            raise RefusedError(msg) from exc
        except ValueError as exc:
            msg = f"what was said cannot be sent: {exc}"
            raise WrongCommandError(msg) from exc
        if answer.is_success:
            return answer.json() if answer.content else None
        raise RefusedError(_problem(answer))


def connect(url: str | None, token: str | None) -> Remote:
    """A client of the API that the settings, or a running demo, name.

    Without a ``token`` the first of BACKBEAT_API_TOKENS is used, if it is set here.

    Raises:
        WrongCommandError: the address or the token cannot be one.
    """
    settings, _ = load_settings()
    if token is None and settings.api_tokens is not None:
        token = first_token(settings.api_tokens.get_secret_value())
    if token and not (token.isascii() and token.isprintable()):
        raise WrongCommandError("a token is printable ASCII, and this one is not")
    try:
        client = httpx.Client(
            base_url=url or f"http://{settings.api_host}:{settings.api_port}",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=PATIENCE,
            trust_env=False,
        )
    except httpx.InvalidURL as exc:
        msg = f"--api {url!r} is no address: {exc}"
        raise WrongCommandError(msg) from exc
    return Remote(client)


def first_token(text: str) -> str | None:
    """The first token of BACKBEAT_API_TOKENS; None where the text is none, as the API will say."""
    import orjson

    try:
        tokens = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return next(iter(tokens), None) if isinstance(tokens, dict) else None


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _problem(answer: httpx.Response) -> str:
    """What a problem document says, or the status where the answer is none."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"the API answered {answer.status_code}"
    later = answer.headers.get("retry-after")
    return f"{detail} (try again in {later} s)" if later else str(detail)
