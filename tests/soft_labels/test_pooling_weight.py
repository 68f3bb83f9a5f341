"""What a teacher's reliability is worth in the pooled label, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fluid.soft_labels.pooled import pooling_weight


def test_the_weight_is_the_odds_to_the_power_of_two_and_a_half() -> None:
    found = pooling_weight(np.array([0.5, 0.8, 0.9, np.nan]))
    assert found.tolist() == pytest.approx([1.0, 32.0, 243.0, 0.0], abs=1e-5)


def test_nobody_outweighs_all_others_and_nobody_is_silenced() -> None:
    """Reliabilities above 0.98 weigh alike; a teacher without any reliability weighs a little."""
    found = pooling_weight(np.array([0.98, 0.99, 1.0, 0.0]))
    assert found[:3] == pytest.approx([49.0**2.5] * 3)
    assert 0.0 < found[3] < 1e-5
