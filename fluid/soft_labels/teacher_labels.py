"""What one teacher says of public compounds in one task, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TeacherLabels:
    """What one teacher says of n public compounds in one task.

    Attributes
    ----------
    prediction, uncertainty
        float32 of shape (n, n_outputs); NaN stands for "not labelled".
    reliability
        float32 of shape (n,) in [0, 1]; NaN where there is no prediction.
    """

    prediction: np.ndarray
    uncertainty: np.ndarray
    reliability: np.ndarray
