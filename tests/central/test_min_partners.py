"""Labels of too few partners are not learned by the student."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fluid.base.errors import TrainingError
from fluid.base.run import Run
from fluid.central.distill import train_student
from fluid.central.pooling import pool_task
from fluid.chem.compounds import Compounds
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PooledSet
from fluid.soft_labels.teacher_labels import TeacherLabels
from tests.conftest import Consortium


def _set(compounds: Compounds, values: np.ndarray) -> PooledSet:
    """Labels of three teachers; NaN where one gives none."""
    labels = {
        f"p{number}": TeacherLabels(
            one[:, None].astype(np.float32),
            np.zeros((len(one), 1)),
            np.where(np.isfinite(one), 0.5, np.nan).astype(np.float32),
        )
        for number, one in enumerate(values)
    }
    task = Task("bbb", "binary")
    return PooledSet.of(compounds, {"bbb": pool_task(task, labels, values.shape[1])})


@pytest.mark.parametrize(
    ("fewest", "known", "left_out"),
    [(1, [1, 1, 0, 1], {}), (2, [1, 1, 0, 0], {"bbb": 1}), (3, [1, 0, 0, 0], {"bbb": 2})],
)
def test_labels_of_too_few_are_left_out_by_hand(
    consortium: Consortium, fewest: int, known: list[int], left_out: dict[str, int]
) -> None:
    nan = np.nan
    values = np.array([[0.2, 0.4, nan, nan], [0.4, nan, nan, 0.6], [0.6, 0.8, nan, nan]])
    pooled = _set(next(iter(consortium.public.chunks())).take(np.arange(4)), values)
    found, counts = pooled.of_enough_partners([Task("bbb", "binary", min_partners=fewest)])
    assert counts == left_out
    assert np.isfinite(found.labels["bbb"].label[:, 0]).tolist() == [bool(one) for one in known]
    # The federated set keeps them.
    assert np.isfinite(pooled.labels["bbb"].label[:, 0]).tolist() == [True, True, False, True]


def test_a_student_learns_from_labels_of_enough_partners(consortium: Consortium) -> None:
    compounds = next(iter(consortium.public.chunks()))
    random = np.random.default_rng(1)
    values = random.uniform(0.1, 0.9, (2, len(compounds)))
    values[1, : len(compounds) // 2] = np.nan
    pooled = _set(compounds, values)
    found = {}
    for fewest in (1, 2):
        task = Task("bbb", "binary", min_partners=fewest)
        federation = replace(consortium.federation, tasks=(task,))
        model, distilled = train_student((task,), pooled, federation, run=Run(jobs=1))
        found[fewest] = distilled["bbb"].n_labelled, model.card.training.get("of_too_few_partners")
    half = len(compounds) // 2
    assert found == {1: (len(compounds), None), 2: (len(compounds) - half, {"bbb": half})}
    task = Task("bbb", "binary", min_partners=3)
    with pytest.raises(TrainingError, match="no task has pooled labels of"):
        train_student(
            (task,), pooled, replace(consortium.federation, tasks=(task,)), run=Run(jobs=1)
        )
