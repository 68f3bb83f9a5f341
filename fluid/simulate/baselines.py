"""What no consortium could have: one model of everybody's data, and all teachers in one place."""

from __future__ import annotations

import hashlib

import numpy as np

from fluid.base.run import Run
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import TrainingOptions, fit_model
from fluid.simulate.cache import PARTNER_ROOMS, Arrays
from fluid.simulate.consortium import Consortium
from fluid.simulate.digests import digest_table
from fluid.simulate.predictions import TaskScores, pack_predictions, predict_all, unpack_predictions

# A reference is not cross-fitted to hide anything, only to be calibrated.
_REPEATS = 1


def reference(one: Consortium, pooled: LabelledCompounds, learner: str) -> dict[str, TaskScores]:
    """Predictions of one model trained on everybody's data.

    Parameters
    ----------
    one
        The consortium: its test compounds, options and cache.
    pooled
        All private tables merged by connectivity.
    learner
        Key of `fluid.learn.estimators.LEARNERS`, or ``"auto"``.
    """
    options = TrainingOptions(learner, one.options.folds, _REPEATS, one.options.seed)
    inputs = one.base | {"table": digest_table(pooled), "options": repr(options)}

    def make() -> Arrays:
        secret = hashlib.sha256(b"simulated reference").digest()
        fitted = fit_model(
            pooled,
            one.federation,
            "pooled",
            secret,
            options=options,
            reference=True,
            run=Run(jobs=one.jobs),
        )
        return pack_predictions(predict_all(fitted.model, one.queries))

    return unpack_predictions(one.cache.fetch("reference", inputs, make, PARTNER_ROOMS), one.tasks)


def plain_mean(one: Consortium) -> dict[str, TaskScores]:
    """The mean of what the teachers say of the test compounds: no student, no weights."""
    made = one.teachers()
    found = {}
    for task in one.tasks:
        each = [teacher.told[task.name] for teacher in made.values() if task.name in teacher.told]
        if not each:
            continue
        values = np.mean([said.values for said in each], axis=0)
        threshold = float(np.mean([said.threshold for said in each]))
        found[task.name] = TaskScores(values, threshold, np.full(len(values), np.nan))
    return found
