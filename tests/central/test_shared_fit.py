"""Many tasks on one factor: each is what it would be by itself."""

from __future__ import annotations

import numpy as np
import pytest

from fluid.base.run import Run
from fluid.central import fit_student as module
from fluid.central import shared_fit
from fluid.central.fit_student import FitOptions, StudentTask, fit_student, fit_students
from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.exchange.federated_set import open_federated
from fluid.learn.estimators import revive
from fluid.learn.estimators.mixed_kernel import MixedKernel
from fluid.learn.estimators.twicing import Step, Twicing
from tests.conftest import Consortium

STEPS = (Step(0.02, 0.5), Step(0.001, 1.5))


@pytest.fixture(scope="module")
def compounds(consortium: Consortium) -> Compounds:
    return open_federated(consortium.folder / "round1" / "federated.parquet").load()[0]


def make_tasks(compounds: Compounds) -> tuple[list[StudentTask], list[FitOptions]]:
    """Tasks with all labels, with few missing and with many; with twicing and with a plain part."""
    random = np.random.default_rng(1)
    library = CompoundStream.of(compounds)
    held = random.random(len(compounds)) < 0.1
    tasks, options = [], []
    for number, missing in enumerate((0, 0, 1, 30, 90, 0, 260)):
        gone = random.choice(len(compounds), missing, replace=False)
        rows = np.setdiff1d(np.arange(len(compounds)), gone)
        targets = random.normal(number, 1.0, size=(len(rows), 1 + number % 2))
        plain = targets / 3.0 if number == 5 else None
        tasks.append(StudentTask(library, rows, targets, None, ~held[rows], rows[:9], plain))
        options.append(FitOptions(twicing=Twicing(1.3, STEPS[: number % 3]) if number else None))
    return tasks, options


@pytest.mark.parametrize("mostly", [0.0, 1.0])
def test_tasks_on_one_factor_are_what_each_is_by_itself(
    compounds: Compounds, mostly: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Descriptors scaled alike, and the penalties of twicing counted by all compounds."""
    tasks, options = make_tasks(compounds)
    monkeypatch.setattr(module, "FEWEST_SHARING", 3)
    # By the columns of the inverse that are needed, and by all.
    monkeypatch.setattr(shared_fit, "_MOSTLY", mostly)
    together = fit_students(tasks, options, Run(0, 1))
    # A task with labels of too few of the compounds is fitted by itself.
    assert len(together[-1].positions) == len(tasks[-1].rows)
    tasks, options, together = tasks[:-1], options[:-1], together[:-1]
    scaled = MixedKernel().fit(compounds)
    monkeypatch.setattr(
        MixedKernel, "fit", lambda self, _: self._scale(scaled.mean_, scaled.scale_)
    )
    for task, how, shared in zip(tasks, options, together, strict=True):
        if how.twicing is not None and len(task.rows) < len(compounds):
            share = len(compounds) / len(task.rows)
            moved = tuple(Step(s.ridge * share, s.gain) for s in how.twicing.steps)
            how = FitOptions(twicing=Twicing(how.twicing.base, moved))
        alone = fit_student(task, how, Run(0, 1))
        assert np.array_equal(shared.positions[shared.held], alone.positions[alone.held])
        for one, other in zip(shared.final, alone.final, strict=True):
            assert np.array_equal(shared.positions[one.rows_], alone.positions[other.rows_])
            found = one.score(compounds, shared.compounds)
            assert found == pytest.approx(other.score(compounds, alone.compounds), abs=2e-3)
        if how.twicing is None:
            assert shared.held_scores == pytest.approx(alone.held_scores, abs=2e-3)


def test_held_scores_are_those_of_the_fit_without_them(
    compounds: Compounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, options = make_tasks(compounds)
    monkeypatch.setattr(module, "FEWEST_SHARING", 3)
    for task, fit in zip(tasks, fit_students(tasks, options, Run(0, 2)), strict=True):
        queries = fit.compounds.take(fit.held)
        for output, estimator in enumerate(fit.held_out_fit):
            found = fit.held_scores[:, output]
            assert found == pytest.approx(estimator.score(queries, fit.compounds), abs=1e-4)
            held = fit.positions[fit.held]
            assert not np.isin(held, fit.positions[estimator.rows_]).any()
        assert set(fit.positions[fit.held]) == set(task.rows[~task.inside])
        for estimator in (*fit.final, *fit.held_out_fit):
            # A model folder takes plain numbers only.
            again = revive(estimator.to_state())
            assert np.array_equal(
                again.score(queries, fit.compounds), estimator.score(queries, fit.compounds)
            )
            assert type(estimator.to_state().params["intercept"]) is float
