"""Standardise structures and give them their identity, or say why that cannot be done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import rdqueries
from rdkit.Chem.MolStandardize import rdMolStandardize

# Elements of drug-like organic chemistry; fragments with any other are rejected with a reason.
ORGANIC_ELEMENTS = frozenset({1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53})
_CHARACTERS_PER_ATOM = 20
# Of a record; the time that it takes to compare them with known salts grows with their square.
_MOST_COMPONENTS = 100
# Nothing that occurs needs more than two.
_ROUNDS = 4
# Of a molecule; RDKit takes minutes, or crashes, where all atoms are bound to all. C240 has 121.
_MOST_RINGS = 150
# Characters of a SMILES, or lines of a mol block, that cannot hold so many.
FEW = 200


@dataclass(frozen=True)
class StandardizerSpec:
    """What standardising means in a federation.

    Attributes
    ----------
    stereo
        ``"remove"`` or ``"keep"`` stereochemistry in the standard SMILES and InChIKey. Folds and
        aggregation always go by connectivity, whatever is chosen.
    isotopes
        ``"remove"`` or ``"keep"`` isotope labels.
    mixtures
        ``"reject"`` a record with two different organic components of similar size, or always take
        the ``"largest"`` organic fragment.
    max_heavy_atoms
        Largest organic fragment accepted, in heavy atoms.
    """

    stereo: str = "remove"
    isotopes: str = "remove"
    mixtures: str = "reject"
    max_heavy_atoms: int = 150

    CHOICES = {
        "stereo": ("remove", "keep"),
        "isotopes": ("remove", "keep"),
        "mixtures": ("reject", "largest"),
    }

    def __post_init__(self) -> None:
        for name, allowed in self.CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"standardizer {name} = {getattr(self, name)!r}: allowed are {allowed}"
                )
        if not 1 <= self.max_heavy_atoms <= 1000:
            raise ValueError(
                f"standardizer max_heavy_atoms = {self.max_heavy_atoms}: allowed are 1 to 1000"
            )

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Structure:
    """A standardised compound: SMILES, full InChIKey and the molecule parsed from that SMILES."""

    smiles: str
    inchikey: str
    mol: Chem.Mol


class StructureError(ValueError):
    """A structure cannot be used; the message is the reason shown in the rejects table."""


def connectivity(inchikey: str) -> str:
    """The first block of an InChIKey: the skeleton, blind to stereo, isotopes and charge.

    Examples
    --------
    >>> connectivity("QTBSBXVTEAMEQO-UHFFFAOYSA-N")
    'QTBSBXVTEAMEQO'
    """
    return inchikey[:14]


@lru_cache(maxsize=1)
def _tools() -> dict[str, Any]:
    # Built once a process: constructing these parses RDKit's rule tables.
    largest = rdMolStandardize.CleanupParameters()
    largest.preferOrganic = True  # type: ignore[assignment]
    largest.largestFragmentChooserCountHeavyAtomsOnly = True  # type: ignore[assignment]
    return {
        "metals": rdMolStandardize.MetalDisconnector(),
        "largest": rdMolStandardize.LargestFragmentChooser(largest),
        "salts": rdMolStandardize.FragmentRemover(leave_last=False),
        "normalize": rdMolStandardize.Normalizer(),
        "uncharge": rdMolStandardize.Uncharger(),
    }


@lru_cache(maxsize=1)
def _queries() -> dict[str, Any]:
    """What to look for in atoms, in compiled code: a loop in Python costs 20 us a molecule."""
    # The most frequent first: the first that is the atom's own ends the comparison.
    common = [6, 7, 8, 16, 9, 17]
    elements = [*common, *sorted(ORGANIC_ELEMENTS - set(common))]
    foreign = Chem.MolFromSmarts("[" + ";".join(f"!#{number}" for number in elements) + "]")
    return {
        "foreign": foreign.GetAtomWithIdx(0),
        "carbon": rdqueries.AtomNumEqualsQueryAtom(6),
        "radical": rdqueries.NumRadicalElectronsEqualsQueryAtom(0, True),
        "isotope": rdqueries.IsotopeEqualsQueryAtom(0, True),
        "charge": rdqueries.FormalChargeEqualsQueryAtom(0, True),
    }


def _has(mol: Chem.Mol, what: str) -> bool:
    return len(mol.GetAtomsMatchingQuery(_queries()[what])) > 0


def _parse(smiles: str, spec: StandardizerSpec) -> Chem.Mol:
    text = smiles.strip()
    if not text:
        raise StructureError("empty structure")
    limit = _CHARACTERS_PER_ATOM * spec.max_heavy_atoms
    if len(text) > limit:
        raise StructureError(f"SMILES of {len(text)} characters, at most {limit} are allowed")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise StructureError("structure holds bytes that are not UTF-8")
    if len(text) > FEW:
        raw = Chem.MolFromSmiles(text, sanitize=False)
        if raw is not None:
            components = len(Chem.GetMolFrags(raw))
            refuse_rings(raw.GetNumBonds() - raw.GetNumAtoms() + components)
    mol = Chem.MolFromSmiles(text)
    if mol is None:
        raise StructureError(_why_unparsable(text))
    if mol.GetNumAtoms() == 0:
        raise StructureError("structure has no atoms")
    return mol


def refuse_rings(rings: int) -> None:
    """Raise if a molecule has too many rings to be sanitised.

    Raises
    ------
    StructureError
        If it has.
    """
    if rings > _MOST_RINGS:
        raise StructureError(f"{rings:,} rings, at most {_MOST_RINGS} are allowed")


def _why_unparsable(text: str) -> str:
    raw = Chem.MolFromSmiles(text, sanitize=False)
    if raw is None:
        return "SMILES cannot be parsed"
    problems = Chem.DetectChemistryProblems(raw)
    return problems[0].Message() if problems else "SMILES cannot be sanitised"


def _parent(mol: Chem.Mol, spec: StandardizerSpec) -> Chem.Mol:
    """The largest organic fragment, after taking covalently drawn metals apart.

    Known counter-ions and solvents (RDKit's list) go first, unless nothing organic would be left.
    """
    tools = _tools()
    if any(atom.GetDegree() for atom in mol.GetAtomsMatchingQuery(_queries()["foreign"])):
        mol = tools["metals"].Disconnect(mol)
    components = len(Chem.GetMolFrags(mol))
    if components == 1:
        return mol
    if components > _MOST_COMPONENTS:
        raise StructureError(f"{components:,} components, at most {_MOST_COMPONENTS} are allowed")
    rest = tools["salts"].remove(mol)
    if any(atom.GetAtomicNum() == 6 for atom in rest.GetAtoms()):
        mol = rest
        if spec.mixtures == "reject":
            _refuse_mixture(mol)
    return tools["largest"].choose(mol)


def _refuse_mixture(mol: Chem.Mol) -> None:
    """Raise if two different organic fragments are alike in size: one has over half the other's."""
    sizes: dict[str, int] = {}
    for fragment in Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False):
        if any(atom.GetAtomicNum() == 6 for atom in fragment.GetAtoms()):
            sizes[Chem.MolToSmiles(fragment, isomericSmiles=False)] = fragment.GetNumHeavyAtoms()
    large = [name for name, size in sizes.items() if 2 * size > max(sizes.values())]
    if len(large) > 1:
        raise StructureError(f"mixture of {len(large)} organic components of like size")


