"""Who asks, and for which tenant: the only place that turns a credential into a tenant.

A token travels in the ``Authorization`` header, or, for browsers, in a cookie that scripts cannot
read. ``EventSource`` and ``WebSocket`` cannot send headers but do send cookies; a token in the
address is not taken, for addresses end up in logs. The cookie is ``SameSite=Strict`` and counts
for reading alone: whatever changes something needs the header, so no other site can do it.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from api.problems import ForbiddenError, MisdirectedError, UnauthorizedError
from models.errors import ConfigurationError
from models.settings import Settings

COOKIE = "backbeat_session"
_MIN_TOKEN = 16
"""Shorter tokens can be guessed over the network; they are refused at start."""


class Principal(NamedTuple):
    """Whom a request speaks for. Roles would be added here."""

    tenant: str


class Authenticator(Protocol):
    """Turns a credential into a principal. Signed tokens would be another implementation."""

    required: bool
    """Whether a request without a credential is refused."""

    def principal(self, token: str | None) -> Principal:
        """Whose token it is; raises ``UnauthorizedError``."""
        ...


class TokenAuthenticator:
    """Fixed tokens, compared in constant time: no reply is quicker for a better guess."""

    required = True

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = [(token.encode(), tenant) for token, tenant in tokens.items()]

    def principal(self, token: str | None) -> Principal:
        if token is None:
            msg = "no token was sent"
            raise UnauthorizedError(msg)
        given, found = token.encode(), None
        for known, tenant in self._tokens:
            if hmac.compare_digest(given, known):
                found = tenant
        if found is None:
            msg = "the token is not known"
            raise UnauthorizedError(msg)
        return Principal(found)


class OpenAuthenticator:
    """No tokens: everybody who can reach the loopback address is the one tenant."""

    required = False

    def __init__(self, tenant: str) -> None:
        self._principal = Principal(tenant)

    def principal(self, token: str | None) -> Principal:
        return self._principal


def create_authenticator(settings: Settings) -> Authenticator:
    """What the settings ask for.

    Raises:
        ConfigurationError: tokens that cannot be used, or none while others could reach the API.
    """
    if settings.api_tokens is not None:
        return TokenAuthenticator(_parse_tokens(settings.api_tokens.get_secret_value(), settings))
    if not is_loopback(settings.api_host):
        msg = (
            f"the API would listen on {settings.api_host} without tokens; set BACKBEAT_API_TOKENS "
            'to a JSON object such as {"a-long-random-token": "tenant"}, or BACKBEAT_API_HOST '
            "to 127.0.0.1"
        )
        raise ConfigurationError(msg)
    return OpenAuthenticator(settings.tenants[0])


def _parse_tokens(text: str, settings: Settings) -> dict[str, str]:
    """Errors never quote a token."""
    try:
        tokens = json.loads(text)
    except ValueError:
        msg = 'BACKBEAT_API_TOKENS is not JSON; it would be {"a-long-random-token": "tenant"}'
        raise ConfigurationError(msg) from None
    if not isinstance(tokens, dict) or not tokens:
        msg = 'BACKBEAT_API_TOKENS must be an object like {"a-long-random-token": "tenant"}'
        raise ConfigurationError(msg)
    for number, (token, tenant) in enumerate(tokens.items(), 1):
        if tenant not in settings.tenants:
            msg = f"token {number} of BACKBEAT_API_TOKENS is for {tenant!r}; tenants are {list(settings.tenants)}"
            raise ConfigurationError(msg)
        if len(token) < _MIN_TOKEN or not token.isascii() or not token.isprintable():
            msg = f"token {number} of BACKBEAT_API_TOKENS must be {_MIN_TOKEN} or more printable ASCII characters"
            raise ConfigurationError(msg)
    return tokens


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bearer_token(headers: Headers) -> str | None:
    """The token in the ``Authorization`` header."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def check_loopback(connection: HTTPConnection) -> None:
    """Refuse other names than loopback's, and other machines: what guards an API without tokens.

    The server may listen where the settings do not say, and a name is easily sent.

    Raises:
        MisdirectedError: the Host header, or who asks, is of somewhere else.
    """
    host = urlsplit(f"//{connection.headers.get('host', '')}").hostname or ""
    if not is_loopback(host):
        msg = f"this API answers to localhost, not to {host!r}; set BACKBEAT_API_TOKENS to open it"
        raise MisdirectedError(msg)
    client = connection.client  # None: a socket of this machine
    if client is not None and not is_loopback(client.host):
        msg = "this API answers to its own machine only; set BACKBEAT_API_TOKENS to open it"
        raise MisdirectedError(msg)


def check_origin(headers: Headers) -> None:
    """Refuse a browser that speaks for a page of another origin; other clients send none.

    Raises:
        ForbiddenError: the Origin header is not this host's.
    """
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        msg = f"a page of {origin} may not use this API"
        raise ForbiddenError(msg)
