"""Words: the keyword that was meant where a text cannot be parsed, the nearest of known names; and whole numbers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from sqlglot.tokens import Token, TokenType

KEYWORDS = """
    SELECT DISTINCT FROM WHERE GROUP ORDER BY HAVING QUALIFY WINDOW LIMIT OFFSET FETCH FIRST ROWS ONLY JOIN LEFT RIGHT
    FULL INNER OUTER CROSS NATURAL ON USING UNION ALL EXCEPT INTERSECT WITH RECURSIVE AS AND OR NOT NULL NULLS LAST
    IN IS LIKE BETWEEN EXISTS CASE WHEN THEN ELSE END OVER PARTITION FILTER ASC DESC INTO VALUES SET DEFAULT MATCHED
    INSERT UPDATE DELETE MERGE KEY
""".split()
#: How many words up to the place of an error may be the misspelt one.
_CANDIDATES = 8
#: How alike two words must be, from 0 to 1, for one to be a misspelling of the other.
_LIKENESS = 0.6


def meant_keyword(
    tokens: list[Token], text: str, offset: int, error_at: Callable[[str], int | None]
) -> tuple[Token, str] | None:
    """The word of a statement that seems to be a misspelt keyword, and the keyword that was meant.

    Args:
        tokens: of the statement, which cannot be parsed.
        text: the whole text.
        offset: where the parser gave up.
        error_at: gives the offset at which the parser gives up on another text, None where it parses it.

    Returns:
        The word next to ``offset`` that, written as the keyword it resembles, lets the parser get further.
    """
    begin, end = tokens[0].start, tokens[-1].end + 1
    last = next((i for i, token in enumerate(tokens) if token.start >= offset), len(tokens)) + 2
    words = [t for t in tokens[:last] if t.token_type is TokenType.VAR]
    best: tuple[int, Token, str] | None = None
    for token in reversed(words[-_CANDIDATES:]):
        for keyword in difflib.get_close_matches(token.text.upper(), KEYWORDS, n=2, cutoff=_LIKENESS):
            other = f"{text[begin : token.start]}{keyword}{text[token.end + 1 : end]}"
            other_offset = error_at(other)
            if other_offset is None:
                return token, keyword
            gain = other_offset - (len(keyword) - len(token.text)) - (offset - begin)
            if gain > 0 and (best is None or gain > best[0]):
                best = gain, token, keyword
    return None if best is None else (best[1], best[2])


def is_count(text: str) -> bool:
    """Whether a text is a whole number, as an option has it: up to eighteen of the digits 0 to 9.

    >>> is_count("10"), is_count("-1"), is_count("²"), is_count("9" * 5000)
    (True, False, False, False)
    """
    return text.isascii() and text.isdigit() and len(text) <= 18


def nearest(name: str, names: Sequence[str], cutoff: float = _LIKENESS) -> str:
    """``; did you mean X?`` for the nearest of some names, empty where none is as near as ``cutoff`` (0 to 1)."""
    near = difflib.get_close_matches(name.upper(), names, n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""
