"""How a study divides a table: no partner holds a test compound; impossible studies are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluid.base.errors import FluidError, MismatchError, TrainingError
from fluid.base.run import Run
from fluid.central.student import StudentOptions
from fluid.partner.table import LabelledCompounds
from fluid.simulation.baselines import pooled_data_student
from fluid.simulation.cell_result import CEILING_NAME, STUDENT
from fluid.simulation.partition_spec import PartitionError, PartitionSpec
from fluid.simulation.rounds import SimulatedRound
from fluid.simulation.study_spec import WITHOUT_TWICING, StudySpec, partition_name
from fluid.simulation.teachers import train_teachers
from tests.simulation.small_study import BARE, OTHER, PARTITION, SPEC, Small


def keys(*tables: LabelledCompounds) -> list[str]:
    return [key for table in tables for key in table.compounds.connectivities]


def test_partners_share_nothing_and_hold_all_that_is_not_tested(small: Small) -> None:
    study = small.study()
    for spec in (PARTITION, OTHER):
        held = keys(*study.consortium(spec, 0).tables.values())
        assert len(held) == len(set(held))
        assert set(held) == set(study.tables.private.compounds.connectivities)
        tested = study.tables.queries.compounds.connectivities
        assert set(held) | set(tested) == set(small.table.compounds.connectivities)
        assert len(held) + len(tested) == len(small.table.compounds)


def test_no_test_compound_is_private_or_public(small: Small) -> None:
    # A public set that holds every compound of the table.
    public = small.table.compounds
    for validation in (False, True):
        study = small.study(replace(BARE, validation=validation))
        study.public = public
        one = study.consortium(PARTITION, 0)
        tested = set(one.queries.connectivities)
        assert len(tested) == len(one.queries) == len(study.tables.tests)
        assert tested <= set(public.connectivities)
        assert not tested & set(one.public.connectivities)
        assert not tested & set(keys(*one.tables.values()))
        assert len(one.public) == len(public) - len(tested)


def test_a_validation_never_sees_the_tests(small: Small) -> None:
    real = small.study().tables
    trial = small.study(replace(SPEC, validation=True)).tables
    tests = set(keys(real.queries))
    assert not tests & set(keys(trial.queries))
    assert not tests & set(keys(trial.private))
    assert set(keys(trial.queries)) | set(keys(trial.private)) == set(keys(real.private))
    assert set(real.tests) == set(trial.tests) == {"scaffold", "random"}


def test_labels_stay_with_their_compounds(small: Small) -> None:
    division = small.study().tables
    whole = {key: row for row, key in enumerate(small.table.compounds.connectivities)}
    for number in range(len(small.federation.tasks)):
        truth = dict(zip(*small.table.labels.column(number), strict=True))
        seen = 0
        for part in (division.private, division.queries):
            for row, value in zip(*part.labels.column(number), strict=True):
                assert truth[whole[part.compounds.connectivities[row]]] == value
                seen += 1
        assert seen == len(truth)


def test_an_external_table_is_a_test_and_nothing_else(small: Small) -> None:
    external = small.study().tables.queries
    study = small.study(BARE, external=external)
    assert not set(keys(external)) & set(keys(study.tables.private))
    named = study.tables.tests
    assert (named == "external").sum() == len(external.compounds)
    assert set(named) == {"external", "scaffold", "random"}
    trial = small.study(replace(BARE, validation=True), external=external).tables
    assert not set(keys(external)) & set(keys(trial.private, trial.queries))
    assert set(trial.tests) == {"scaffold", "random"}


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_partners_donate_structures_of_theirs(small: Small, share: float) -> None:
    overlapping = replace(PARTITION, overlap=0.2)
    study = small.study(replace(BARE, donate=share))
    one = study.consortium(overlapping, 0)
    before = study._untested()
    public = one.public.connectivities
    assert len(set(public)) == len(public)
    assert list(public[: len(before)]) == list(before.connectivities)
    added = set(public[len(before) :])
    new = set(keys(*one.tables.values())) - set(before.connectivities)
    assert added <= new
    # One of two owners is enough to donate a compound.
    assert share * len(new) * 0.8 <= len(added) <= len(new) * min(1.0, 1.4 * share)
    assert not set(public) & set(one.queries.connectivities)


def test_everybodys_data_distilled_on_the_same_public_set(small: Small) -> None:
    study = small.study()
    one = study.consortium(PARTITION, 0)
    found = next(model for model in small.cell.models if model.name == CEILING_NAME)
    private = study.tables.private
    alone = replace(one, tables={"anybody": replace(private, source="anybody")})
    student = SimulatedRound.first(alone, train_teachers(alone)).student_predictions()
    assert student.keys() == found.predictions.keys()
    for predictions in (student, pooled_data_student(one, private)):
        assert predictions.keys() == found.predictions.keys()
    for name, one_task in pooled_data_student(one, private).items():
        np.testing.assert_array_equal(one_task.values, found.predictions[name].values)


def test_studies_that_are_not_possible(small: Small) -> None:
    nothing = replace(BARE, share_scaffold=0.0, share_random=0.0)
    with pytest.raises(FluidError, match="a study needs a test"):
        small.study(nothing)
    with pytest.raises(FluidError, match="a validation needs shares to hold out"):
        small.study(replace(nothing, validation=True), external=small.study().tables.queries)
    with pytest.raises(MismatchError, match="nothing is left to train: every compound"):
        small.study(BARE, external=small.table)
    study = small.study(BARE)
    study.public = small.public.take(np.arange(30))
    with pytest.raises(MismatchError, match=r"the public set has .* 50 or more are needed"):
        study.run(Run(jobs=1))
    many = replace(BARE, partitions=(PartitionSpec("random", partners=30, minimum=5),))
    with pytest.raises(TrainingError, match="no partner has enough labels for a teacher"):
        small.study(many).run(Run(jobs=1))


def test_a_partition_that_is_not_possible_is_said_before_anything_is_trained(
    small: Small, tmp_path: Path
) -> None:
    specs = (PARTITION, PartitionSpec("random", partners=3, minimum=200))
    study = small.study(replace(BARE, partitions=specs), tmp_path / "cache")
    with pytest.raises(PartitionError, match="do not suffice for 3 partners of 200"):
        study.run(Run(jobs=1))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"partitions": ()}, "at least one partition and one seed"),
        ({"seeds": ()}, "at least one partition and one seed"),
        ({"seeds": (1, 1)}, "seed '1' is given twice"),
        ({"partitions": (PARTITION, PARTITION)}, r"partition 'random \(partners 3\)' is given"),
        ({"references": ("auto", "auto")}, "reference 'auto' is given twice"),
        ({"rounds": 0}, "rounds = 0: allowed are 1 or more"),
        (
            {"without_twicing": True, "student_options": StudentOptions(twicing=False)},
            "the student itself has no twicing",
        ),
        ({"share_random": 0.6}, "share_random = 0.6: allowed are 0 to 0.5"),
        ({"share_scaffold": float("nan")}, "share_scaffold = nan"),
        ({"donate": 1.1}, "donate = 1.1: allowed are 0 to 1"),
    ],
)
def test_settings_that_are_not_allowed(change: dict[str, object], message: str) -> None:
    with pytest.raises(FluidError, match=message):
        replace(SPEC, **change)  # type: ignore[arg-type]


def test_students_with_and_without_twicing() -> None:
    options = StudentOptions()
    assert SPEC.students == {STUDENT: options}
    both = replace(SPEC, without_twicing=True).students
    assert both == {STUDENT: options, WITHOUT_TWICING: replace(options, twicing=False)}
    assert next(iter(both)) == STUDENT


def test_no_two_partitions_have_one_name() -> None:
    specs = [
        PartitionSpec("kmeans"), PartitionSpec("kmeans", partners=4),
        PartitionSpec("kmeans", overlap=0.1), PartitionSpec("scaffold", alpha=0.1),
        PartitionSpec("scaffold"), PartitionSpec("label"), PartitionSpec("size"),
        PartitionSpec("column", column="site"), PartitionSpec("column", column="year"),
        PartitionSpec("kmeans", minimum=5), PartitionSpec("kmeans", mixing=0.0),
    ]  # fmt: skip
    assert len({partition_name(spec) for spec in specs}) == len(specs)
    assert StudySpec(tuple(specs)).partitions == tuple(specs)
