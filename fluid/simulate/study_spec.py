"""What a study runs, and what it finds in each virtual consortium."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from fluid.base.errors import FluidError
from fluid.central.student import StudentOptions
from fluid.partner.hybrid.private_model import HybridOptions
from fluid.partner.teacher.fit import TrainingOptions
from fluid.simulate.partition_spec import PartitionSpec
from fluid.simulate.predictions import OutOfFold, TaskScores

STUDENT, MEAN, PAPER = "student", "mean of teachers", "paper's student"
REFERENCE, TEACHER, HYBRID = "reference", "teacher", "hybrid"
# What the public set can carry: everybody's data as one partner, distilled like a consortium's.
CEILING = "student of pooled data"
EXTERNAL, SCAFFOLD, RANDOM = "external", "scaffold", "random"


def partition_name(spec: PartitionSpec) -> str:
    """Short name of a partition for tables: its kind, and settings that are not the usual ones.

    Examples
    --------
    >>> partition_name(PartitionSpec("kmeans"))
    'k-means'
    >>> partition_name(PartitionSpec("scaffold", partners=4, alpha=0.1))
    'Dirichlet 0.1 (partners 4)'
    """
    names = {"kmeans": "k-means", "scaffold": "Dirichlet"}
    values = spec.to_dict()
    words = [names.get(spec.kind, spec.kind)]
    words += [f"{values[name]:g}" for name in ("alpha",) if name in values]
    words += [str(values[name]) for name in ("column",) if name in values]
    usual = {one.name: one.default for one in fields(PartitionSpec)}
    unusual = [
        f"{name} {value}"
        for name, value in values.items()
        if name not in ("kind", "alpha", "column") and value != usual[name]
    ]
    return " ".join(words) + (f" ({', '.join(unusual)})" if unusual else "")


@dataclass(frozen=True)
class StudySpec:
    """What a study runs.

    Attributes
    ----------
    partitions, seeds
        Each partition is drawn with each seed: a *cell*.
    share_scaffold, share_random
        Shares of the table held out as tests, whole scaffolds and single compounds; 0 for none.
    validation
        Hold the tests out of what remains when the tests are taken away: to choose settings on.
    options, hybrid_options
        How teachers and hybrids are trained.
    recipes
        Students to distill, by name; the first is the one that hybrids use.
    donate
        Share of each partner's compounds whose structures, without labels, join the public set, as
        those would that are published already.
    rounds
        Of annotation: from the second on, partners correct the numbers of the student before, and
        a student is distilled after each.
    references
        Learners of the models trained on everybody's data. With any of them everybody's data are
        also distilled on the same public set, as if one partner held them.
    paper, hybrids
        Whether to run the paper's own recipe, and hybrids.
    """

    partitions: tuple[PartitionSpec, ...] = (PartitionSpec("kmeans"),)
    seeds: tuple[int, ...] = (0,)
    share_scaffold: float = 0.12
    share_random: float = 0.12
    validation: bool = False
    options: TrainingOptions = field(default_factory=TrainingOptions)
    hybrid_options: HybridOptions = field(default_factory=HybridOptions)
    recipes: tuple[tuple[str, StudentOptions], ...] = ((STUDENT, StudentOptions()),)
    donate: float = 0.0
    rounds: int = 1
    references: tuple[str, ...] = ("auto",)
    paper: bool = True
    hybrids: bool = True

    def __post_init__(self) -> None:
        if not self.partitions or not self.seeds:
            raise FluidError("a study needs at least one partition and one seed")
        for name in ("share_scaffold", "share_random"):
            if not 0.0 <= getattr(self, name) <= 0.5:
                raise FluidError(f"{name} = {getattr(self, name)}: allowed are 0 to 0.5")
        if not 0.0 <= self.donate <= 1.0:
            raise FluidError(f"donate = {self.donate}: allowed are 0 to 1")
        if not self.recipes:
            raise FluidError("a study needs at least one student")
        for what, names in (
            ("partition", [partition_name(one) for one in self.partitions]),
            ("seed", self.seeds),
            ("student", [name for name, _ in self.recipes]),
            ("student's options", [repr(options) for _, options in self.recipes]),
            ("reference", self.references),
        ):
            twice = [name for number, name in enumerate(names) if name in names[:number]]
            if twice:
                raise FluidError(f"{what} '{twice[0]}' is given twice")


@dataclass(frozen=True)
class Model:
    """What one model of a cell says of the test compounds.

    Attributes
    ----------
    name, kind, partner
        Such as ("hybrid of partner-3", "hybrid", "partner-3").
    told
        By task.
    out_of_fold
        By task, of its partner's own compounds; empty for what is no partner's.
    """

    name: str
    kind: str
    partner: str
    told: dict[str, TaskScores]
    out_of_fold: dict[str, OutOfFold] = field(default_factory=dict)


@dataclass(frozen=True)
class CellResult:
    """One virtual consortium.

    Attributes
    ----------
    name, partition, seed
        Which it is.
    sizes
        Compounds by partner.
    tests
        Name of the test of each test compound, shape (n,).
    labels
        By task: positions in the test compounds and true labels.
    nearest
        Shape (n,): the partner whose compounds are nearest to each test compound.
    models
        All models.
    """

    name: str
    partition: str
    seed: int
    sizes: dict[str, int]
    tests: np.ndarray
    labels: dict[str, tuple[np.ndarray, np.ndarray]]
    nearest: np.ndarray
    models: list[Model]

    def of_kind(self, kind: str) -> list[Model]:
        """Models of a kind, in the order of their names."""
        return [model for model in self.models if model.kind == kind]
