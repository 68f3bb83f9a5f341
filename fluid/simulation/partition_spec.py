"""How to divide the compounds of a virtual consortium, as written on a command line."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from fluid.base.errors import FluidError

# The settings of each kind; `overlap` and `minimum` belong to all.
SETTINGS = {
    "kmeans": ("partners", "mixing"),
    "scaffold": ("partners", "alpha"),
    "column": ("column",),
    "label": ("partners", "alpha"),
    "size": ("partners", "alpha"),
    "random": ("partners",),
}
_COMMON = ("overlap", "minimum")
FEWEST_PARTNERS, MOST_PARTNERS = 2, 200


class PartitionError(FluidError):
    """The compounds cannot be divided as asked."""


@dataclass(frozen=True)
class PartitionSpec:
    """How compounds are divided among the partners of a virtual consortium.

    Attributes
    ----------
    kind
        ``"kmeans"``: each partner has a cluster of fingerprints, as in FLuID (Hanser et al. 2025,
        doi 10.1038/s42256-025-00991-2). ``"scaffold"``: each scaffold is spread by a Dirichlet
        draw, as in FedChem (Zhu et al. 2021, arXiv 2109.07258). ``"column"``: by a column of the
        table, such as site or source. ``"label"``: each class is spread by a Dirichlet draw.
        ``"size"``: unequal sizes, random members. ``"random"``: equal sizes, random members.
    partners
        Number of partners, 2 to 200; with ``"column"`` the values of the column decide instead.
    alpha
        Concentration of the Dirichlet draws of ``"scaffold"``, ``"label"`` and ``"size"``, above
        0: the smaller it is, the more the partners differ.
    mixing
        Share of compounds, 0 to 1, that go to a random partner instead of their cluster's.
    overlap
        Share of compounds, 0 to 1, that a second, randomly drawn partner holds as well.
    minimum
        Fewest compounds of any partner, 1 or more.
    column
        Name of the column for ``"column"``.
    """

    kind: str
    partners: int = 8
    alpha: float = 0.5
    mixing: float = 0.05
    overlap: float = 0.0
    minimum: int = 30
    column: str = ""

    def __post_init__(self) -> None:
        if self.kind not in SETTINGS:
            raise PartitionError(f"partition kind '{self.kind}': allowed are {', '.join(SETTINGS)}")
        if not FEWEST_PARTNERS <= self.partners <= MOST_PARTNERS:
            raise PartitionError(
                f"partition partners = {self.partners}: allowed are {FEWEST_PARTNERS} to "
                f"{MOST_PARTNERS}"
            )
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise PartitionError(
                f"partition alpha = {self.alpha:g}: allowed are numbers above 0, such as 0.1 "
                "(partners differ) or 10 (partners are alike)"
            )
        for name in ("mixing", "overlap"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise PartitionError(f"partition {name} = {value:g}: allowed are 0 to 1")
        if self.minimum < 1:
            raise PartitionError(f"partition minimum = {self.minimum}: allowed are 1 or more")
        if self.kind == "column" and not self.column:
            raise PartitionError(
                "partition column: no column is named; write column:name=source, with the name of "
                "your column"
            )

    def to_dict(self) -> dict[str, str | int | float]:
        """The settings as plain values; only those that the kind uses."""
        values = asdict(self)
        return {name: values[name] for name in ("kind", *SETTINGS[self.kind], *_COMMON)}


def parse_partition(text: str) -> PartitionSpec:
    """Read a partition from a command line: a kind, a colon, settings separated by commas.

    The setting `column` is written ``name``.

    Raises
    ------
    PartitionError
        If the kind, a setting or a value is not allowed.

    Examples
    --------
    >>> parse_partition("kmeans:mixing=0.1").mixing
    0.1
    >>> parse_partition("column:name=source").column
    'source'
    """
    kind, _, rest = text.partition(":")
    kind = kind.strip()
    if kind not in SETTINGS:
        raise PartitionError(
            f"partition '{text}': '{kind}' is not a kind; allowed are {', '.join(SETTINGS)}"
        )
    written = {("name" if name == "column" else name): name for name in SETTINGS[kind]}
    written |= {name: name for name in _COMMON}
    found: dict[str, str] = {}
    for part in rest.split(",") if rest.strip() else []:
        key, sign, value = (piece.strip() for piece in part.partition("="))
        if not sign or not value:
            raise PartitionError(
                f"partition '{text}': '{part.strip()}' is not a setting; write name=value"
            )
        if key not in written:
            raise PartitionError(
                f"partition '{text}': {kind} has no setting '{key}'; "
                f"allowed are {', '.join(sorted(written))}"
            )
        if written[key] in found:
            raise PartitionError(f"partition '{text}': '{key}' is given twice")
        found[written[key]] = value
    return _from_text(text, kind, found)


def _from_text(text: str, kind: str, found: dict[str, str]) -> PartitionSpec:
    def number(name: str, default: float) -> float:
        try:
            return float(found.get(name, default))
        except ValueError:
            raise PartitionError(
                f"partition '{text}': {name} = '{found[name]}' is not a number"
            ) from None

    def whole(name: str, default: int) -> int:
        try:
            return int(found.get(name, default))
        except ValueError:
            raise PartitionError(
                f"partition '{text}': {name} = '{found[name]}' is not a whole number"
            ) from None

    return PartitionSpec(
        kind,
        partners=whole("partners", PartitionSpec.partners),
        alpha=number("alpha", PartitionSpec.alpha),
        mixing=number("mixing", PartitionSpec.mixing),
        overlap=number("overlap", PartitionSpec.overlap),
        minimum=whole("minimum", PartitionSpec.minimum),
        column=found.get("column", ""),
    )
