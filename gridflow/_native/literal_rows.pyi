from typing import Any, NamedTuple

class Run(NamedTuple):
    begin: int
    end: int
    rows: list[tuple[Any, ...]]

def read_rows(text: str, at: int) -> tuple[tuple[Run, ...], int]: ...
