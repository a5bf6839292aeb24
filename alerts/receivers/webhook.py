"""Notifications as HTTP posts, one address for all: JSON, an idempotency key, patient retries."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import msgspec
import tenacity

from alerts.delivery import Backoff, GiveUp, Wait, is_retryable, next_try
from models.errors import ConfigurationError, DeliveryError, DeliveryRetryableError
from models.records import Alert, Delivery, Notification

BODY_VERSION = 1


class _Body(msgspec.Struct):
    """What a webhook receives; fields are only ever added."""

    version: int
    notification: str
    tenant: str
    receiver: str
    transition: str
    title: str
    alert: Alert


class WebhookReceiver:
    """Posts each notification to one URL.

    2xx is delivered. 408, 425, 429, 5xx and failures to connect or answer in time are tried again,
    no sooner than a Retry-After asks; any other answer is final, redirects among them: a receiver
    must not send alerts elsewhere. The URL is a secret and appears in no result.

    ``timeout`` (seconds) is for one try as a whole. ``sleep`` (seconds), ``clock`` (seconds since the
    epoch) and ``jitter`` (0 to 1) are replaced in tests.

    Raises:
        ConfigurationError: a URL that cannot be posted to.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 5.0,
        backoff: Backoff = Backoff(),  # noqa: B008  immutable
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self._url = _checked(url)
        self._timeout = timeout
        self._backoff = backoff
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter or random.Random().random
        self._client = httpx.AsyncClient(
            timeout=timeout, follow_redirects=False, transport=transport, trust_env=False
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, notification: Notification) -> Delivery:
        """Post one notification; returns what became of it, after all tries.

        Cancelling it stops waiting and sending at once; what the receiver may already have taken
        has the same idempotency key the next time.
        """
        attempts = 0
        status: int | None = None
        verdict: Wait | GiveUp = Wait(0.0)

        async def attempt() -> None:
            nonlocal attempts, status
            attempts, status = attempts + 1, None
            status, wish = await self._post(notification)
            _judge(status, wish)

        def again(state: tenacity.RetryCallState) -> bool:
            nonlocal verdict
            error = state.outcome.exception() if state.outcome is not None else None
            if not isinstance(error, DeliveryError):
                return False
            verdict = next_try(state.attempt_number, error, self._backoff, self._jitter())
            return isinstance(verdict, Wait)

        retrying = tenacity.AsyncRetrying(
            retry=again,
            wait=lambda _: verdict.seconds if isinstance(verdict, Wait) else 0.0,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            await retrying(attempt)
        except DeliveryError as exc:
            reason = verdict.reason if isinstance(verdict, GiveUp) else str(exc)
            return self._result(notification, attempts, status, reason)
        return self._result(notification, attempts, status, "")

    async def _post(self, notification: Notification) -> tuple[int, float | None]:
        """(status, Retry-After in seconds) of one try; the answer's body is not read."""
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": notification.id,
            "X-Backbeat-Alert": notification.alert.id,
        }
        request = self._client.build_request(
            "POST", self._url, content=body(notification), headers=headers
        )
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._client.send(request, stream=True)
                await response.aclose()
        except (httpx.TransportError, TimeoutError) as exc:
            msg = f"receiver did not answer: {type(exc).__name__}"
            raise DeliveryRetryableError(msg) from exc
        except httpx.HTTPError as exc:
            msg = f"receiver cannot be asked: {type(exc).__name__}"
            raise DeliveryError(msg) from exc
        wish = retry_after(response.headers.get("Retry-After"), self._clock())
        return response.status_code, wish

    def _result(
        self, notification: Notification, attempts: int, status: int | None, reason: str
    ) -> Delivery:
        return Delivery(
            notification=notification.id,
            tenant=notification.tenant,
            receiver=notification.receiver,
            alert=notification.alert.id,
            transition=notification.transition,
            outcome="failed" if reason else "delivered",
            attempts=attempts,
            at=int(self._clock() * 1000),
            status=status,
            reason=reason,
        )


def _checked(url: str) -> httpx.URL:
    """The address, if one can post there; it is not repeated in the error."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as exc:
        msg = f"the webhook's address is not a URL: {type(exc).__name__}"
        raise ConfigurationError(msg) from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        msg = f"the webhook's address must begin with http:// or https://, not {parsed.scheme!r}"
        raise ConfigurationError(msg)
    return parsed


def _judge(status: int, wish: float | None) -> None:
    """Raise unless an answer means delivered."""
    if 200 <= status < 300:
        return
    msg = f"receiver answered {status}"
    if is_retryable(status):
        raise DeliveryRetryableError(msg, wish)
    raise DeliveryError(msg)


def body(notification: Notification) -> bytes:
    """The JSON that is posted."""
    alert = notification.alert
    title = f"[{alert.severity}] {alert.summary or alert.rule} ({notification.transition})"
    content: Any = _Body(
        version=BODY_VERSION,
        notification=notification.id,
        tenant=notification.tenant,
        receiver=notification.receiver,
        transition=notification.transition,
        title=title,
        alert=alert,
    )
    return msgspec.json.encode(content)


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds that a Retry-After asks for, given as seconds or as a date; None if it asks nothing.

    ``now`` is in seconds since the epoch.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - now)
