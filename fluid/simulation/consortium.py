"""A virtual consortium: who takes part, and how its models are trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fluid.base.errors import FluidError
from fluid.base.run import Run
from fluid.central.student import StudentOptions
from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation
from fluid.learn.task import Task
from fluid.learn.trained_on import digest_connectivities
from fluid.partner.hybrid.private_model import HybridOptions
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import TrainingOptions
from fluid.simulation.cache import Cache
from fluid.simulation.digests import digest_compounds, digest_table


@dataclass(frozen=True, eq=False)
class Consortium:
    """Partners with private tables, a public set, and compounds to be predicted.

    A consortium holds no models and never changes. Models are trained in three phases:
    `fluid.simulation.teachers.train_teachers`, then `fluid.simulation.rounds.SimulatedRound`, then
    `fluid.simulation.hybrids.train_hybrids`. These call the functions that the commands call, and
    keep their results in the cache.

    Attributes
    ----------
    tables
        Private tables by partner.
    public
        Public compounds.
    queries
        Compounds that every model predicts: the test compounds, which no partner holds.
    federation
        Tasks, chemistry and policy.
    teacher_options, student_options, hybrid_options
        How models are trained.
    cache
        Where results are kept.
    run
        The seed, from which the partners' secrets are derived as well, and the cores.

    Raises
    ------
    FluidError
        If the federation has a noise mechanism.
    """

    tables: Mapping[str, LabelledCompounds]
    public: Compounds
    queries: Compounds
    federation: Federation
    teacher_options: TrainingOptions = field(default_factory=TrainingOptions)
    student_options: StudentOptions = field(default_factory=StudentOptions)
    hybrid_options: HybridOptions = field(default_factory=HybridOptions)
    cache: Cache = field(default_factory=lambda: Cache(None))
    run: Run = field(default_factory=Run)

    def __post_init__(self) -> None:
        if self.federation.mechanism.is_used:
            raise FluidError(
                f"federation '{self.federation.name}' has a noise mechanism, which simulate does "
                "not support; give a federation file without [mechanism]"
            )

    @property
    def partners(self) -> list[str]:
        """Names, ascending."""
        return sorted(self.tables)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The federation's tasks."""
        return self.federation.tasks

    @cached_property
    def inputs(self) -> dict[str, str]:
        """What every cached result depends on: contract, public set and queries."""
        return {
            "protocol": self.federation.protocol,
            "public": digest_compounds(self.public),
            "queries": digest_compounds(self.queries),
        }

    @cached_property
    def table_digests(self) -> dict[str, str]:
        """Digests of the private tables by partner."""
        return {name: digest_table(self.tables[name]) for name in self.partners}

    @cached_property
    def connectivity_digests(self) -> np.ndarray:
        """Digests of the public compounds' connectivities, by which samples are drawn."""
        return digest_connectivities(self.public)

    def secret(self, partner: str) -> bytes:
        """The secret of a partner's folds."""
        return hashlib.sha256(f"simulated {self.run.seed} {partner}".encode()).digest()
