"""Which kind of day it is: ordinary, a public holiday, or an event of one's own calendar.

A day of a kind of its own is compared with days of that kind, and none of it is learned as
ordinary. Pure: the holidays are computed (``holidays``), time is an argument.
"""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import holidays

from models.detection import CalendarSpec, EventSpec
from models.errors import ConfigurationError

ORDINARY = "ordinary"
HOLIDAY = "holiday"

_QUARTER = 900_000
"""Ms of a quarter of an hour, to which all zones' offsets are whole: asked once for each."""

_REMEMBERED = 20_000
_WEEK = dt.timedelta(days=7)


class Calendar:
    """The kinds of days, from the configuration.

    Raises:
        ConfigurationError: a time zone or country that is not known, by its name.
    """

    def __init__(self, spec: CalendarSpec) -> None:
        try:
            self._zone = ZoneInfo(spec.timezone)
        except (KeyError, ValueError, OSError) as exc:
            msg = f"calendar: time zone {spec.timezone!r} is not known; they are like Europe/Paris"
            raise ConfigurationError(msg) from exc
        self._holidays = {code: _public_holidays(code) for code in spec.countries}
        self._events = spec.events
        self._known: dict[tuple[int, str, str], str] = {}

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of days there can be beside ordinary ones."""
        own = {event.name for event in self._events}
        return frozenset(own | {HOLIDAY} if self._holidays else own)

    def context(self, at: int, tenant: str = "", country: str | None = None) -> str:
        """The kind of day at an epoch ms: an event's name, "holiday" or "ordinary".

        Of several events the first that was configured counts, and events before holidays. A
        ``country`` has only its own holidays, and only if it was configured; None has those of all
        configured ones. Quarters of an hour are the finest that is told apart.
        """
        asked = (at // _QUARTER, tenant, country or "")
        known = self._known.get(asked)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[asked] = self._look_up(at - at % _QUARTER, tenant, country)
        return known

    def _look_up(self, at: int, tenant: str, country: str | None) -> str:
        local = dt.datetime.fromtimestamp(at / 1000, self._zone).replace(tzinfo=None)
        for event in self._events:
            if event.tenant in {"", tenant} and _covers(event, local):
                return event.name
        for code, days in self._holidays.items():
            if country in {None, code} and local.date() in days:
                return HOLIDAY
        return ORDINARY


def _covers(event: EventSpec, local: dt.datetime) -> bool:
    since = local - event.start
    if since < dt.timedelta():
        return False
    return (since % _WEEK if event.weekly else since) < event.end - event.start


def _public_holidays(code: str) -> holidays.HolidayBase:
    msg = f"calendar: no holidays are known of {code!r}; countries are like FR, DE, US"
    if len(code) != 2:  # FRA would be found, and no tag ever be like it
        raise ConfigurationError(msg)
    try:
        return holidays.country_holidays(code)
    except NotImplementedError as exc:
        raise ConfigurationError(msg) from exc
