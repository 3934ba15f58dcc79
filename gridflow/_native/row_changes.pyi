import numpy as np
import pyarrow as pa

from gridflow._native.rows import RowCodec
from gridflow._native.snapshot import Snapshot

class RowChanges:
    def __init__(
        self,
        seen: Snapshot,
        codec: RowCodec,
        addresses: np.ndarray,
        names: list[str] | None,
        batches: list[list[pa.Array]],
    ) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def removes(self) -> bool: ...
