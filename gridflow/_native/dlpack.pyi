from typing import Any

def capsule(
    owner: object,
    pointer: int,
    device: tuple[int, int],
    shape: tuple[int, ...],
    kind: tuple[int, int],
    read_only: bool,
    copied: bool,
    versioned: bool,
) -> Any: ...
