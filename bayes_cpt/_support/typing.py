"""Array types."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]
type Array = Any
"""A NumPy array, a PyTensor variable or an xarray object: formulas use only what all three support."""
