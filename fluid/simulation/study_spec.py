"""What a study runs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from fluid.base.errors import FluidError
from fluid.central.student import StudentOptions
from fluid.partner.hybrid.private_model import HybridOptions
from fluid.partner.teacher.fit import TrainingOptions
from fluid.simulation.cell_result import STUDENT
from fluid.simulation.partition_spec import PartitionSpec

WITHOUT_TWICING = f"{STUDENT}, without twicing"


def partition_name(spec: PartitionSpec) -> str:
    """Short name of a partition for tables: its kind, and settings that are not the default.

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
        Each partition is drawn with each seed; one drawing is a *cell*.
    share_scaffold, share_random
        Shares of the table held out as tests, as whole scaffolds and as single compounds; 0 for
        none.
    validation
        Take the tests away, and hold out further tests from the remainder: for choosing settings.
    teacher_options, student_options, hybrid_options
        How teachers, the student and hybrids are trained.
    without_twicing
        Whether to train a second student without twicing.
    donate
        Share of each partner's compounds whose structures, without labels, join the public set, as
        published structures would.
    rounds
        Rounds of annotation. From the second on, partners fit the residuals of the student before
        (of regression tasks), and a student is distilled after each.
    references
        Learners of the models trained on all partners' data. With any of them, all partners' data
        are also distilled on the same public set, as if one partner held them.
    paper, hybrids
        Whether to run the paper's own recipe, and to train hybrids.
    """

    partitions: tuple[PartitionSpec, ...] = (PartitionSpec("kmeans"),)
    seeds: tuple[int, ...] = (0,)
    share_scaffold: float = 0.12
    share_random: float = 0.12
    validation: bool = False
    teacher_options: TrainingOptions = field(default_factory=TrainingOptions)
    student_options: StudentOptions = field(default_factory=StudentOptions)
    hybrid_options: HybridOptions = field(default_factory=HybridOptions)
    without_twicing: bool = False
    donate: float = 0.0
    rounds: int = 1
    references: tuple[str, ...] = ("auto",)
    paper: bool = True
    hybrids: bool = True

    @property
    def students(self) -> dict[str, StudentOptions]:
        """The students to train, by name; hybrids use the first."""
        found = {STUDENT: self.student_options}
        if self.without_twicing:
            found[WITHOUT_TWICING] = replace(self.student_options, twicing=False)
        return found

    def __post_init__(self) -> None:
        if not self.partitions or not self.seeds:
            raise FluidError("a study needs at least one partition and one seed")
        for name in ("share_scaffold", "share_random"):
            if not 0.0 <= getattr(self, name) <= 0.5:
                raise FluidError(f"{name} = {getattr(self, name)}: allowed are 0 to 0.5")
        if not 0.0 <= self.donate <= 1.0:
            raise FluidError(f"donate = {self.donate}: allowed are 0 to 1")
        if self.rounds < 1:
            raise FluidError(f"rounds = {self.rounds}: allowed are 1 or more")
        if self.without_twicing and not self.student_options.twicing:
            raise FluidError("without_twicing: the student itself has no twicing already")
        for what, names in (
            ("partition", [partition_name(one) for one in self.partitions]),
            ("seed", self.seeds),
            ("reference", self.references),
        ):
            repeated = [name for number, name in enumerate(names) if name in names[:number]]
            if repeated:
                raise FluidError(f"{what} '{repeated[0]}' is given twice")
