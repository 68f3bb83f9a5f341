"""The twicing that pooled labels need, where the truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fluid.base.run import Run
from fluid.central.distill import train_student
from fluid.central.estimate_twicing import estimate_twicing
from fluid.central.pooling import pool_task
from fluid.central.student import StudentOptions, distill_task
from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.exchange.federated_set import open_federated
from fluid.learn.estimators.mixed_kernel import MixedKernel
from fluid.learn.estimators.twicing import Twicing
from fluid.learn.task import Task
from fluid.learn.trained_on import digest_connectivities
from fluid.soft_labels.pooled import PooledSet, PoolingResult
from fluid.soft_labels.teacher_labels import TeacherLabels
from tests.conftest import Consortium

NUMBER = Task("logbb", "regression")
BINARY = Task("bbb", "binary")
NOISE = 0.3


@pytest.fixture(scope="module")
def public(consortium: Consortium) -> Compounds:
    compounds, _ = open_federated(consortium.folder / "round1" / "federated.parquet").load()
    return compounds


def gram(compounds: Compounds) -> np.ndarray:
    kernel = MixedKernel().fit(compounds)
    prepared = kernel.prepare(compounds)
    return kernel(prepared, prepared).astype(np.float64)


def pooled(
    public: Compounds,
    task: Task,
    predictions: np.ndarray,
    reliability: float = 0.4,
    base: np.ndarray | None = None,
) -> PoolingResult:
    """Labels pooled of teachers (k, n) of one reliability, with a base student's predictions."""
    n = len(public)
    labels = {
        f"p{number}": TeacherLabels(
            each[:, None].astype(np.float32), np.zeros((n, 1)), np.full(n, reliability)
        )
        for number, each in enumerate(predictions)
    }
    column = None if base is None else base[:, None]
    return pool_task(task, labels, n, digest_connectivities(public), column)


def teachers(
    public: Compounds, size: int, count: int = 8, seed: int = 7
) -> tuple[np.ndarray, np.ndarray]:
    """A truth drawn from the kernel, and predictions of calibrated teachers of `size` compounds."""
    random = np.random.default_rng(seed)
    kernel = gram(public)
    n = len(public)
    truth = np.linalg.cholesky(kernel + 1e-6 * np.eye(n)) @ random.normal(size=n)
    predictions = np.zeros((count, n))
    for number in range(count):
        own = random.choice(n, size, replace=False)
        measured = truth[own] + NOISE * random.normal(size=size)
        inner = kernel[np.ix_(own, own)] + NOISE**2 * np.eye(size)
        mean = measured.mean()
        predictions[number] = mean + kernel[:, own] @ np.linalg.solve(inner, measured - mean)
    return truth, predictions


def apply_twicing(public: Compounds, label: np.ndarray, found: Twicing) -> np.ndarray:
    kernel, centre = gram(public), label.mean()

    def residual(ridge: float) -> np.ndarray:
        return np.asarray(
            ridge * np.linalg.solve(kernel + ridge * np.eye(len(label)), label - centre)
        )

    return centre + found.apply(label - centre, len(label), residual)


@pytest.mark.parametrize("size", [30, 100])
def test_labels_after_twicing_are_nearer_to_the_truth(public: Compounds, size: int) -> None:
    """Over draws of the truth: pooled labels, with shrinkage undone, and with twicing."""
    errors = []
    for seed in range(6):
        truth, predictions = teachers(public, size, seed=seed)
        labels = pooled(public, NUMBER, predictions)
        found = estimate_twicing(CompoundStream.of(public), NUMBER, labels)
        assert found is not None
        assert len(found.steps) >= 1
        assert all(step.gain > 0.0 for step in found.steps)
        ridges = [step.ridge for step in found.steps]
        assert ridges == sorted(ridges, reverse=True)
        # The student's targets have their shrinkage undone already.
        label = labels.labels.label[:, 0].astype(np.float64)
        wide = label.mean() + labels.labels.slope * (label - label.mean())
        sharp = apply_twicing(public, wide, found)
        away = [what - what.mean() - truth + truth.mean() for what in (label, wide, sharp)]
        errors.append([np.mean(each**2) for each in away])
    plain, wide_error, sharp_error = np.mean(errors, axis=0)
    assert wide_error < 0.9 * plain
    assert sharp_error < 0.95 * wide_error


