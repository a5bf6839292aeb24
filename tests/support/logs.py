"""What a process would write to its log, through its own configuration."""

from __future__ import annotations

import io
import logging.config
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from models.logs import logging_config
from models.settings import Settings


@contextmanager
def logged(settings: Settings) -> Iterator[Callable[[], list[str]]]:
    """Log as a process with these settings does; gives the lines since they were last asked for."""
    config = logging_config(settings)
    loggers = [logging.getLogger(name) for name in ("", *config["loggers"])]
    before = [(log, log.handlers[:], log.level, log.propagate) for log in loggers]
    logging.config.dictConfig(config)
    (handler,) = logging.getLogger().handlers
    stream = io.StringIO()
    handler.setStream(stream)

    def lines() -> list[str]:
        found = stream.getvalue().splitlines()
        stream.seek(0)
        stream.truncate()
        return found

    try:
        yield lines
    finally:
        for log, handlers, level, propagate in before:
            log.handlers[:], log.propagate = handlers, propagate
            log.setLevel(level)
