"""Misspelt words: the keyword that was meant, found by parsing again with it; the nearest function and type."""

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
_LOOKED_AT = 8  # words before the place of an error, itself included


def meant_keyword(
    tokens: list[Token], text: str, offset: int, error_at: Callable[[str], int | None]
) -> tuple[Token, str] | None:
    """The word of a statement that seems to be a misspelt keyword, and that keyword.

    Args:
        tokens: of the statement, which cannot be parsed.
        text: the whole text.
        offset: where the parser gave up.
        error_at: where the parser gives up in another text; None: it can be parsed.

    Returns:
        The word next to ``offset`` that, written as the keyword it resembles, lets the parser get further.
    """
    begin, end = tokens[0].start, tokens[-1].end + 1
    last = next((i for i, token in enumerate(tokens) if token.start >= offset), len(tokens)) + 2
    words = [t for t in tokens[:last] if t.token_type is TokenType.VAR]
    best: tuple[int, Token, str] | None = None
    for token in reversed(words[-_LOOKED_AT:]):
        for keyword in difflib.get_close_matches(token.text.upper(), KEYWORDS, n=2, cutoff=0.6):
            other = f"{text[begin : token.start]}{keyword}{text[token.end + 1 : end]}"
            found = error_at(other)
            if found is None:
                return token, keyword
            further = found - (len(keyword) - len(token.text)) - (offset - begin)
            if further > 0 and (best is None or further > best[0]):
                best = further, token, keyword
    return None if best is None else (best[1], best[2])


def nearest(name: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    """``; did you mean X?`` for the nearest of the known names, or nothing."""
    near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""
