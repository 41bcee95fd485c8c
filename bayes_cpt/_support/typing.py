"""Names of array types that all wings use."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]
type Array = Any
"""A NumPy array, a PyTensor variable or an xarray object: formulas use what the three have in common."""