def test_a_student_with_twicing_predicts_better(public: Compounds) -> None:
    """Half of the compounds are public, and the other half is what it is asked for."""
    half = np.arange(0, len(public), 2)
    library, test = public.take(half), half[:-1] + 1
    queries = public.take(test)
    errors: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(20):
        truth, predictions = teachers(public, 60, seed=seed)
        labels = pooled(library, NUMBER, predictions[:, half])
        for twicing, found in errors.items():
            options = StudentOptions(twicing=twicing)
            model = distill_task(library, NUMBER, labels, options=options).model
            (estimator,) = model.members[0].estimators
            found.append(float(np.mean((estimator.score(queries, library) - truth[test]) ** 2)))
    assert np.mean(errors[True]) < 0.97 * np.mean(errors[False])


def test_twicing_of_residuals_does_not_depend_on_their_base(public: Compounds) -> None:
    """And no step is longer than twice a teacher's."""
    library = CompoundStream.of(public)
    _, predictions = teachers(public, 60)
    base = 5.0 * public.descriptors[:, 0] / public.descriptors[:, 0].std()
    found = estimate_twicing(library, NUMBER, pooled(public, NUMBER, predictions + base, 0.4, base))
    nothing = np.zeros(len(public))
    alone = estimate_twicing(library, NUMBER, pooled(public, NUMBER, predictions, 0.4, nothing))
    assert found is not None
    assert alone is not None
    assert found.base == pytest.approx(alone.base, abs=1e-3)
    assert 1.0 < found.base + sum(step.gain for step in found.steps) <= 2.0 + 1e-6
    free = estimate_twicing(library, NUMBER, pooled(public, NUMBER, predictions))
    assert free is not None
    widest = pooled(public, NUMBER, predictions).labels.slope
    assert widest * (free.base + sum(step.gain for step in free.steps)) > 2.0


def test_tasks_with_and_without_a_base_are_stated_apart(
    public: Compounds, consortium: Consortium
) -> None:
    """A regression task that the base student did not predict is one of a first round."""
    _, predictions = teachers(public, 60)
    second = Task("second", "regression")
    labels = {
        "logbb": pooled(public, NUMBER, predictions, 0.4, np.zeros(len(public))),
        "second": pooled(public, second, predictions),
    }
    made, _ = train_student(
        [NUMBER, second],
        PooledSet.of(public, labels),
        consortium.federation,
        base_student="0" * 64,
        run=Run(jobs=1),
    )
    assert set(made.card.training["twicing"]) == {"second"}
    assert set(made.card.training["twicing_of_residuals"]) == {"logbb"}


def test_a_student_with_twicing_of_residuals_predicts_better(public: Compounds) -> None:
    """Better than one with twicing of whole labels, as no teacher disagrees on the base."""
    half = np.arange(0, len(public), 2)
    library, test = public.take(half), half[:-1] + 1
    queries = public.take(test)
    # As smooth as a student's predictions.
    base = 10.0 * teachers(public, 30, seed=99)[1].mean(axis=0)
    errors: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(20):
        truth, predictions = teachers(public, 60, seed=seed)
        for stated, found in errors.items():
            known = base[half] if stated else None
            labels = pooled(library, NUMBER, predictions[:, half] + base[half], 0.4, known)
            model = distill_task(library, NUMBER, labels).model
            (estimator,) = model.members[0].estimators
            wanted = truth[test] + base[test]
            found.append(float(np.mean((estimator.score(queries, library) - wanted) ** 2)))
    # Most of the error comes from the base, and is the same.
    gain = np.subtract(errors[False], errors[True])
    assert gain.mean() > 2.0 * gain.std(ddof=1) / np.sqrt(len(gain))


def test_twicing_of_classification_is_in_log_odds(public: Compounds) -> None:
    _, predictions = teachers(public, 40)
    probabilities = 1.0 / (1.0 + np.exp(-predictions))
    found = estimate_twicing(
        CompoundStream.of(public), BINARY, pooled(public, BINARY, probabilities)
    )
    same = estimate_twicing(CompoundStream.of(public), NUMBER, pooled(public, NUMBER, predictions))
    assert found is not None
    assert same is not None
    # The mean of probabilities is not that of log-odds, so that it is only nearly the same.
    slope = pooled(public, NUMBER, predictions).labels.slope
    assert found.base == pytest.approx(same.base * slope, rel=0.1)


