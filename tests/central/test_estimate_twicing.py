"""How much sharper than pooled labels the truth is, where the truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

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
from fluid.soft_labels.pooled import PooledTask
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
    told: np.ndarray,
    reliability: float = 0.4,
    base: np.ndarray | None = None,
) -> PooledTask:
    """What teachers (k, n) of one reliability say together, all of `base` if they correct it."""
    n = len(public)
    said = {
        f"p{number}": TeacherLabels(
            each[:, None].astype(np.float32), np.zeros((n, 1)), np.full(n, reliability)
        )
        for number, each in enumerate(told)
    }
    column = None if base is None else base[:, None]
    return pool_task(task, said, {}, n, digest_connectivities(public), column)


def teachers(
    public: Compounds, size: int, count: int = 8, seed: int = 7
) -> tuple[np.ndarray, np.ndarray]:
    """A truth drawn from the kernel, and what calibrated teachers of `size` compounds say of it."""
    random = np.random.default_rng(seed)
    kernel = gram(public)
    n = len(public)
    truth = np.linalg.cholesky(kernel + 1e-6 * np.eye(n)) @ random.normal(size=n)
    told = np.zeros((count, n))
    for number in range(count):
        own = random.choice(n, size, replace=False)
        measured = truth[own] + NOISE * random.normal(size=size)
        inner = kernel[np.ix_(own, own)] + NOISE**2 * np.eye(size)
        mean = measured.mean()
        told[number] = mean + kernel[:, own] @ np.linalg.solve(inner, measured - mean)
    return truth, told


def apply_twicing(public: Compounds, label: np.ndarray, found: Twicing) -> np.ndarray:
    kernel, centre = gram(public), label.mean()

    def left(ridge: float) -> np.ndarray:
        return np.asarray(
            ridge * np.linalg.solve(kernel + ridge * np.eye(len(label)), label - centre)
        )

    return centre + found.apply(label - centre, len(label), left)


@pytest.mark.parametrize("size", [30, 100])
def test_sharpened_labels_are_nearer_to_the_truth(public: Compounds, size: int) -> None:
    """Over draws of the truth: pooled labels, the same widened, and sharpened."""
    errors = []
    for seed in range(6):
        truth, told = teachers(public, size, seed=seed)
        labels = pooled(public, NUMBER, told)
        found = estimate_twicing(CompoundStream.of(public), NUMBER, labels)
        assert found is not None
        assert len(found.steps) >= 1
        assert all(step.gain > 0.0 for step in found.steps)
        ridges = [step.ridge for step in found.steps]
        assert ridges == sorted(ridges, reverse=True)
        # What the student learns is widened already.
        label = labels.label[:, 0].astype(np.float64)
        wide = label.mean() + labels.slope * (label - label.mean())
        sharp = apply_twicing(public, wide, found)
        away = [what - what.mean() - truth + truth.mean() for what in (label, wide, sharp)]
        errors.append([np.mean(each**2) for each in away])
    plain, wide_error, sharp_error = np.mean(errors, axis=0)
    assert wide_error < 0.9 * plain
    assert sharp_error < 0.95 * wide_error


def test_a_student_of_sharpened_labels_predicts_better(public: Compounds) -> None:
    """Half of the compounds are public, and the other half is what it is asked for."""
    half = np.arange(0, len(public), 2)
    library, test = public.take(half), half[:-1] + 1
    queries = public.take(test)
    errors: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(6):
        truth, told = teachers(public, 60, seed=seed)
        labels = pooled(library, NUMBER, told[:, half])
        for twicing, found in errors.items():
            options = StudentOptions(twicing=twicing)
            model = distill_task(library, NUMBER, labels, 0, options=options).model
            (estimator,) = model.members[0].estimators
            found.append(float(np.mean((estimator.score(queries, library) - truth[test]) ** 2)))
    assert np.mean(errors[True]) < 0.97 * np.mean(errors[False])


def test_of_corrections_what_is_added_is_sharpened(public: Compounds) -> None:
    """It does not matter what is corrected; and no step is longer than twice a teacher's."""
    library = CompoundStream.of(public)
    _, told = teachers(public, 60)
    base = 5.0 * public.descriptors[:, 0] / public.descriptors[:, 0].std()
    found = estimate_twicing(library, NUMBER, pooled(public, NUMBER, told + base, 0.4, base))
    nothing = np.zeros(len(public))
    alone = estimate_twicing(library, NUMBER, pooled(public, NUMBER, told, 0.4, nothing))
    assert found is not None
    assert alone is not None
    assert found.base == pytest.approx(alone.base, abs=1e-3)
    assert 1.0 < found.base + sum(step.gain for step in found.steps) <= 2.0 + 1e-6
    free = estimate_twicing(library, NUMBER, pooled(public, NUMBER, told))
    assert free is not None
    widest = pooled(public, NUMBER, told).slope
    assert widest * (free.base + sum(step.gain for step in free.steps)) > 2.0


