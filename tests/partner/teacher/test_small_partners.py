"""Partners at the edge: a task without a model, a learner that changes with size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import fluid.learn.estimators
from fluid.base.run import Run
from fluid.central.distill import distill
from fluid.exchange.public_set import open_public_set
from fluid.learn.hybrid_model import HybridModel
from fluid.learn.model import TrainedModel
from fluid.learn.storage import load_model
from fluid.partner.annotate import annotate
from fluid.partner.teacher.fit import TrainingOptions
from fluid.partner.teacher.train import train_teacher
from tests.conftest import DATA, SECRET, Consortium, cut_table, make_federation


def test_a_task_without_a_model_has_empty_columns(consortium: Consortium, tmp_path: Path) -> None:
    # borealis has a dozen logBB values, too few for a model.
    table = pq.read_table(consortium.annotation("borealis"))
    assert table.column("logbb.prediction").null_count == len(table)
    assert table.column("logbb.reliability").null_count == len(table)
    assert table.column("bbb.prediction").null_count == 0
    outcome = distill(
        [consortium.annotation("borealis")],
        consortium.public,
        consortium.federation,
        tmp_path / "round",
    )
    assert [task.name for task in outcome.student.tasks] == ["bbb"]
    assert "0 public compounds" in outcome.report["tasks"]["logbb"]["skipped"]


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1e-6, "so coarse that predictions lose"),
        (1.0, None),
        (1e5, "finer than any prediction is accurate"),
    ],
)
def test_a_step_that_does_not_suit_the_unit_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, factor: float, said: str | None
) -> None:
    path = make_federation(tmp_path, ("aurora",), ("papp:regression:cm/s",))
    rows = [f"C{'C' * n}O,{factor * (n % 7):.6g}" for n in range(40)]
    table = tmp_path / "papp.csv"
    table.write_text("\n".join(["smiles,papp", *rows]) + "\n")
    options = TrainingOptions("logistic", folds=3, repeats=1)
    train_teacher([table], path, "aurora", tmp_path / "teacher", options=options, run=Run(jobs=1))
    assert ("value_step" in caplog.text) == (said is not None)
    assert (said or "") in caplog.text


def test_a_hybrid_keeps_tasks_that_the_student_lacks(consortium: Consortium) -> None:
    hybrid = load_model(consortium.folder / "aurora" / "hybrid")
    assert isinstance(hybrid, HybridModel)
    student = hybrid.student
    alone = dataclasses.replace(
        hybrid,
        student=TrainedModel(
            student.card, student.chemistry, student.library, student.task_models[:1]
        ),
    )
    assert [task.name for task in alone.tasks] == ["bbb", "logbb"]
    queries = next(iter(open_public_set(consortium.folder / "public.parquet").chunks()))
    said = alone.predict(queries.take(np.arange(5)))
    assert np.isfinite(said.by_task["logbb"].values).all()


@pytest.mark.long
def test_auto_calibrates_with_the_learner_it_chose(
    consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outer models are larger than inner ones: both must be of one kind for a fold."""
    table = cut_table(DATA / "partners" / "borealis.csv", tmp_path / "t.csv", 300)
    (tmp_path / "secret").write_text(SECRET)

    def slopes(learner: str, limit: int) -> list[tuple[str, float]]:
        monkeypatch.setattr(fluid.learn.estimators, "KERNEL_LIMIT", limit)
        target = tmp_path / f"{learner}-{limit}"
        train_teacher(
            [table],
            consortium.federation_path,
            "borealis",
            target,
            options=TrainingOptions(learner, folds=3, repeats=1),
            secret=tmp_path / "secret",
            run=Run(jobs=2),
        )
        model = load_model(target)
        assert isinstance(model, TrainedModel)
        members = model.task_models[0].members
        return [(m.estimators[0].kind, m.calibrations[0].slope) for m in members]

    compounds = slopes("svm", 4000)
    trees = slopes("lightgbm", 4000)
    # Between the sizes of inner (a third) and outer models (two thirds) of some 150 compounds.
    assert slopes("auto", 80) == trees
    assert slopes("auto", 4000) == compounds


def test_annotating_with_a_draft_key_is_unsigned(consortium: Consortium, tmp_path: Path) -> None:
    summary = annotate(
        consortium.folder / "aurora" / "teacher", consortium.public, tmp_path / "a.parquet"
    )
    assert not summary.signed
