"""The audit of a real teacher: what is closed stays closed, what leaks is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluid.base.errors import FluidError, MismatchError
from fluid.base.run import Run
from fluid.chem.compounds import Compounds, concatenate
from fluid.exchange.federation import Federation
from fluid.exchange.noise_mechanism import Mechanism
from fluid.exchange.policy import DisclosurePolicy
from fluid.learn.labels import LabelMatrix
from fluid.learn.task import Task
from fluid.partner.annotate import annotate
from fluid.partner.audit import (
    CHECKS,
    AuditOptions,
    AuditReport,
    AuditTarget,
    TeacherRecipe,
    attack,
    audit,
    influence,
)
from fluid.partner.audit.arena import make_arena
from fluid.partner.audit.exports import (
    ACTUAL,
    UNPROTECTED,
    Export,
    ReadyTeacher,
    export_actual,
    export_unprotected,
    train,
)
from fluid.partner.audit.influence import measure_influence
from fluid.partner.audit.results import (
    METADATA,
    NEIGHBOUR_METADATA,
    NEIGHBOUR_ROWS,
    OWN_ROW,
    RETRAINED,
)
from fluid.partner.table import read_labelled
from fluid.partner.teacher.fit import TrainingOptions
from fluid.partner.teacher.train import train_teacher
from tests.conftest import OPTIONS, SECRET, Consortium

SECRET_BYTES = bytes.fromhex(SECRET)
ONE_CORE, TWO_CORES = Run(jobs=1), Run(jobs=2)


def changed(
    target: AuditTarget,
    federation: Federation | None = None,
    options: TrainingOptions | None = None,
) -> AuditTarget:
    """The target under another contract or with other settings."""
    recipe = target.recipe
    return replace(
        target,
        recipe=TeacherRecipe(federation or recipe.federation, options or recipe.options),
    )


@pytest.fixture(scope="module")
def target(consortium: Consortium) -> AuditTarget:
    """Aurora's compounds; public are some of its own and those of the round."""
    federation = replace(consortium.federation, tasks=consortium.federation.tasks[:1])
    table = read_labelled(
        [consortium.table("aurora")], federation.tasks, federation.chemistry, jobs=1
    )
    public = concatenate(list(consortium.public.chunks()))
    shared = table.compounds.take(np.arange(0, len(table.compounds), 9))
    options = replace(OPTIONS, repeats=1)
    recipe = TeacherRecipe(federation, options)
    return AuditTarget(table, concatenate([shared, public]), recipe, SECRET_BYTES)


@pytest.fixture(scope="module")
def report(target: AuditTarget) -> AuditReport:
    return attack(target, AuditOptions(shadows=10, overlap=2), {"partner": "aurora"}, TWO_CORES)


def _best(report: AuditReport, channel: str, export: str, name: str | None = None) -> float:
    return max(
        found.auc.value
        for found in report.attacks
        if found.case.channel == channel
        and found.case.export == export
        and found.of_class == "all"
        and name in (None, found.name)
    )


def test_unprotected_export_is_attacked_successfully(report: AuditReport) -> None:
    assert _best(report, METADATA, UNPROTECTED, "similarity") > 0.95
    assert _best(report, OWN_ROW, UNPROTECTED, "rmia") > 0.75


def test_own_row_and_metadata_of_the_actual_export_are_at_chance(report: AuditReport) -> None:
    closed = [
        found
        for found in report.attacks
        if found.case.channel in (OWN_ROW, METADATA) and found.case.export == ACTUAL
    ]
    assert {found.of_class for found in closed} == {"all", "minority", "majority"}
    for found in closed:
        bounds = report.simultaneous(found)
        assert bounds.low <= 0.5 <= bounds.high, found
        assert found.at_1.is_chance, found


def test_neighbours_are_not_closed_and_retraining_is_seen(report: AuditReport) -> None:
    # Cross-fitting does not promise this, and the audit must be able to see it.
    assert _best(report, NEIGHBOUR_ROWS, ACTUAL) > 0.55
    assert _best(report, NEIGHBOUR_METADATA, ACTUAL) > 0.6
    assert _best(report, RETRAINED, ACTUAL) > 0.7


