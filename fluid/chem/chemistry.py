"""The chemistry of a federation: how structures become features, and a check that sites agree."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from fluid.base.errors import MismatchError
from fluid.base.values import read_fields
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import StandardizerSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chemistry:
    """Standardiser and features, and what the site that chose them computes.

    Attributes
    ----------
    standardizer, features
        The settings.
    rdkit
        RDKit version of the site that made the contract.
    reference
        SHA-256 of what that site computes for the reference set.
    """

    standardizer: StandardizerSpec
    features: FeatureSpec
    rdkit: str
    reference: str

    @classmethod
    def here(cls, standardizer: StandardizerSpec, features: FeatureSpec) -> Chemistry:
        """These settings with this installation."""
        import rdkit

        from fluid.chem.reference import reference_digest

        digest = reference_digest(standardizer, features)
        return cls(standardizer, features, rdkit.__version__, digest)

    def check(self, owner: str) -> None:
        """Check that this installation computes the same as the one that made the contract.

        Parameters
        ----------
        owner
            What was made with this chemistry, for the message.

        Raises
        ------
        MismatchError
            If any standard SMILES, key or feature of the reference set differs.
        """
        here = Chemistry.here(self.standardizer, self.features)
        if here.reference != self.reference:
            if here.rdkit == self.rdkit:
                raise MismatchError(
                    f"{owner}: the settings of its chemistry were edited after the reference set "
                    "was computed, or it was computed by another version of fluid or on another "
                    "platform; make the federation file again by init-federation with these "
                    "settings"
                )
            raise MismatchError(
                f"this installation (RDKit {here.rdkit}) computes other structures or features "
                f"for the reference set than {owner} was made with (RDKit {self.rdkit}): "
                f"found {here.reference[:12]}, expected {self.reference[:12]}; "
                f"install RDKit {self.rdkit}"
            )
        if here.rdkit != self.rdkit:
            logger.warning(
                "RDKit %s here, %s when %s was made; the reference set comes out the same",
                here.rdkit,
                self.rdkit,
                owner,
            )

    def to_dict(self) -> dict[str, Any]:
        """The chemistry as plain values."""
        return {
            "standardizer": self.standardizer.to_dict(),
            "features": self.features.to_dict(),
            "rdkit": self.rdkit,
            "reference": self.reference,
        }

    @classmethod
    def from_dict(cls, values: Any) -> Chemistry:
        """The inverse of `to_dict`.

        Raises
        ------
        ValueError
            If a key is missing or unknown, or a value not allowed.
        """
        plain = _PlainChemistry(**read_fields(_PlainChemistry, "chemistry", values))
        return cls(
            StandardizerSpec(**read_fields(StandardizerSpec, "standardizer", plain.standardizer)),
            FeatureSpec(**read_fields(FeatureSpec, "features", plain.features)),
            plain.rdkit,
            plain.reference,
        )


@dataclass(frozen=True)
class _PlainChemistry:
    """A chemistry as `Chemistry.to_dict` gives it."""

    standardizer: dict[str, Any]
    features: dict[str, Any]
    rdkit: str
    reference: str
