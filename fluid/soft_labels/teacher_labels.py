"""Labels that one teacher gives to public compounds in one task, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TeacherLabels:
    """Labels of n public compounds by one teacher in one task.

    Attributes
    ----------
    prediction, uncertainty
        float32 of shape (n, n_outputs); NaN where the teacher gives no label.
    reliability
        float32 of shape (n,) in [0, 1]; NaN where there is no prediction.
    """

    prediction: np.ndarray
    uncertainty: np.ndarray
    reliability: np.ndarray

    def trusted(self, trust: float) -> TeacherLabels:
        """The same labels with their reliability times a factor in [0, 1]."""
        if trust >= 1.0:
            return self
        return TeacherLabels(
            self.prediction, self.uncertainty, (self.reliability * trust).astype(np.float32)
        )
