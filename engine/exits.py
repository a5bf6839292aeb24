"""Leaving at once, with nothing acknowledged.

Unwinding through Faust would acknowledge what was not done, or wait for ever for streams to empty.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from models.errors import ConfigurationError, TopicMismatchError

log = logging.getLogger("backbeat.engine")

EXIT_CODE = 70
"""EX_SOFTWARE: the supervisor should start a new worker, which goes on from the last flush."""

REFUSED = 1
"""A setting, a topic or a broker with which no worker can start."""


def leave_now(reason: str, exc: BaseException | None = None, code: int = EXIT_CODE) -> NoReturn:
    """Say why in one line and end the process without unwinding.

    Where the program is at fault, or something from outside, a traceback follows.
    """
    is_told = isinstance(exc, (ConfigurationError, TopicMismatchError))
    log.critical("leaving with code %s: %s", code, reason, exc_info=None if is_told else exc)
    for handler in logging.getLogger().handlers:
        handler.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