def _check_atoms(mol: Chem.Mol, spec: StandardizerSpec) -> None:
    if mol.GetNumHeavyAtoms() > spec.max_heavy_atoms:
        raise StructureError(
            f"{mol.GetNumHeavyAtoms()} heavy atoms, at most {spec.max_heavy_atoms} are allowed"
        )
    if _has(mol, "foreign") or _has(mol, "radical"):
        _refuse_atom(mol)
    if not _has(mol, "carbon"):
        raise StructureError("holds no carbon")


def _refuse_atom(mol: Chem.Mol) -> None:
    """Raise for the first atom that is not accepted."""
    for atom in mol.GetAtoms():
        number = atom.GetAtomicNum()
        if number == 0:
            raise StructureError("holds a dummy atom or R-group (*)")
        if number not in ORGANIC_ELEMENTS:
            raise StructureError(f"holds {atom.GetSymbol()}, which is not an organic element")
        if atom.GetNumRadicalElectrons():
            raise StructureError(f"is a radical (atom {atom.GetIdx() + 1}, {atom.GetSymbol()})")


def standardize(smiles: str, spec: StandardizerSpec) -> Structure:
    """Standardise one structure.

    Metals are disconnected, the largest organic fragment is taken, functional groups are
    normalised, charges neutralised, and isotopes and stereochemistry removed if the settings say
    so. Molecule and InChIKey come from the standard SMILES, so that whoever holds that SMILES
    computes the same features.

    Parameters
    ----------
    smiles
        Any SMILES that RDKit reads.
    spec
        The federation's settings.

    Returns
    -------
    Structure

    Raises
    ------
    StructureError
        With the reason, if the structure cannot be used.

    Examples
    --------
    >>> standardize("CC(=O)[O-].[Na+]", StandardizerSpec()).smiles
    'CC(=O)O'
    """
    with rdBase.BlockLogs():
        mol = _parse(smiles, spec)
        try:
            return _standardize(mol, smiles, spec)
        except (Chem.MolSanitizeException, RuntimeError, ValueError) as error:
            if isinstance(error, StructureError):
                raise
            raise StructureError(f"cannot be standardised ({_first_line(error)})") from error


