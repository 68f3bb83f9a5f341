"""A round through a noise mechanism: what is in the file, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fluid.base.errors import MismatchError
from fluid.base.run import Run
from fluid.central.distill import distill
from fluid.central.intake import admit
from fluid.exchange.annotation import open_annotation
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.mechanism import Mechanism
from fluid.exchange.public_set import PublicSet, open_public_set
from fluid.learn.own_fold import OwnFoldLabels
from fluid.learn.task import Task
from fluid.partner.annotate import annotate
from fluid.partner.dp.accounting import BudgetError
from fluid.partner.dp.budget import plan_release
from fluid.partner.dp.pate_labeler import (
    OwnFold,
    PateLabeler,
    averaged,
    gaussian,
    label_only,
    voted,
)
from fluid.partner.release.ledger import read_ledger
from fluid.partner.teacher.fit import TrainingOptions
from fluid.partner.teacher.train import train_teacher
from fluid.public.prepare import prepare_public
from fluid.report.inspect import inspect_path
from fluid.report.sections import annotation_sections
from tests.conftest import (
    DATA,
    Consortium,
    cut_table,
    make_federation,
    public_rows,
    write_public,
)

TABLE = """
[mechanism]
kind = "{kind}"
unit = "measurement"
{settings}
[mechanism.clip]
logbb = [-2.0, 1.5]
"""
BBB = Task("bbb", "binary")
LOGBB = Task("logbb", "regression", low=-4.0, high=4.0)
KIND = Task("kind", "multiclass", classes=("a", "b", "c"))


def _federation(folder: Path, kind: str, settings: str) -> Path:
    path = make_federation(folder, ("aurora",))
    path.write_text(path.read_text() + TABLE.format(kind=kind, settings=settings))
    return path


def _round(
    folder: Path, kind: str, settings: str
) -> tuple[Path, Federation, PublicSet, dict[str, Any]]:
    path = _federation(folder, kind, settings)
    federation = load_federation(path)
    source = write_public(folder / "public.csv", public_rows(90))
    prepare_public([source], federation, folder / "public.parquet", run=Run(jobs=1))
    public = open_public_set(folder / "public.parquet")
    table = cut_table(DATA / "partners" / "aurora.csv", folder / "aurora.csv", 160)
    train_teacher(
        [table], federation, path, "aurora", folder / "teacher",
        TrainingOptions("logistic", folds=3, repeats=1), jobs=1,
    )  # fmt: skip
    summary = annotate(
        folder / "teacher", public, folder / "a.parquet", folder / "keys" / "aurora.key", jobs=1
    )
    assert summary.cost is not None
    return path, federation, public, summary.cost


def _spend_all(teacher: Path, public: PublicSet) -> tuple[list[Any], str]:
    """Releases until one is refused, and why it was."""
    draws: list[Any] = []
    output = teacher.parent / "b.parquet"
    while len(draws) < 10:
        try:
            annotate(teacher, public, output, None, jobs=1)
        except BudgetError as error:
            return draws, str(error)
        draws.append(pq.read_table(output).to_pydict()["logbb.prediction"])
    return draws, "never refused"


def test_pate_from_the_table_to_the_student(tmp_path: Path) -> None:
    settings = "epsilon = 12.0\nsub_teachers = 5\nsigma = 8.0\nthreshold = 0.0"
    _, federation, public, cost = _round(tmp_path, "pate", settings)
    found = pq.read_table(tmp_path / "a.parquet").to_pydict()
    assert set(found["bbb.uncertainty"]) | set(found["logbb.uncertainty"]) == {None}
    for task, values in (("bbb", {0.1, 0.9}), ("logbb", None)):
        said = [value for value in found[f"{task}.prediction"] if value is not None]
        trusted = [value for value in found[f"{task}.reliability"] if value is not None]
        assert set(trusted) == {0.5}
        assert len(said) == len(trusted) > 50
        if values is not None:
            assert {round(value, 6) for value in said} == values
        else:
            assert min(said) >= -2.0 - 1e-6
            assert max(said) <= 1.5 + 1e-6
    stated = open_annotation(tmp_path / "a.parquet").sealed.manifest["noise"]
    assert stated["settings"] == federation.mechanism.to_dict()
    assert stated["release"] == cost
    assert stated["total"]["epsilon"] <= 12.0
    assert (cost["unit"], cost["delta"]) == ("measurement", 1e-6)
    # It is told to the person who signs.
    told = annotation_sections(inspect_path(tmp_path / "a.parquet"))
    (section,) = [one for one in told if one.title == "Noise mechanism"]
    assert ("mechanism", "pate") in section.rows
    assert any(name == "this release" and "at delta 1e-06" in text for name, text in section.rows)
    # The coordinator takes it, and makes a student of it.
    distill([tmp_path / "a.parquet"], public, federation, tmp_path / "round", run=Run(jobs=1))
    # Further releases get what is left, and never the same draw; then there are no more.
    draws, refusal = _spend_all(tmp_path / "teacher", public)
    assert "does not afford a single label" in refusal
    draws.insert(0, found["logbb.prediction"])
    assert all(one != other for one, other in pairwise(draws))
    ledger = read_ledger(tmp_path / "teacher")
    assert ledger.releases == len(draws)
    assert stated["total"]["epsilon"] <= ledger.cost()["epsilon"] <= 12.0
    shutil.rmtree(tmp_path / "teacher" / "sub-teachers")
    with pytest.raises(MismatchError, match="holds no sub-teachers; train the teacher again"):
        annotate(tmp_path / "teacher", public, tmp_path / "d.parquet", None)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "settings"),
    [("label-only", "label_epsilon = 2.0\nlevels = 7"), ("gaussian", "sigma = 0.5")],
)
def test_noise_on_own_fold_labels(tmp_path: Path, kind: str, settings: str) -> None:
    _, federation, public, cost = _round(tmp_path, kind, settings)
    found = pq.read_table(tmp_path / "a.parquet").to_pydict()
    assert None not in found["bbb.prediction"]
    assert set(found["bbb.reliability"]) == {0.5}
    if kind == "label-only":
        assert len(set(found["bbb.prediction"])) == 2
        assert 2 < len(set(found["logbb.prediction"])) <= 7
    # One record may move all of the public set's labels.
    assert cost["epsilon"] > 30.0
    assert len(admit([tmp_path / "a.parquet"], federation, public)) == 1
    other = replace(federation, mechanism=replace(federation.mechanism, delta=1e-9))
    with pytest.raises(MismatchError, match="does not state the noise mechanism"):
        admit([tmp_path / "a.parquet"], other, public)


def test_a_label_says_what_its_epsilon_allows() -> None:
    sure = Mechanism("label-only", label_epsilon=20.0, levels=4)
    said = label_only(BBB, sure, np.array([[0.49], [0.5]]))
    assert said.tolist() == [[pytest.approx(0.0, abs=1e-6)], [pytest.approx(1.0)]]
    numbers = label_only(LOGBB, sure, np.array([[-9.0], [-3.9], [0.1], [4.0]]))
    assert numbers[:, 0] == pytest.approx([-3.0, -3.0, 1.0, 3.0], abs=1e-6)
    several = label_only(KIND, sure, np.array([[0.2, 0.5, 0.3]]))
    assert several[0] == pytest.approx([0.0, 1.0, 0.0], abs=1e-6)
    faint = Mechanism("label-only", label_epsilon=1.0)
    values = set(label_only(BBB, faint, np.full((60, 1), 0.9))[:, 0].round(6).tolist())
    assert values <= {round(np.e / (1 + np.e), 6), round(1 / (1 + np.e), 6)}


def test_noise_is_centred_on_the_prediction_and_stays_in_the_range() -> None:
    mechanism = Mechanism("gaussian", sigma=0.1)
    noisy = gaussian(LOGBB, mechanism, np.full((2000, 1), 1.0))
    assert noisy.mean() == pytest.approx(1.0, abs=0.1)
    assert noisy.std() == pytest.approx(0.8, rel=0.1)
    assert np.abs(noisy).max() <= 4.0
    several = gaussian(KIND, mechanism, np.tile([0.2, 0.5, 0.3], (50, 1)))
    assert several.sum(axis=1) == pytest.approx(np.ones(50))


def test_votes_become_constants_and_means() -> None:
    exact = Mechanism("pate", epsilon=1.0, sub_teachers=4, sigma=0.1, threshold=0.0)
    said = np.full((2, 4, 1), np.nan)
    said[0, :3, 0], said[1, :3, 0] = [0.9, 0.8, 0.1], [0.1, 0.2, 0.9]
    assert voted(BBB, exact, said, 1)[0].tolist() == [0.9]
    assert np.isnan(voted(BBB, exact, said, 1)[1]).all()
    several = np.zeros((1, 4, 3))
    several[:, :, 2] = 1.0
    assert voted(KIND, exact, several, 1)[0] == pytest.approx([0.05, 0.05, 0.9])
    # The own sub-teacher says nothing; one that is silent is in the middle of the range.
    said[0, :3, 0] = [4.0, 4.0, np.nan]
    assert averaged(LOGBB, exact, said[:1])[0, 0] == pytest.approx(8.0 / 3, abs=1.5)


class _Halves:
    """A teacher that says one half of everything."""

    def label(
        self, federation: Federation, compounds: Any, jobs: int = 1
    ) -> dict[str, OwnFoldLabels]:
        one = np.full(len(compounds), 0.5)
        return {
            task.name: OwnFoldLabels(one[:, None], one[:, None], one, one)
            for task in federation.tasks
        }


def test_a_resumed_run_asks_about_the_same_compounds(consortium: Consortium) -> None:
    mechanism = Mechanism("gaussian", epsilon=2.0, sigma=10.0, unit="measurement")
    tasks = consortium.federation.tasks[:1]
    federation = replace(consortium.federation, tasks=tasks, mechanism=mechanism)
    (public,) = consortium.public.chunks()
    plan = plan_release(mechanism, tasks, 300)
    assert 10 < plan.asked["bbb"] < 200
    chunks = [public.take(np.arange(start, start + 100)) for start in (0, 100, 200)]

    def labeler() -> PateLabeler:
        keys = list(public.inchikeys[:300])
        return PateLabeler(federation, OwnFold(federation, _Halves()), keys, "salt", plan)

    whole, first = labeler(), labeler()
    said = [whole.annotate(federation, chunk)["bbb"] for chunk in chunks]
    first.recall({"bbb": said[0]})
    resumed = [first.annotate(federation, chunk)["bbb"] for chunk in chunks[1:]]
    for one, other in zip(said[1:], resumed, strict=True):
        assert (np.isfinite(one.reliability) == np.isfinite(other.reliability)).all()
    assert sum(int(np.isfinite(one.reliability).sum()) for one in said) == plan.asked["bbb"]


class _Counting:
    """Votes that count what is asked and what may be answered; every second is refused."""

    def __init__(self) -> None:
        self.asked = self.answered = 0

    def prepare(self, queries: Any, jobs: int) -> dict[str, np.ndarray]:
        return {"bbb": np.zeros((len(queries), 1))}

    def answer(self, task: Task, raw: np.ndarray, most: int) -> np.ndarray:
        found = np.full((len(raw), 1), np.nan)
        chosen = np.arange(self.asked % 2, len(raw), 2)[: max(most, 0)]
        found[chosen] = 0.9
        self.asked += len(raw)
        self.answered += len(chosen)
        return found


@pytest.mark.parametrize("size", [7, 50, 300])
@pytest.mark.parametrize("checks", [1.0, 1.5, 4.0])
def test_no_more_is_asked_or_answered_than_is_paid_for(
    consortium: Consortium, size: int, checks: float
) -> None:
    mechanism = Mechanism("pate", epsilon=6.0, checks_per_answer=checks, unit="measurement")
    tasks = consortium.federation.tasks[:1]
    federation = replace(consortium.federation, tasks=tasks, mechanism=mechanism)
    (public,) = consortium.public.chunks()
    plan = plan_release(mechanism, tasks, 300)
    source = _Counting()
    labeler = PateLabeler(federation, source, list(public.inchikeys[:300]), "salt", plan)
    labelled = 0
    for start in range(0, 300, size):
        chunk = public.take(np.arange(start, min(start + size, 300)))
        labelled += int(np.isfinite(labeler.annotate(federation, chunk)["bbb"].reliability).sum())
    assert source.asked == plan.asked["bbb"]
    assert labelled == source.answered <= plan.answered["bbb"]
    # What is paid for is used up, as far as the checks let it.
    assert labelled >= min(plan.answered["bbb"], plan.asked["bbb"] // 2 - 300 // size - 1)
