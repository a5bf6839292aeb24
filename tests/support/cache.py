"""The git-ignored cache of server programs that no Python package carries.

Filled once, on first use, from the package registries of Java and Go by their own clients. A lock
file lets concurrent test runs wait for each other, and a folder appears only when it is complete.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import ServerUnavailableError

ROOT = Path(__file__).parents[2]
_BUILD_WITHIN = 1200.0


def cache_folder() -> Path:
    """Where server programs are kept: BACKBEAT_SERVER_CACHE, or .cache/servers."""
    return Path(os.environ.get("BACKBEAT_SERVER_CACHE") or ROOT / ".cache" / "servers")


def cached(name: str, fill: Callable[[Path], None]) -> Path:
    """Return the cache's folder `name`, after `fill(folder)` has made it if it is not there yet."""
    cache = cache_folder()
    complete = cache / name
    if complete.is_dir():
        return complete
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{name}.lock"):
        if not complete.is_dir():
            partial = cache / f"{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            fill(partial)
            partial.rename(complete)
    return complete


def tool(name: str) -> str:
    """Return the path of a program on the PATH, or raise ServerUnavailableError."""
    path = shutil.which(name)
    if path is None:
        msg = f"{name} is not on the PATH"
        raise ServerUnavailableError(msg)
    return path


def build(command: list[str], env: Mapping[str, str] | None = None) -> None:
    """Run one build step; a failure means that the server cannot be had here."""
    result = subprocess.run(
        command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, timeout=_BUILD_WITHIN,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        tail = (result.stdout + result.stderr)[-2000:]
        msg = f"{Path(command[0]).name} failed with code {result.returncode}: {tail}"
        raise ServerUnavailableError(msg)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