def standardize_row(smiles: str, spec: StandardizerSpec) -> Structure:
    """The same for a row of a file; whatever RDKit throws at it is the fault of that row alone."""
    if "\n" in smiles or "\r" in smiles:
        raise StructureError("structure holds a line break")
    try:
        return standardize(smiles, spec)
    except (RuntimeError, ArithmeticError, LookupError, TypeError) as error:
        raise StructureError(f"cannot be standardised ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _standardize(mol: Chem.Mol, text: str, spec: StandardizerSpec) -> Structure:
    """Standardise until nothing changes, so that a standard SMILES is its own standard form.

    Only neutralising leaves something to do, such as a radical to refuse.
    """
    before = text
    for _ in range(_ROUNDS):
        standard, charged = _standard_smiles(mol, spec)
        final = Chem.MolFromSmiles(standard)
        if final is None:
            raise StructureError("standard SMILES cannot be read back")
        if standard == before or not charged:
            inchikey = Chem.MolToInchiKey(final)  # type: ignore[no-untyped-call]
            if len(inchikey) != 27:
                raise StructureError("InChIKey cannot be computed")
            return Structure(standard, inchikey, final)
        before, mol = standard, final
    raise StructureError("has no standard form: each time it is standardised it changes")


def _standard_smiles(mol: Chem.Mol, spec: StandardizerSpec) -> tuple[str, bool]:
    """SMILES after one round, and whether there were charges."""
    tools = _tools()
    mol = _parent(mol, spec)
    _check_atoms(mol, spec)
    if spec.isotopes == "remove" and _has(mol, "isotope"):
        for atom in mol.GetAtoms():
            atom.SetIsotope(0)
        mol = Chem.RemoveHs(mol)
    mol = tools["normalize"].normalize(mol)
    charged = _has(mol, "charge")
    if charged:
        mol = tools["uncharge"].uncharge(mol)
    if spec.stereo == "remove":
        Chem.RemoveStereochemistry(mol)
    return Chem.MolToSmiles(mol), charged
