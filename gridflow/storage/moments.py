"""Dates, times and timestamps as SQL writes them.

``fromisoformat`` would not do: each version of Python reads other forms (3.10 no ``12:00:00.5``, 3.11 ``20200101``).
"""

from __future__ import annotations

import datetime as dt
import re

import numpy as np

_DATE = r"(?P<year>\d{4})-(?P<month>\d\d?)-(?P<day>\d\d?)"
_TIME = r"(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?"
_ZONE = r"(?P<zone>Z|[+-]\d\d(?::?\d\d)?)"

_DATE_FORM = re.compile(_DATE, re.ASCII)
_TIME_FORM = re.compile(_TIME, re.ASCII)
_MOMENT_FORM = re.compile(rf"{_DATE}(?:[ T]{_TIME}(?: ?{_ZONE})?)?", re.ASCII | re.IGNORECASE)


def read_date(text: str) -> dt.date:
    """A date.

    Raises:
        ValueError: the text is none.

    >>> read_date("2020-2-29")
    datetime.date(2020, 2, 29)
    """
    return _date(_match(_DATE_FORM, text))


def read_time(text: str) -> dt.time:
    """A time of day; what is finer than a microsecond is cut off.

    Raises:
        ValueError: the text is none.

    >>> read_time("23:59:59.5")
    datetime.time(23, 59, 59, 500000)
    """
    return _time(_match(_TIME_FORM, text))


def read_moment(text: str) -> dt.datetime | np.datetime64:
    """A timestamp, or a date as its midnight; with a time zone only where the text has one.

    A finer one than a microsecond is a ``datetime64[ns]``; with a time zone it is cut off.

    Raises:
        ValueError: the text is none.

    >>> read_moment("2020-01-02 03:04:05+01:00").astimezone(dt.timezone.utc).isoformat(" ")
    '2020-01-02 02:04:05+00:00'
    """
    match = _match(_MOMENT_FORM, text)
    if not match["hour"]:
        return dt.datetime.combine(_date(match), dt.time())
    moment = dt.datetime.combine(_date(match), _time(match))
    if match["zone"]:
        return moment.replace(tzinfo=_zone(match["zone"].upper()))
    if len(match["fraction"] or "") > 6:
        return np.datetime64(f"{moment.isoformat(timespec='seconds')}.{match['fraction']}", "ns")
    return moment


def _match(form: re.Pattern[str], text: str) -> re.Match[str]:
    match = form.fullmatch(text)
    if match is None:
        raise ValueError(f"not a date or time: {text!r}")
    return match


def _date(match: re.Match[str]) -> dt.date:
    return dt.date(int(match["year"]), int(match["month"]), int(match["day"]))


def _time(match: re.Match[str]) -> dt.time:
    microsecond = int((match["fraction"] or "")[:6].ljust(6, "0"))
    return dt.time(int(match["hour"]), int(match["minute"]), int(match["second"] or 0), microsecond)


def _zone(text: str) -> dt.timezone:
    if text == "Z":
        return dt.timezone.utc
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return dt.timezone(-offset if text[0] == "-" else offset)
