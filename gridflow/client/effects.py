"""What a message changes: one that changes nothing may be sent again when its answer was lost, another may not."""

from __future__ import annotations

from ..protocols import messages
from ..protocols.messages import Message

#: Kinds of statements that write nothing.
READING = frozenset({"SELECT", "EXPLAIN", "SHOW", "DESCRIBE", "DESC", "KILL", "SET"})
#: Messages that change nothing but what the node knows of its clients. Any other is one that changes something.
_READING_MESSAGES = (
    messages.Hello,
    messages.Goodbye,
    messages.Cancel,
    messages.OpenRing,
    messages.AskGrid,
    messages.AskVersion,
    messages.Blocks,
    messages.Hold,
    messages.Check,
    messages.ListTables,
    messages.Describe,
    messages.Get,
    messages.GetAll,
    messages.Ask,
    messages.Scan,
    messages.SystemView,
    messages.Begin,
)


def writes(text: str) -> bool:
    """Whether a text of SQL has a statement that changes something.

    >>> writes("SELECT 1; EXPLAIN SELECT 2"), writes("SELECT 1; DELETE FROM T")
    (False, True)
    """
    from ..sql import is_query, split_statements

    return any(part.word not in READING and not is_query(part.text) for part in split_statements(text))


def changes(message: Message) -> bool:
    """Whether a message changes something at its node.

    >>> changes(messages.Flush("T")), changes(messages.Flush("T", to_read=True)), changes(messages.End("1", True))
    (True, False, True)
    """
    if isinstance(message, messages.Flush):
        return not message.to_read
    if isinstance(message, messages.Sql | messages.SqlMany):
        return writes(message.text)
    return not isinstance(message, _READING_MESSAGES)
