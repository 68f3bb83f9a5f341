"""A round through a noise mechanism: what is in the file, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
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
from fluid.chem.compounds import Compounds
from fluid.exchange.annotation import open_annotation
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.noise_mechanism import Mechanism
from fluid.exchange.public_set import PublicSet, open_public_set
from fluid.learn.storage import load_trained
from fluid.learn.task import Task
from fluid.partner.annotate import annotate
from fluid.partner.dp.accounting import BudgetError, Event, price
from fluid.partner.dp.budget import Plan, plan_release, rank_queries
from fluid.partner.dp.pate import SubTeachers
from fluid.partner.dp.pate_labeler import (
    PateLabeler,
    averaged,
    voted,
)
from fluid.partner.release.approve import approve
from fluid.partner.release.key_checkpoint import cost_of_releases
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
kind = "pate"
unit = "measurement"
{settings}
[mechanism.clip]
logbb = [-2.0, 1.5]
"""
BBB = Task("bbb", "binary")
LOGBB = Task("logbb", "regression", low=-4.0, high=4.0)
KIND = Task("kind", "multiclass", classes=("a", "b", "c"))


def _federation(folder: Path, settings: str) -> Path:
    path = make_federation(folder, ("aurora",))
    path.write_text(path.read_text() + TABLE.format(settings=settings))
    return path


def _round(folder: Path, settings: str) -> tuple[Path, Federation, PublicSet, dict[str, Any]]:
    path = _federation(folder, settings)
    federation = load_federation(path)
    source = write_public(folder / "public.csv", public_rows(90))
    prepare_public([source], federation, folder / "public.parquet", run=Run(jobs=1))
    public = open_public_set(folder / "public.parquet")
    table = cut_table(DATA / "partners" / "aurora.csv", folder / "aurora.csv", 160)
    train_teacher(
        [table],
        path,
        "aurora",
        folder / "teacher",
        options=TrainingOptions("logistic", folds=3, repeats=1),
        run=Run(jobs=1),
    )
    summary = annotate(
        folder / "teacher",
        public,
        folder / "a.parquet",
        key=folder / "keys" / "aurora.key",
        run=Run(jobs=1),
    )
    assert summary.cost is not None
    return path, federation, public, summary.cost


def _spend_all(teacher: Path, public: PublicSet, key: Path | None = None) -> tuple[list[Any], str]:
    """Releases until one is refused, and why it was."""
    draws: list[Any] = []
    output = teacher.parent / "b.parquet"
    while len(draws) < 10:
        try:
            annotate(teacher, public, output, key=key, run=Run(jobs=1))
        except BudgetError as error:
            return draws, str(error)
        draws.append(pq.read_table(output).to_pydict()["logbb.prediction"])
    return draws, "never refused"


def test_pate_from_the_table_to_the_student(tmp_path: Path) -> None:
    settings = "epsilon = 12.0\nsub_teachers = 5\nsigma = 8.0\nthreshold = 0.0"
    _, federation, public, cost = _round(tmp_path, settings)
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
    # The coordinator admits it under this mechanism only, and distills a student from it.
    assert len(admit([tmp_path / "a.parquet"], federation, public)) == 1
    other = replace(federation, mechanism=replace(federation.mechanism, delta=1e-9))
    with pytest.raises(MismatchError, match="does not state the noise mechanism"):
        admit([tmp_path / "a.parquet"], other, public)
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
        annotate(tmp_path / "teacher", public, tmp_path / "d.parquet")


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


class _Unanimous(SubTeachers):
    """Sub-teachers that all vote for the first class."""

    def predict(self, queries: Compounds, jobs: int = 1) -> dict[str, np.ndarray]:
        return {"bbb": np.zeros((len(queries), 20, 1))}


