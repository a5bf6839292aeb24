"""A series as records of the topic ``metrics``, on a stream of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from importers.series_csv import Sample
from models.records import LIVE
from models.series import format_key
from models.topics import END_HEADER, EVENT_ID_HEADER, STREAM_HEADER

Headers = tuple[tuple[str, bytes], ...]


class MetricRecord(NamedTuple):
    """One record. ``at`` is its event time, epoch ms."""

    at: int
    key: bytes
    value: bytes
    headers: Headers


class Replay(NamedTuple):
    """Which series the samples become, and the stream they are replayed on.

    The same file replayed again on the same stream has the same event ids, so that what still is
    within the window of duplicates is dropped; under another stream name it is new.
    """

    tenant: str
    metric: str
    tags: Mapping[str, str]
    stream: str

    @property
    def key(self) -> bytes:
        """The Kafka key: the series' own."""
        return format_key(self.tenant, self.metric, self.tags).encode()

    def records(self, samples: Iterable[Sample]) -> Iterator[MetricRecord]:
        """The samples as records, in their order."""
        key = self.key
        stream = self._stream_header()
        seed = key + b"\0" + self.stream.encode()
        tags = dict(self.tags)
        for sample in samples:
            mark = f"{sample.line}\0{sample.at}\0{sample.value!r}".encode()
            event_id = blake2b(seed + b"\0" + mark, digest_size=12).hexdigest()
            value = msgspec.json.encode(
                {
                    "event_id": event_id,
                    "tenant_id": self.tenant,
                    "name": self.metric,
                    "value": sample.value,
                    "tags": tags,
                    "at": sample.at,
                }
            )
            yield MetricRecord(
                sample.at, key, value, (*stream, (EVENT_ID_HEADER, event_id.encode()))
            )

    @property
    def end_key(self) -> bytes:
        """The key of the record, without a value, that ends the stream on a partition: the tenant.

        A series' own key is none there: a stream ends for a tenant, with all of its series.
        """
        return self.tenant.encode()

    def end_headers(self) -> Headers:
        """The headers of that record."""
        return (*self._stream_header(), (END_HEADER, self.stream.encode()))

    def _stream_header(self) -> Headers:
        if self.stream == LIVE:
            return ()
        return ((STREAM_HEADER, self.stream.encode()),)
