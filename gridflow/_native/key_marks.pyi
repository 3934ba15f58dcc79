from typing import Any

import numpy as np

def mark_numbers(values: np.ndarray, low: Any, high: Any, sure_low: Any, sure_high: Any, marks: np.ndarray) -> None: ...
def mark_reals(
    values: np.ndarray,
    low: Any,
    high: Any,
    sure_low: Any,
    sure_high: Any,
    nan: bool,
    sure_nan: bool,
    marks: np.ndarray,
) -> None: ...
def packed(marks: np.ndarray, bits: np.ndarray) -> np.ndarray: ...