def _labeler(consortium: Consortium, mechanism: Mechanism) -> tuple[PateLabeler, Compounds, Plan]:
    """A labeler of 300 public compounds in one task, the compounds, and its plan."""
    tasks = consortium.federation.tasks[:1]
    federation = replace(consortium.federation, tasks=tasks, mechanism=mechanism)
    (public,) = consortium.public.chunks()
    plan = plan_release(mechanism, tasks, 300)
    ranks = rank_queries(list(public.inchikeys[:300]), "salt")
    home = load_trained(consortium.folder / "aurora" / "teacher", "teacher")
    labeler = PateLabeler(federation, _Unanimous(home, bytes(32)), ranks)
    return labeler, public.take(np.arange(300)), plan


def test_a_resumed_run_asks_about_the_same_compounds(consortium: Consortium) -> None:
    mechanism = Mechanism("pate", epsilon=2.0, sigma=20.0, threshold=0.0, unit="measurement")
    labeler, public, plan = _labeler(consortium, mechanism)
    assert 10 < plan.asked["bbb"] < 200
    chunks = [public.take(np.arange(start, start + 100)) for start in (0, 100, 200)]
    whole, first = labeler.within(plan), labeler.within(plan)
    labels = [whole.label(chunk)["bbb"] for chunk in chunks]
    first.recall({"bbb": labels[0]})
    resumed = [first.label(chunk)["bbb"] for chunk in chunks[1:]]
    for one, other in zip(labels[1:], resumed, strict=True):
        assert (np.isfinite(one.reliability) == np.isfinite(other.reliability)).all()
    assert sum(int(np.isfinite(one.reliability).sum()) for one in labels) == plan.asked["bbb"]


def test_without_a_plan_nothing_is_asked(consortium: Consortium) -> None:
    labeler, public, _ = _labeler(consortium, Mechanism("pate", epsilon=2.0))
    for bare in (labeler, labeler.within(None)):
        assert np.isnan(bare.label(public)["bbb"].prediction).all()


