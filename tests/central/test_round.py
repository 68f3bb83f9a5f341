"""A round on real data: the student learned from the teachers, and the report states it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluid.base.run import Run
from fluid.central.distill import train_student
from fluid.central.student import held_out_groups
from fluid.chem.stream import CompoundStream
from fluid.exchange.federated_set import open_federated
from fluid.learn.storage import load_model
from fluid.learn.task import Task
from fluid.learn.trained_on import digest_connectivities
from fluid.report.evaluate import evaluate
from fluid.soft_labels.pooled import PooledSet
from fluid.soft_labels.targets import soft_targets
from tests.conftest import DATA, PARTNERS, Consortium


def test_soft_targets_are_not_rounded_to_classes() -> None:
    label = np.array([[0.5], [0.55], [0.001]], dtype=np.float32)
    targets = soft_targets(Task("bbb", "binary"), label)
    assert targets[:, 0] == pytest.approx([0.0, np.log(0.55 / 0.45), np.log(0.01 / 0.99)], abs=1e-5)
    assert soft_targets(Task("y", "regression"), label)[1, 0] == pytest.approx(0.55)


def test_the_report_agrees_with_the_files(consortium: Consortium) -> None:
    report = json.loads((consortium.folder / "round1" / "report.json").read_text())
    federated = open_federated(consortium.folder / "round1" / "federated.parquet")
    assert report["federated_set"] == federated.sealed.digest
    assert report["public_set"] == consortium.public.digest
    assert sorted(report["partners"]) == sorted(PARTNERS)
    assert report["n_compounds"] == len(consortium.public)
    compounds, pooled = federated.load()
    assert len(compounds) == len(consortium.public)
    assert report["tasks"]["bbb"]["labelled"] == int(np.isfinite(pooled["bbb"].label).sum())
    assert np.all((pooled["bbb"].label >= 0.01) & (pooled["bbb"].label <= 0.99))
    groups = held_out_groups(digest_connectivities(compounds))
    assert set(groups) == set(range(10))


def test_student_learned_what_teachers_know(consortium: Consortium) -> None:
    folders = [consortium.folder / "round1" / "student"]
    folders += [consortium.folder / partner / "teacher" for partner in PARTNERS]
    folders.append(consortium.folder / "aurora" / "hybrid")
    tasks = evaluate(folders, [DATA / "external.csv"], draws=200, run=Run(jobs=1)).tasks
    models = {model["name"]: model for model in tasks["bbb"]["models"]}
    area = {name: model["metrics"]["roc_auc"]["value"] for name, model in models.items()}
    assert area["round1/student"] > 0.70
    assert area["round1/student"] > np.mean([area[f"{partner}/teacher"] for partner in PARTNERS])
    assert area["aurora/hybrid"] > area["aurora/teacher"]
    assert "mean of teachers" in models
    for estimate in models["round1/student"]["metrics"].values():
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    pairs = {(d["model"], d["against"]) for d in tasks["bbb"]["differences"]}
    assert pairs == {
        ("round1/student", "mean teacher"),
        ("round1/student", "mean of teachers"),
        ("aurora/hybrid", "aurora/teacher"),
    }


def test_student_carries_only_public_compounds(consortium: Consortium) -> None:
    student = load_model(consortium.folder / "round1" / "student")
    public = {key for chunk in consortium.public.chunks() for key in chunk.inchikeys}
    assert set(student.library.inchikeys) <= public  # type: ignore[attr-defined]
    names = {file.name for file in (consortium.folder / "round1" / "student").rglob("*")}
    assert "fold.key" not in names


def test_domain_of_the_student_is_what_teachers_knew(consortium: Consortium) -> None:
    _, pooled = open_federated(consortium.folder / "round1" / "federated.parquet").load()
    student = load_model(consortium.folder / "round1" / "student")
    model = student.task_models[0]  # type: ignore[attr-defined]
    trusted = int((pooled["bbb"].reliability >= 0.2).sum())
    assert len(model.rows) == max(trusted, 50)


def test_a_failed_round_leaves_nothing(consortium: Consortium, tmp_path: Path) -> None:
    from fluid.base.errors import FluidError
    from fluid.central.distill import distill

    twice = [consortium.annotation("aurora"), consortium.annotation("aurora")]
    with pytest.raises(FluidError, match="has sent"):
        distill(twice, consortium.public, consortium.federation, tmp_path / "round")
    assert list(tmp_path.iterdir()) == []


def test_a_public_set_that_no_teacher_knows_is_a_warning(
    consortium: Consortium, caplog: pytest.LogCaptureFixture
) -> None:
    compounds, pooled = open_federated(consortium.folder / "round1" / "federated.parquet").load()
    few = {}
    for name, one in pooled.items():
        trust = np.full(len(compounds), 0.1, dtype=np.float32)
        trust[: 7 if name == consortium.federation.tasks[0].name else 60] = 0.3
        few[name] = replace(one, reliability=trust)
    train_student(
        consortium.federation.tasks,
        PooledSet(CompoundStream.of(compounds), few),
        consortium.federation,
        run=Run(jobs=1),
    )
    warnings = [record.getMessage() for record in caplog.records if "teachers know" in record.msg]
    assert len(warnings) == 1
    assert f"teachers know 7 of {len(compounds):,} public compounds (reliability 0.2" in warnings[0]
