"""The demo that is running on this machine, so that other commands find it without being told."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from alerts.rules import Rule, load_rules
from models.config import SeriesConfig, load_series_config
from models.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parent.parent
DEMO_DIR = ROOT / "data" / "demo"


class Run(msgspec.Struct, frozen=True):
    """A running demo: the process that runs it, what its parts were told, and their ids."""

    pid: int
    page: str
    env: dict[str, str]
    parts: dict[str, int]

    @property
    def alive(self) -> bool:
        """Whether its process is still there."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def run_file(directory: Path = DEMO_DIR) -> Path:
    """Where a demo says that it is running."""
    return directory / "run.json"


def save_run(run: Run, directory: Path = DEMO_DIR) -> None:
    """Say that a demo is running."""
    run_file(directory).write_bytes(msgspec.json.encode(run))


def current_run(directory: Path = DEMO_DIR) -> Run | None:
    """The demo that is running now, if one is."""
    try:
        run = msgspec.json.decode(run_file(directory).read_bytes(), type=Run)
    except (OSError, msgspec.MsgspecError):
        return None
    return run if run.alive else None


def load_settings(
    environ: Mapping[str, str] = os.environ, directory: Path = DEMO_DIR
) -> tuple[Settings, Run | None]:
    """The settings of this command; those of a running demo where no broker is set.

    Raises:
        ConfigurationError: a ``BACKBEAT_*`` variable that cannot be used.
    """
    run = current_run(directory) if "BACKBEAT_BROKER" not in environ else None
    if run is None:
        return read_settings(), None
    known = {k.removeprefix("BACKBEAT_").lower(): v for k, v in run.env.items() if k not in environ}
    return read_settings(**{k: v for k, v in known.items() if k in Settings.model_fields}), run


def read_series(path: Path) -> SeriesConfig:
    """The series, with detectors and calendar, as the worker reads them. Raises ConfigurationError."""
    series = load_series_config(path)
    if series.detectors or series.calendar:
        from agents.detectors import choose_detectors  # brings River

        choose_detectors(series, path)
    return series


def check_config(settings: Settings) -> tuple[SeriesConfig, Sequence[Rule]]:
    """Series, detectors, calendar and rules as the worker reads them.

    Raises:
        ConfigurationError: it would refuse them; the message names the file.
    """
    series = read_series(ROOT / settings.series_config)
    rules, _ = load_rules(ROOT / settings.rules_config, series)
    return series, rules
