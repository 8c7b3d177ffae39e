"""The penalty of one coefficient w, ``l1 |w| + l2 / 2 w^2``, as every solver needs it.

The formulas take numbers and NumPy arrays, which are broadcast; `kernels/lanes.h` has them for the
compiled solvers. A stand-alone script carries this module.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def soft_threshold(value: Any, l1: Any) -> Any:
    """Return the proximal operator of ``l1 |w|``: sign(value) max(|value| - l1, 0).

    The w that minimises ``(w - value)^2 / 2 + l1 |w|`` (Donoho and Johnstone, 1994,
    10.1093/biomet/81.3.425).

    Examples
    --------
    >>> soft_threshold(np.array([-2.0, 0.5, 3.0]), 1.0)
    array([-1.,  0.,  2.])
    """
    return value - np.where(value > l1, l1, np.where(value < -l1, -l1, value))


def violation(slope: Any, coef: Any, l1: Any) -> Any:
    """Return by how much a coefficient violates its optimality condition, >= 0.

    That is the distance of zero from the subdifferential of the objective, with `slope` the
    derivative of all but ``l1 |w|``: ``|slope + l1 sign(w)|``, and ``max(|slope| - l1, 0)`` at 0.

    Examples
    --------
    >>> violation(np.array([1.5, 0.5, -1.0]), np.array([0.0, 0.0, 2.0]), 1.0)
    array([0.5, 0. , 0. ])
    """
    outward = slope + np.where(coef > 0.0, l1, -l1)
    return abs(np.where(coef == 0.0, soft_threshold(slope, l1), outward))
