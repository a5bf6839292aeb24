"""Questions to running parts: are you there, do you work? None of them raises."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import httpx
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from models.errors import ConfigurationError

_PATIENCE = 2.0


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that nobody listens on now, all different.

    They lie below the range that outgoing connections take theirs from, so that none is lost
    between here and the server's start.

    Raises:
        ConfigurationError: there are not enough of them.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(range(20_000, 30_000), 500):
        if len(found) == count:
            break
        if port_is_free(host, port):
            found.append(port)
    if len(found) < count:
        msg = f"fewer than {count} ports of 20000 to 29999 are free on {host}"
        raise ConfigurationError(msg)
    return found


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
        except OSError:
            return False
    return True


async def broker_answers(bootstrap: str) -> bool:
    """Whether a Kafka broker there gives its metadata."""
    if not await _connects(bootstrap):
        return False
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=2_000)
    try:
        await client.bootstrap()
        return bool((await client.fetch_all_metadata()).brokers())
    except (KafkaError, OSError):
        return False
    finally:
        await client.close()


async def redis_answers(host: str, port: int) -> bool:
    """Whether a server there answers a PING as Redis does."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"*1\r\n$4\r\nPING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


async def http_status(url: str) -> int | None:
    """The status of a GET, None where nothing answers."""
    try:
        async with httpx.AsyncClient(timeout=_PATIENCE, trust_env=False) as client:
            return (await client.get(url)).status_code
    except httpx.HTTPError:
        return None


async def http_json(url: str) -> Any:
    """The document that a GET gives, None where there is none."""
    try:
        async with httpx.AsyncClient(timeout=_PATIENCE, trust_env=False) as client:
            return (await client.get(url)).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return None


async def _connects(address: str) -> bool:
    """Whether anything listens there: a cheaper question than Kafka's."""
    host, _, port = address.partition(",")[0].rpartition(":")
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError, ValueError):
        return False
    writer.close()
    return True
