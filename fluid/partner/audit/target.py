"""What an audit attacks, and how much it tries."""

from __future__ import annotations

from dataclasses import dataclass

from fluid.base.errors import FluidError
from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation
from fluid.partner.audit.exports import TeacherRecipe
from fluid.partner.table import LabelledCompounds


@dataclass(frozen=True)
class AuditOptions:
    """How much is tried.

    Attributes
    ----------
    shadows
        Shadow teachers of each game, 4 to 1024. More give narrower intervals.
    overlap
        How many compounds that are both private and public to retrain without, 0 or more.
    delta
        The delta at which a lower bound on epsilon is given, in [0, 1).
    """

    shadows: int = 32
    overlap: int = 16
    delta: float = 0.0

    def __post_init__(self) -> None:
        if not 4 <= self.shadows <= 1024:
            raise FluidError(f"shadows = {self.shadows}: allowed are 4 to 1024")
        if not 0 <= self.overlap <= 100_000:
            raise FluidError(f"overlap = {self.overlap}: allowed are 0 to 100000")
        if not 0.0 <= self.delta < 1.0:
            raise FluidError(f"delta = {self.delta}: allowed are 0 to below 1")


@dataclass(frozen=True)
class AuditTarget:
    """The teacher that is attacked.

    Attributes
    ----------
    table
        The private compounds and labels that the teacher was trained on.
    public
        Public compounds near the private ones, and those that are private too.
    recipe
        How the teacher was trained.
    secret
        The secret of its folds.
    """

    table: LabelledCompounds
    public: Compounds
    recipe: TeacherRecipe
    secret: bytes

    @property
    def federation(self) -> Federation:
        """The contract that the teacher keeps to."""
        return self.recipe.federation
