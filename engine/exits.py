"""Leaving at once, with nothing acknowledged.

Unwinding through Faust would acknowledge what was not done, or wait for ever for streams to empty.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

log = logging.getLogger("backbeat.engine")

EXIT_CODE = 70
"""EX_SOFTWARE: the supervisor should start a new worker, which goes on from the last flush."""


def leave_now(reason: str, exc: BaseException | None = None, code: int = EXIT_CODE) -> NoReturn:
    """Say why in one line and end the process without unwinding."""
    log.critical("leaving with code %s: %s", code, reason, exc_info=exc)
    for handler in logging.getLogger().handlers:
        handler.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