def test_no_twicing_where_nobody_disagrees(public: Compounds) -> None:
    stream = CompoundStream.of(public)
    _, predictions = teachers(public, 40, 2)
    assert estimate_twicing(stream, NUMBER, pooled(public, NUMBER, predictions[:1])) is None
    # A constant offset between teachers does not count as disagreement.
    alike = np.stack([predictions[0], predictions[0] + 3.0])
    assert estimate_twicing(stream, NUMBER, pooled(public, NUMBER, alike)) is None
    assert estimate_twicing(stream, NUMBER, pooled(public, NUMBER, predictions, 0.0)) is None
    nothing = replace(pooled(public, NUMBER, predictions), sample=None)
    assert estimate_twicing(stream, NUMBER, nothing) is None
    assert estimate_twicing(stream, NUMBER, pooled(public, NUMBER, predictions)) is not None


@pytest.mark.parametrize("unit", [1e-7, 1e4])
def test_the_unit_of_a_task_changes_nothing(public: Compounds, unit: float) -> None:
    _, predictions = teachers(public, 40)
    stream = CompoundStream.of(public)
    one = estimate_twicing(stream, NUMBER, pooled(public, NUMBER, predictions))
    two = estimate_twicing(stream, NUMBER, pooled(public, NUMBER, unit * predictions))
    assert one is not None
    assert two is not None
    assert two.base == pytest.approx(one.base, rel=1e-4)
    assert [step.gain for step in two.steps] == pytest.approx(
        [step.gain for step in one.steps], rel=1e-3
    )


def test_of_a_few_compounds_nothing_is_known(public: Compounds) -> None:
    _, predictions = teachers(public, 40)
    for n, known in ((40, False), (60, True)):
        few = public.take(np.arange(n))
        found = estimate_twicing(
            CompoundStream.of(few), NUMBER, pooled(few, NUMBER, predictions[:, :n])
        )
        assert (found is not None) == known
        assert found is None or len(found.steps) <= 1


def test_no_twicing_of_noise(public: Compounds, consortium: Consortium) -> None:
    _, predictions = teachers(public, 40)
    labels = pooled(public, NUMBER, predictions)
    noisy = distill_task(public, NUMBER, labels, noisy=True)
    assert noisy.twicing is None
    clear = distill_task(public, NUMBER, labels)
    assert clear.twicing is not None
    # A federation with a mechanism is noisy, even if there is a sample.
    contract = consortium.federation
    mechanism = replace(
        contract.mechanism, kind="pate", epsilon=1.0, sigma=1.0, clip=(("logbb", -3.0, 2.0),)
    )
    tasks = [task for task in contract.tasks if task.name == "logbb"]
    _, distilled = train_student(
        tasks,
        PooledSet.of(public, {"logbb": labels}),
        replace(contract, mechanism=mechanism),
        run=Run(jobs=1),
    )
    assert distilled["logbb"].twicing is None


def test_the_report_states_it(consortium: Consortium) -> None:
    for task in consortium.round.report["tasks"].values():
        twicing = task["twicing"]
        assert twicing["base"] > 0.5
        assert all(step["ridge"] > 0.0 and 0.0 < step["gain"] < 4.0 for step in twicing["steps"])


def test_factors_never_fall_from_smooth_to_rough_components(public: Compounds) -> None:
    """Teachers that disagree on smooth components only: the labels are widened and not sharpened.

    By bands, the slope is high in the first and 1 in the others. It is made to rise, which gives
    all bands the slope over all components, and that is the one that labels are widened by.
    """
    random = np.random.default_rng(11)
    n = len(public)
    _, vectors = np.linalg.eigh(gram(public))
    smooth = vectors[:, -5:-1]
    truth = np.sqrt(n) * vectors @ (random.normal(size=n) / np.sqrt(n))
    apart = random.normal(size=(8, 4))
    told = truth + 2.0 * (apart - apart.mean(axis=0)) @ smooth.T
    labels = pooled(public, NUMBER, told)
    assert labels.labels.slope > 1.01
    assert estimate_twicing(CompoundStream.of(public), NUMBER, labels) is None
