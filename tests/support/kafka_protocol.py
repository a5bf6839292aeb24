"""One question in Kafka's protocol, asked over a bare socket: which brokers are alive?

A client library would retry, log and keep tasks of its own; a readiness probe wants one answer.
"""

import socket
import struct

_METADATA, _VERSION, _CORRELATION = 3, 4, 7


def living_brokers(host: str, port: int, timeout: float = 2.0) -> int:
    """Return how many brokers the one at `host:port` knows to be alive (Metadata, version 4).

    Raises OSError when it does not answer, or not with a whole reply.
    """
    client = b"\x00\x05probe"
    no_topics_no_creation = struct.pack(">ib", 0, 0)
    request = (
        struct.pack(">hhi", _METADATA, _VERSION, _CORRELATION) + client + no_topics_no_creation
    )
    with socket.create_connection((host, port), timeout) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _read(connection, 4))
        reply = _read(connection, size)
    correlation, _throttled, brokers = struct.unpack_from(">iii", reply)
    if correlation != _CORRELATION:
        msg = f"reply to request {correlation}, expected {_CORRELATION}"
        raise OSError(msg)
    return int(brokers)


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            msg = f"connection closed after {len(data)} of {size} bytes"
            raise ConnectionError(msg)
        data += part
    return data
