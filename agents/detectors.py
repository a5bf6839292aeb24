"""Which detector judges a series, and on which kind of day, as the configuration has it."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from msgspec.structs import replace

from ml import registry
from ml.calendar import ORDINARY, Calendar
from ml.directed import DirectedDetector
from ml.protocol import Detector
from models.config import SeriesConfig, group_name
from models.detection import CalendarSpec, DetectorSpec
from models.errors import ConfigurationError
from models.records import Window
from models.series import parse_key
from storage.series_rows import parse_group

SPECIAL = "#days"
"""What detectors of special days are kept under, behind the key of the ordinary ones: they cross the
changelog only on such days, and go with the group.
"""

_DEFAULT = DetectorSpec(registry.DEFAULT)


class DetectorChoice:
    """The configured detectors: which for a series, and of which kind of day.

    Raises:
        ConfigurationError: a detector, time zone or country that there is not.
    """

    def __init__(
        self, specs: Sequence[DetectorSpec] = (), calendar: CalendarSpec | None = None
    ) -> None:
        self._specs = tuple(_resolved(spec) for spec in specs)
        self._default = _resolved(_DEFAULT)
        self._calendar = None if calendar is None else Calendar(calendar)
        self._registered = {registry.create(name).name for name in registry.names()}
        self._spec_of = lru_cache(maxsize=100_000)(self._find)

    def day(self, window: Window) -> str:
        """The kind of day a window began on; empty for an ordinary one."""
        if self._calendar is None:
            return ""
        kind = self._calendar.context(window.start, window.tenant, _country(window.group))
        return "" if kind == ORDINARY else kind

    def in_calendar(self, detectors: dict[str, Detector]) -> dict[str, Detector]:
        """Those of special days (``kind/measure``) whose kind the calendar still has."""
        kinds = self._calendar.kinds if self._calendar is not None else frozenset()
        if all(name.partition("/")[0] in kinds for name in detectors):
            return detectors
        return {name: d for name, d in detectors.items() if name.partition("/")[0] in kinds}

    def choose(self, group: str, measure: str, present: Detector | None) -> Detector:
        """The series' detector: the present one if it is what is configured, else a new one.

        One that the registry does not make itself is somebody else's choice, and stays.
        """
        spec = self._spec_of(group, measure)
        if present is not None and self._is_as_configured(present, spec):
            return present
        return _make(spec)

    def configured(self, group: str, measure: str) -> Detector:
        """A new detector of a series."""
        return _make(self._spec_of(group, measure))

    def _find(self, group: str, measure: str) -> DetectorSpec:
        key = parse_group(group)
        for spec in self._specs:
            if spec.metric is not None:
                fits = key.metric and fnmatchcase(key.name, spec.metric)
            else:
                fits = not key.metric and measure in spec.measures
                fits = fits and (not spec.groups or key.name in map(group_name, spec.groups))
            if fits:
                return spec
        return self._default

    def _is_as_configured(self, present: Detector, spec: DetectorSpec) -> bool:
        direction, minimum, inner = "any", 0.0, present
        if isinstance(present, DirectedDetector):
            direction, minimum, inner = present.direction, present.minimum, present.inner
        if inner.name not in self._registered:
            return True
        return (inner.name, direction, minimum) == (spec.name, spec.direction, spec.minimum)


def _resolved(spec: DetectorSpec) -> DetectorSpec:
    """The spec with its detector's name as detectors themselves have it, with the state's version.

    Raises:
        ConfigurationError: there is no such detector or direction.
    """
    _make(spec)
    return replace(spec, name=registry.create(spec.name).name)


def _make(spec: DetectorSpec) -> Detector:
    return registry.create(spec.name, spec.direction, spec.minimum)


@lru_cache(maxsize=100_000)
def _country(group: str) -> str | None:
    return dict(parse_key(group).tags).get("country")


def choose_detectors(series: SeriesConfig, path: Path) -> DetectorChoice:
    """The detectors and days that a file configures, of which only now is known whether there are such.

    Raises:
        ConfigurationError: a detector, time zone or country that there is not, and in which file.
    """
    try:
        return DetectorChoice(series.detectors, series.calendar)
    except ConfigurationError as exc:
        msg = f"series configuration {path}: {exc}"
        raise ConfigurationError(msg) from exc