@pytest.mark.parametrize("size", [7, 50, 300])
@pytest.mark.parametrize("checks", [1.0, 1.5, 4.0])
def test_no_more_is_asked_or_answered_than_is_paid_for(
    consortium: Consortium, monkeypatch: pytest.MonkeyPatch, size: int, checks: float
) -> None:
    mechanism = Mechanism("pate", epsilon=6.0, checks_per_answer=checks, unit="measurement")
    labeler, public, plan = _labeler(consortium, mechanism)
    labeler = labeler.within(plan)
    asked = answered = labelled = 0

    def refuse_every_second(
        task: Task, mechanism: Mechanism, votes: np.ndarray, most: int
    ) -> np.ndarray:
        nonlocal asked, answered
        found = np.full((len(votes), 1), np.nan)
        chosen = np.arange(asked % 2, len(votes), 2)[: max(most, 0)]
        found[chosen] = 0.9
        asked += len(votes)
        answered += len(chosen)
        return found

    monkeypatch.setattr("fluid.partner.dp.pate_labeler.voted", refuse_every_second)
    for start in range(0, 300, size):
        chunk = public.take(np.arange(start, min(start + size, 300)))
        labelled += int(np.isfinite(labeler.label(chunk)["bbb"].reliability).sum())
    assert asked == plan.asked["bbb"]
    assert labelled == answered <= plan.answered["bbb"]
    # The budget is used up, as far as the checks let it.
    assert labelled >= min(plan.answered["bbb"], plan.asked["bbb"] // 2 - 300 // size - 1)


def test_an_interrupted_run_keeps_its_draws_and_its_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = "epsilon = 12.0\nsub_teachers = 5\nsigma = 8.0\nthreshold = 0.0"
    monkeypatch.setattr("fluid.exchange.sealed.ROW_GROUP", 16)
    _, _, public, _ = _round(tmp_path, settings)
    teacher, output = tmp_path / "teacher", tmp_path / "b.parquet"

    def stop(done: int) -> None:
        if done >= 48:
            raise KeyboardInterrupt

    def annotate_second(progress: Callable[[int], None]) -> None:
        annotate(teacher, public, output, run=Run(jobs=1, progress=progress))

    with pytest.raises(KeyboardInterrupt):
        annotate_second(stop)
    kept = output.with_name(".b.parquet.unfinished").read_bytes()
    assert read_ledger(teacher).releases == 2
    labelled: list[int] = []
    label = PateLabeler.label

    def counted(labeler: PateLabeler, compounds: Compounds, jobs: int) -> Any:
        labelled.append(len(compounds))
        return label(labeler, compounds, jobs)

    monkeypatch.setattr(PateLabeler, "label", counted)
    annotate_second(lambda done: None)
    assert kept
    assert sum(labelled) == len(public) - 48
    ledger = read_ledger(teacher)
    assert ledger.releases == 2
    answered = open_annotation(output).sealed.manifest["noise"]["answered_at_most"]
    found = pq.read_table(output).to_pydict()["bbb.prediction"]
    assert sum(value is not None for value in found) <= answered["bbb"]
    # What was drawn is used up: the same query again is a new release.
    annotate_second(lambda done: None)
    assert read_ledger(teacher).releases == 3


def test_a_run_that_is_killed_before_its_signature_is_charged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its noise is at hand, so the answer is the same to the byte."""
    settings = "epsilon = 12.0\nsub_teachers = 5\nsigma = 8.0\nthreshold = 0.0"
    monkeypatch.setattr("fluid.exchange.sealed.ROW_GROUP", 16)
    _, _, public, _ = _round(tmp_path, settings)
    teacher, output = tmp_path / "teacher", tmp_path / "b.parquet"
    key = tmp_path / "keys" / "aurora.key"

    def stop(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr("fluid.partner.annotate.approve", stop)
        with pytest.raises(KeyboardInterrupt):
            annotate(teacher, public, output, key=key, run=Run(jobs=1))
    finished = read_ledger(teacher).of("finished")[-1].values
    assert finished["release"] == read_ledger(teacher).releases == 2
    again = annotate(teacher, public, output, key=key, run=Run(jobs=1))
    assert again.digest == finished["digest"]
    assert read_ledger(teacher).releases == 2


def test_epsilon_is_that_of_a_key_and_not_of_a_folder(tmp_path: Path) -> None:
    settings = "epsilon = 12.0\nsub_teachers = 5\nsigma = 8.0\nthreshold = 0.0"
    path, _, public, _ = _round(tmp_path, settings)
    table, other = tmp_path / "aurora.csv", tmp_path / "other"
    options = TrainingOptions("logistic", folds=3, repeats=1)
    train_teacher([table], path, "aurora", other, options=options, run=Run(jobs=1))
    key = shutil.copy2(tmp_path / "keys" / "aurora.key", tmp_path / "copy.pem")
    # The folder alone knows of nothing that was spent.
    annotate(other, public, tmp_path / "draft.parquet", run=Run(jobs=1))
    with pytest.raises(BudgetError, match=r"this would be epsilon .* the federation's is 12"):
        approve(tmp_path / "draft.parquet", other, key)
    train_teacher([table], path, "aurora", tmp_path / "third", options=options, run=Run(jobs=1))
    # With the key it is told before any work, and gets what is left.
    draws, refusal = _spend_all(tmp_path / "third", public, key)
    assert "does not afford a single label" in refusal
    if draws:
        output = tmp_path / "b.parquet"
        assert open_annotation(output).sealed.manifest["noise"]["total"]["epsilon"] <= 12.0


def test_noise_of_another_kind_in_the_ledger_is_refused() -> None:
    event = {"kind": "response", "count": 5, "epsilon": 1.0, "classes": 2}
    cost = {
        "mechanism": "label-only",
        "unit": "compound",
        "epsilon": 5.0,
        "delta": 1e-6,
        "queries": 5,
        "events": {"bbb": [event]},
    }
    with pytest.raises(BudgetError, match=r"release 1 of this .*: noise of kind 'response'"):
        cost_of_releases([{"release": cost}])
    with pytest.raises(BudgetError, match="release 2 of this teacher's folder had no noise"):
        cost_of_releases([_cost_of(5), {}])


def _cost_of(draws: int) -> dict[str, Any]:
    return {
        "release": price("pate", "compound", 1e-6, draws, {"bbb": [Event(draws, 9.0)]}).to_dict()
    }
