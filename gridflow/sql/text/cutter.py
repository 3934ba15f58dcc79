"""The statements of a text: where each begins and ends, and of which kind each is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..._native.literal_rows import Run, read_rows

# Quotes and comments, which may hide a semicolon, and the rest. One that is never closed runs to the end of the text.
_LEXEME = re.compile(
    r"""
      (?P<comment> --[^\n]* )
    | (?P<block>   /\* )
    | (?P<string>  \b[eE]'(?:[^'\\]|\\.|'')*(?P<e>'|\Z) | '(?:[^']|'')*(?P<s>'|\Z) | "(?:[^"]|"")*(?P<d>"|\Z)
                 | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?P<h>\$(?P=tag)\$|\Z) )
    | (?P<end>     ; )
    | (?P<space>   \s+ )
    | (?P<name>    (?:[^\W\d]|[^\x00-\x7f\s])(?:[\w$]|[^\x00-\x7f\s])* )
    | (?P<other>   // | -\|- | \d+ | [^\w\s;'"/$\x80-\U0010ffff-]+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_MARK = re.compile(r"/\*|\*/")
_WORD = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*(\(?)[\s(]*([A-Za-z_]*)", re.DOTALL)
_NAME = r'(?:[^\W\d]\w*|"(?:[^"]|"")*")'
_NAMES = rf"\(\s*{_NAME}(?:\s*,\s*{_NAME})*\s*\)"
# What stands before rows of literals, which are read at once.
_BEFORE_ROWS = re.compile(
    rf"(?:INSERT|MERGE)\s+INTO\s+{_NAME}(?:\.{_NAME})?(?:\s*{_NAMES}\s*|\s+)(?:KEY\s*{_NAMES}\s*)?VALUES\s*(?=\()",
    re.IGNORECASE,
)
_QUERY_WORDS = {
    "SELECT", "WITH", "VALUES", "FROM", "TABLE", "PIVOT", "UNPIVOT", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "SUMMARIZE",
}  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """One statement of a text.

    Attributes:
        text: the statement without its semicolon and without space or comments around it.
        start, end: offsets of ``text`` in the whole text, in characters.
        line, column: those of ``start``, both from 1.
        complete: False where a quote or a comment is never closed, or no semicolon ends the statement.
        runs: of an INSERT or MERGE, the rows of literals after VALUES.
    """

    text: str
    start: int
    end: int
    line: int
    column: int
    complete: bool = True
    runs: tuple[Run, ...] = field(default=(), compare=False, repr=False)

    @property
    def only_row(self) -> Run | None:
        """The run of an INSERT or MERGE of one row of literals and nothing else; else None."""
        if len(self.runs) != 1 or len(self.runs[0].rows) != 1 or self.runs[0].end != self.end:
            return None
        head = self.text[: self.runs[0].begin - self.start]
        return self.runs[0] if head.rstrip()[-6:].upper() == "VALUES" else None

    @property
    def word(self) -> str:
        """The statement's first word in upper case, past comments and parentheses."""
        return first_word(self.text)

    def placed(self) -> str:
        """The statement alone, padded to the line and column of ``start``: errors keep their places."""
        return "\n" * (self.line - 1) + " " * (self.column - 1) + self.text


def split_statements(text: str) -> list[Statement]:
    """Cut a text at the semicolons that are in no quotes and no comment.

    Args:
        text: any number of statements, valid SQL or not.

    Returns:
        The statements that are not empty, in order.

    >>> [s.text for s in split_statements("SELECT ';'; -- one; comment\\n DELETE FROM T")]
    ["SELECT ';'", 'DELETE FROM T']
    """
    result: list[Statement] = []
    at, first, last = 0, -1, 0
    line, line_start, counted = 1, 0, 0  # of the last statement, and to where lines are counted
    runs: tuple[Run, ...] = ()

    def finish(complete: bool) -> None:
        nonlocal line, line_start, counted
        if first >= 0:
            line += text.count("\n", counted, first)
            line_start = max(line_start, text.rfind("\n", counted, first) + 1)
            counted = first
            result.append(Statement(text[first:last], first, last, line, first - line_start + 1, complete, runs))

    while at < len(text):
        match = _LEXEME.match(text, at)
        assert match is not None  # the last branch takes any character
        end = match.end()
        if match.group("block"):
            end, closed = _block_end(text, at)
            if not closed:
                first, last = (at if first < 0 else first), end
        elif match.group("end"):
            finish(True)
            first, runs = -1, ()
        elif not (match.group("comment") or match.group("space")):
            if first < 0:
                first = at
                before = _BEFORE_ROWS.match(text, at)
                if before is not None:
                    runs, end = read_rows(text, before.end())
            last = end
        at = end
    finish(False)
    return result


def _block_end(text: str, at: int) -> tuple[int, bool]:
    """The end of the block comment that starts at ``at`` (comments nest), and whether the comment is closed."""
    depth = 0
    for match in _BLOCK_MARK.finditer(text, at):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end(), True
    return len(text), False


def open_quote(text: str) -> int:
    """The offset of the quote or comment that is never closed; the text's length if all are closed."""
    at = 0
    while at < len(text):
        match = _LEXEME.match(text, at)
        assert match is not None  # the last branch takes any character
        end = match.end()
        if match.group("block"):
            end, closed = _block_end(text, at)
        else:
            closed = match.group("string") is None or _is_closed(match)
        if not closed:
            return at
        at = end
    return len(text)


def _is_closed(match: re.Match[str]) -> bool:
    return any(match.group(name) for name in ("e", "s", "d", "h"))


def first_word(text: str) -> str:
    """The first word of a statement in upper case, past comments and parentheses."""
    match = _WORD.match(text)
    return match.group(2).upper() if match else ""


def is_query(text: str) -> bool:
    """Whether a statement gives rows and changes nothing.

    >>> is_query("select 1"), is_query("-- note\\nDELETE FROM T")
    (True, False)
    """
    return first_word(text) in _QUERY_WORDS
