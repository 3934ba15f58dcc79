"""Patterns of dates and times: Java's, which FORMATDATETIME and PARSEDATETIME take, and Oracle's of TO_CHAR."""

from __future__ import annotations

import re

from ...errors import SqlError

# Letter of Java's SimpleDateFormat -> how often it stands -> the directive of DuckDB's strftime and strptime.
_JAVA = {
    "y": {1: "%Y", 2: "%y", 4: "%Y"},
    "M": {1: "%-m", 2: "%m", 3: "%b", 4: "%B"},
    "d": {1: "%-d", 2: "%d"},
    "D": {1: "%-j", 3: "%j"},
    "E": {1: "%a", 2: "%a", 3: "%a", 4: "%A"},
    "u": {1: "%u"},
    "a": {1: "%p"},
    "H": {1: "%-H", 2: "%H"},
    "h": {1: "%-I", 2: "%I"},
    "m": {1: "%-M", 2: "%M"},
    "s": {1: "%-S", 2: "%S"},
    "S": {3: "%g", 6: "%f", 9: "%n"},
    "z": {1: "%Z", 3: "%Z"},
    "Z": {1: "%z"},
}
_JAVA_PART = re.compile(r"'(?P<quoted>(?:[^']|'')*)'|(?P<letter>[A-Za-z])(?P=letter)*|(?P<other>[^A-Za-z'])")

_ORACLE = {
    "YYYY": "%Y", "YY": "%y", "MONTH": "%B", "MON": "%b", "MM": "%m", "DDD": "%j", "DD": "%d", "DAY": "%A", "DY": "%a",
    "HH24": "%H", "HH12": "%I", "HH": "%I", "MI": "%M", "SS": "%S", "FF3": "%g", "FF6": "%f", "FF": "%f",
    "AM": "%p", "PM": "%p",
}  # fmt: skip
_ORACLE_PART = re.compile(
    rf"(?P<word>{'|'.join(sorted(_ORACLE, key=len, reverse=True))})|\"(?P<quoted>[^\"]*)\"|(?P<other>[^A-Za-z\"])",
    re.IGNORECASE,
)


def java_format(pattern: str) -> str:
    """A pattern of Java's SimpleDateFormat as one of strftime.

    Raises:
        SqlError: a part of it has no counterpart.

    >>> java_format("EEE, d MMM yyyy HH:mm:ss")
    '%a, %-d %b %Y %H:%M:%S'
    """
    out, at = [], 0
    while at < len(pattern):
        match = _JAVA_PART.match(pattern, at)
        if match is None:
            raise SqlError(f"date format {pattern!r}: a quote is never closed")
        part = match.group()
        if match["letter"]:
            by_length = _JAVA.get(match["letter"], {})
            directive = by_length.get(len(part))
            if directive is None:
                raise SqlError(
                    f"date format {pattern!r}: no {part} here; there are yyyy MM MMM dd EEE HH hh mm ss SSS a"
                )
            out.append(directive)
        elif match["quoted"] is not None:
            out.append((match["quoted"].replace("''", "'") or "'").replace("%", "%%"))
        else:
            out.append(part.replace("%", "%%"))
        at = match.end()
    return "".join(out)


def oracle_format(pattern: str) -> str:
    """A pattern of Oracle's TO_CHAR for dates as one of strftime.

    Raises:
        SqlError: a part of it has no counterpart.

    >>> oracle_format("YYYY-MM-DD HH24:MI")
    '%Y-%m-%d %H:%M'
    """
    out, at = [], 0
    while at < len(pattern):
        match = _ORACLE_PART.match(pattern, at)
        if match is None:
            raise SqlError(f"date format {pattern!r}: cannot read {pattern[at:]!r}; there are YYYY MM DD HH24 MI SS")
        if match["word"]:
            out.append(_ORACLE[match["word"].upper()])
        else:
            out.append((match["quoted"] or match["other"] or "").replace("%", "%%"))
        at = match.end()
    return "".join(out)
