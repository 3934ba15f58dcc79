from typing import TypeAlias

import numpy as np
from typing_extensions import Buffer

# numpy says that an array is a Buffer from Python 3.12 on only.
Bytes: TypeAlias = Buffer | np.ndarray

class MappedFile:
    def __init__(self, path: str) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...

def block_checksum(data: Bytes) -> int: ...