def test_tasks_with_and_without_a_base_are_stated_apart(
    public: Compounds, consortium: Consortium
) -> None:
    """A task of numbers that the student before did not predict is one of a first round."""
    _, told = teachers(public, 60)
    second = Task("second", "regression")
    labels = {
        "logbb": pooled(public, NUMBER, told, 0.4, np.zeros(len(public))),
        "second": pooled(public, second, told),
    }
    made, _ = train_student(
        public, [NUMBER, second], labels, consortium.federation, "", 0, 1, base_student="0" * 64
    )
    assert set(made.card.training["twicing"]) == {"second"}
    assert set(made.card.training["twicing_of_residuals"]) == {"logbb"}


def test_a_student_of_sharpened_corrections_predicts_better(public: Compounds) -> None:
    """Than one of what is said altogether, in which nobody disagrees on what is corrected."""
    half = np.arange(0, len(public), 2)
    library, test = public.take(half), half[:-1] + 1
    queries = public.take(test)
    # As smooth as what a student says.
    base = 10.0 * teachers(public, 30, seed=99)[1].mean(axis=0)
    errors: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(6):
        truth, told = teachers(public, 60, seed=seed)
        for stated, found in errors.items():
            known = base[half] if stated else None
            labels = pooled(library, NUMBER, told[:, half] + base[half], 0.4, known)
            model = distill_task(library, NUMBER, labels, 0).model
            (estimator,) = model.members[0].estimators
            wanted = truth[test] + base[test]
            found.append(float(np.mean((estimator.score(queries, library) - wanted) ** 2)))
    # Most of the error is of what is corrected, and the same.
    assert all(one < other for one, other in zip(errors[True], errors[False], strict=True))


def test_classes_are_sharpened_in_log_odds(public: Compounds) -> None:
    _, told = teachers(public, 40)
    probabilities = 1.0 / (1.0 + np.exp(-told))
    found = estimate_twicing(
        CompoundStream.of(public), BINARY, pooled(public, BINARY, probabilities)
    )
    same = estimate_twicing(CompoundStream.of(public), NUMBER, pooled(public, NUMBER, told))
    assert found is not None
    assert same is not None
    # The mean of probabilities is not that of log-odds, so that it is only nearly the same.
    slope = pooled(public, NUMBER, told).slope
    assert found.base == pytest.approx(same.base * slope, rel=0.1)


def test_nothing_is_sharpened_that_nobody_disagrees_on(public: Compounds) -> None:
    stream = CompoundStream.of(public)
    _, told = teachers(public, 40, 2)
    assert estimate_twicing(stream, NUMBER, pooled(public, NUMBER, told[:1])) is None
    # That one says more than the other of everything is no disagreement.
    alike = np.stack([told[0], told[0] + 3.0])
    assert estimate_twicing(stream, NUMBER, pooled(public, NUMBER, alike)) is None
    assert estimate_twicing(stream, NUMBER, pooled(public, NUMBER, told, 0.0)) is None
    nothing = replace(pooled(public, NUMBER, told), sample=None)
    assert estimate_twicing(stream, NUMBER, nothing) is None
    assert estimate_twicing(stream, NUMBER, pooled(public, NUMBER, told)) is not None


@pytest.mark.parametrize("unit", [1e-7, 1e4])
def test_the_unit_of_a_task_changes_nothing(public: Compounds, unit: float) -> None:
    _, told = teachers(public, 40)
    stream = CompoundStream.of(public)
    one = estimate_twicing(stream, NUMBER, pooled(public, NUMBER, told))
    two = estimate_twicing(stream, NUMBER, pooled(public, NUMBER, unit * told))
    assert one is not None
    assert two is not None
    assert two.base == pytest.approx(one.base, rel=1e-4)
    assert [step.gain for step in two.steps] == pytest.approx(
        [step.gain for step in one.steps], rel=1e-3
    )


def test_of_a_few_compounds_nothing_is_known(public: Compounds) -> None:
    _, told = teachers(public, 40)
    for n, known in ((40, False), (60, True)):
        few = public.take(np.arange(n))
        found = estimate_twicing(CompoundStream.of(few), NUMBER, pooled(few, NUMBER, told[:, :n]))
        assert (found is not None) == known
        assert found is None or len(found.steps) <= 1


def test_noise_is_not_sharpened(public: Compounds, consortium: Consortium) -> None:
    _, told = teachers(public, 40)
    labels = pooled(public, NUMBER, told)
    noisy = distill_task(public, NUMBER, labels, 0, options=StudentOptions(noisy=True))
    assert noisy.twicing is None
    clear = distill_task(public, NUMBER, labels, 0)
    assert clear.twicing is not None
    # A federation with a mechanism is noisy, whatever the sample says.
    contract = consortium.federation
    mechanism = replace(
        contract.mechanism, kind="gaussian", sigma=1.0, clip=(("logbb", -3.0, 2.0),)
    )
    tasks = [task for task in contract.tasks if task.name == "logbb"]
    _, distilled = train_student(
        public, tasks, {"logbb": labels}, replace(contract, mechanism=mechanism), "", 0, 1
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
    assert labels.slope > 1.01
    assert estimate_twicing(CompoundStream.of(public), NUMBER, labels) is None