@pytest.mark.parametrize("name", ["audit_max_auc", "audit_max_neighbour_auc"])
def test_thresholds_out_of_range_are_refused(name: str) -> None:
    for wrong in (0.49, 1.01):
        with pytest.raises(ValueError, match=rf"policy {name} = .*: allowed are 0.5 to 1"):
            DisclosurePolicy(**{name: wrong})


def test_balance_is_guessed_better_than_naively(report: AuditReport) -> None:
    actual = next(line for line in report.distribution if line["export"] == ACTUAL)
    assert actual["error"] < actual["naive_error"]


def test_own_rows_stay_and_neighbours_move(report: AuditReport) -> None:
    assert report.influence["overlap"] >= 20
    assert report.influence["tried"] == 2
    assert report.influence["rows_changed"] == 0
    assert report.influence["tasks"]["bbb"]["moved"] > 0


def test_a_row_that_depends_on_membership_is_found(
    target: AuditTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaky(teacher: ReadyTeacher, public: Compounds, jobs: int) -> dict[str, Export]:
        return export_unprotected(teacher, public)

    monkeypatch.setattr(influence, "export_actual", leaky)
    found = measure_influence(changed(target, options=OPTIONS), 2, TWO_CORES)
    assert found["rows_changed"] == 2


def test_other_checks_are_reported_and_can_fail(
    target: AuditTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = np.arange(60)
    small = replace(target, table=target.table.take(few))
    monkeypatch.setitem(CHECKS, "canaries", lambda target, options, run: {"passed": False})
    monkeypatch.setitem(CHECKS, "nothing", lambda target, options, run: None)
    options = replace(OPTIONS, learner="logistic", repeats=1)
    small = changed(small, options=options)
    found = attack(small, AuditOptions(shadows=4, overlap=0), {}, ONE_CORE)
    assert found.checks == {"canaries": {"passed": False}}
    assert found.verdict == "fail"


def test_a_task_that_the_partner_has_no_labels_of_is_left_out(target: AuditTarget) -> None:
    other = Task("logd", "regression", low=-5.0, high=5.0)
    federation = replace(target.federation, tasks=(*target.federation.tasks, other))
    labels = target.table.labels
    table = replace(target.table, labels=replace(labels, shape=(labels.shape[0], 2)))
    options = replace(OPTIONS, learner="logistic", repeats=1)
    wider = changed(replace(target, table=table.take(np.arange(90))), federation, options)
    found = attack(wider, AuditOptions(shadows=4, overlap=0), {}, ONE_CORE)
    assert {one.case.task for one in found.attacks} == {"bbb"}
    assert {one["task"] for one in found.distribution} <= {"bbb"}


def test_what_is_attacked_has_passed_the_noise(target: AuditTarget) -> None:
    mechanism = Mechanism("pate", epsilon=30.0)
    recipe = TeacherRecipe(replace(target.federation, mechanism=mechanism), OPTIONS)
    teacher = train(recipe, target.table, SECRET_BYTES, 1)
    assert teacher is not None
    first, second = (export_actual(teacher, target.public, 1)["bbb"] for _ in range(2))
    assert np.isnan(first.uncertainty).all()
    assert set(first.reliability[np.isfinite(first.reliability)]) == {0.5}
    assert not np.array_equal(first.prediction, second.prediction, equal_nan=True)


def test_three_classes_are_attacked_too(target: AuditTarget) -> None:
    table = target.table
    rows = np.arange(len(table.compounds))
    classes = rows % 3
    labels = LabelMatrix(
        rows=rows,
        tasks=np.zeros_like(rows),
        values=classes.astype(float),
        qualifiers=np.zeros(len(rows), dtype=np.int8),
        weights=np.ones(len(rows)),
        shape=(len(rows), 1),
    )
    task = Task("three", "multiclass", classes=("a", "b", "c"))
    odd = changed(
        replace(target, table=replace(table, labels=labels)),
        replace(target.federation, tasks=(task,)),
        TrainingOptions("logistic", 3, 1),
    )
    found = attack(odd, AuditOptions(shadows=4, overlap=0), {}, ONE_CORE)
    assert {attack_.of_class for attack_ in found.attacks} == {"all", "minority", "majority"}
    assert all(np.isfinite(attack_.auc.value) for attack_ in found.attacks if attack_.n_out > 9)
    assert found.distribution == []


def test_part_of_a_table_keeps_each_label_with_its_compound(target: AuditTarget) -> None:
    table = target.table
    rows = np.arange(3, len(table.compounds), 4)
    part = table.take(rows)
    whole = dict(zip(*table.labels.column(0), strict=True))
    kept = dict(zip(*part.labels.column(0), strict=True))
    assert kept == {i: whole[row] for i, row in enumerate(rows) if row in whole}
    assert part.compounds.inchikeys.tolist() == table.compounds.inchikeys[rows].tolist()


def test_analogues_are_never_the_compound_itself(target: AuditTarget) -> None:
    arena = make_arena(target.table, target.public)
    own = len(target.table.compounds)
    keys = arena.public.connectivities
    assert arena.near.min() >= own
    for row in range(own):
        assert keys[row] not in keys[arena.near[row]]
        assert row not in arena.near_all[row][arena.similarity_all[row] > 0]
    assert (np.diff(arena.similarity, axis=1) <= 0).all()


def test_a_teacher_that_cannot_be_trained_is_none(target: AuditTarget) -> None:
    few = target.table.take(np.arange(5))
    recipe = TeacherRecipe(target.federation, TrainingOptions())
    assert train(recipe, few, SECRET_BYTES, 1) is None


def test_rows_do_not_depend_on_the_public_set(consortium: Consortium, target: AuditTarget) -> None:
    # A changed public set adds rows, and changes none: what both hold is the same.
    teacher = train(TeacherRecipe(target.federation, OPTIONS), target.table, SECRET_BYTES, 1)
    assert teacher is not None
    rows = np.arange(1, len(target.public), 3)
    whole, part = (
        export_actual(teacher, public, 1)["bbb"]
        for public in (target.public, target.public.take(rows))
    )
    assert np.array_equal(part.prediction, whole.prediction[rows], equal_nan=True)
    assert np.array_equal(part.reliability, whole.reliability[rows], equal_nan=True)


def test_audit_refuses_what_does_not_belong_together(
    consortium: Consortium, tmp_path: object
) -> None:
    teacher = consortium.folder / "aurora" / "teacher"
    with pytest.raises(MismatchError, match="expected partner aurora, found draco"):
        audit(teacher, consortium.public, consortium.annotation("draco"))
    for wrong in ({"shadows": 3}, {"overlap": -1}, {"delta": 1.0}):
        with pytest.raises(FluidError, match="allowed are"):
            AuditOptions(**wrong)  # type: ignore[arg-type]


def test_a_draft_of_a_stricter_partner_is_audited_by_its_own_policy(
    consortium: Consortium, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher"
    path = consortium.folder / "federation.toml"
    train_teacher(
        [consortium.table("aurora")],
        path,
        "aurora",
        teacher,
        options=replace(OPTIONS, repeats=1, folds_by="framework"),
        run=Run(jobs=1),
    )
    own = tmp_path / "own.toml"
    own.write_text("[policy]\nneighbourhood = 8\nprobability_step = 0.05\naudit_max_auc = 0.59\n")
    draft = tmp_path / "draft.parquet"
    annotate(teacher, consortium.public, draft, policy=own, run=Run(jobs=1))
    options = AuditOptions(shadows=4, overlap=2)
    found = audit(teacher, consortium.public, draft, options=options, run=TWO_CORES)
    assert found.settings["folds_by"] == "framework"
    policy = found.settings["policy"]
    assert (policy["folds_by"], policy["neighbourhood"]) == ("framework", 8)
    assert found.thresholds.max_auc == 0.59
    assert found.influence["rows_changed"] == 0


def test_by_framework_a_whole_series_is_left_out(target: AuditTarget) -> None:
    options = replace(OPTIONS, repeats=1, folds_by="framework")
    found = measure_influence(changed(target, options=options), 3, TWO_CORES)
    assert found["tried"] == 3
    assert found["rows_changed"] == 0
    assert found["tasks"]["bbb"]["moved"] > 0
