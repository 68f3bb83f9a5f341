"""Standardise structures and give them their identity, or say why that cannot be done."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import Descriptors, rdqueries
from rdkit.Chem.MolStandardize import rdMolStandardize

from fluid.chem.counterions import bare_smiles, known_group

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
# What may stand behind a blank: the extension of a CXSMILES.
_EXTENSION = re.compile(r"\|[^|]*\|")
# Labels of CXSMILES for what is not an atom: R groups, attachment points, polymer beads, queries.
_NOT_AN_ATOM = re.compile(r"[$;](_?R\d*'*|_R[^;$]*|_AP\d*|[A-Za-z]+_[ep])(?=[;$])")
_MARKUSH = re.compile(r"[|,](m|RG|LN|LO|rb|s|u):")
# Brackets of a drawing that leave the molecule as it is: data, abbreviation, repeat count, none.
_HARMLESS_BRACKETS = {"DAT", "SUP", "MUL", "GEN"}
_ATOM_MAP = re.compile(r":\d+\]")


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
        What to do where several components may each be the compound: ``"reject"`` the record, or
        take the ``"largest"`` of them. See `standardize`.
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
    return {
        "metals": rdMolStandardize.MetalDisconnector(),
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
    core, extension = _divide(text)
    if len(text) > FEW:
        raw = Chem.MolFromSmiles(text, sanitize=False)
        if raw is not None:
            components = len(Chem.GetMolFrags(raw))
            refuse_rings(raw.GetNumBonds() - raw.GetNumAtoms() + components)
    mol = Chem.MolFromSmiles(text)
    if mol is None:
        raise StructureError(_why_unparsable(core, extension))
    if mol.GetNumAtoms() == 0:
        raise StructureError("structure has no atoms")
    if extension:
        _check_extension(extension)
        check_drawing(mol)
        if spec.stereo == "keep":
            _forget_relative_stereo(mol, extension)
    if "~" in core or "$" in core:
        raise StructureError("holds a bond of no fixed order (~ or $)")
    if _ATOM_MAP.search(core):
        for atom in mol.GetAtoms():
            atom.SetAtomMapNum(0)
    return mol


def _divide(text: str) -> tuple[str, str]:
    """A SMILES, and its CXSMILES extension or nothing.

    RDKit takes whatever follows a blank for a name, so that half a molecule would pass for whole.
    """
    core, extension = text, ""
    if " " in text or "\t" in text:
        core, extension = (part.strip() for part in re.split("[ \t]", text, maxsplit=1))
        if not _EXTENSION.fullmatch(extension):
            raise StructureError(
                "holds a blank; only a CXSMILES extension |...| may stand behind the SMILES"
            )
    if not core.isascii():
        if any("\ud800" <= letter <= "\udfff" for letter in core):
            raise StructureError("structure holds bytes that are not UTF-8")
        letter = next(letter for letter in core if not letter.isascii())
        name = unicodedata.name(letter, "unnamed character")
        raise StructureError(f"holds U+{ord(letter):04X} ({name}), which no SMILES has")
    if not extension.isascii() and any("\ud800" <= letter <= "\udfff" for letter in extension):
        raise StructureError("structure holds bytes that are not UTF-8")
    return core, extension


def _check_extension(extension: str) -> None:
    """Raise if a CXSMILES extension makes several molecules of one."""
    if _MARKUSH.search(extension):
        raise StructureError("is a generic (Markush) or query structure")
    for labels in re.findall(r"\$(?!_AV:)[^$]*\$", extension):
        if _NOT_AN_ATOM.search(labels):
            raise StructureError("holds an R group, attachment point or query atom")


def check_drawing(mol: Chem.Mol) -> None:
    """Raise if a drawing is not of one molecule: a polymer, a query, a link between molecules.

    A SMILES does not state these, so they must be looked for where a structure is read.

    Raises
    ------
    StructureError
        If it is not.
    """
    brackets = {group.GetProp("TYPE") for group in Chem.GetMolSubstanceGroups(mol)}
    if brackets - _HARMLESS_BRACKETS:
        raise StructureError("is a polymer, formulation or other set of molecules in brackets")
    if mol.HasProp("_molLinkNodes"):
        raise StructureError("is a generic (Markush) or query structure")
    if any(item.HasQuery() for item in (*mol.GetAtoms(), *mol.GetBonds())):
        raise StructureError("holds query atoms or bonds")
    if any(bond.GetBondType() == Chem.BondType.HYDROGEN for bond in mol.GetBonds()):
        raise StructureError("holds hydrogen bonds drawn as bonds")


def _forget_relative_stereo(mol: Chem.Mol, extension: str) -> None:
    """Take a centre's stereochemistry away if it is racemic or of unknown hand.

    Raises
    ------
    StructureError
        If that is so of several centres that depend on each other: no SMILES states that.
    """
    groups = [
        [atom.GetIdx() for atom in group.GetAtoms()]
        for group in mol.GetStereoGroups()
        if group.GetGroupType() != Chem.StereoGroupType.STEREO_ABSOLUTE
    ]
    if "r" in extension.strip("|").split(","):
        groups.append([index for index, _ in Chem.FindMolChiralCenters(mol)])
    if any(len(group) > 1 for group in groups):
        raise StructureError("has racemic or relative stereochemistry at several centres")
    for group in groups:
        for index in group:
            mol.GetAtomWithIdx(index).SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)


def refuse_rings(rings: int) -> None:
    """Raise if a molecule has too many rings to be sanitised.

    Raises
    ------
    StructureError
        If it has.
    """
    if rings > _MOST_RINGS:
        raise StructureError(f"{rings:,} rings, at most {_MOST_RINGS} are allowed")


def _why_unparsable(core: str, extension: str) -> str:
    raw = Chem.MolFromSmiles(core, sanitize=False)
    if raw is not None:
        problems = Chem.DetectChemistryProblems(raw)
        if problems:
            return problems[0].Message()
        return "CXSMILES extension cannot be read" if extension else "SMILES cannot be sanitised"
    if core.startswith("InChI="):
        return "is an InChI, not a SMILES"
    if re.fullmatch("[A-Z]{14}-[A-Z]{10}-[A-Z]", core):
        return "is an InChIKey, not a SMILES"
    if re.fullmatch("[^>]*>[^>]*>[^>]*", core):
        return "is a reaction, not one structure"
    return "SMILES cannot be parsed"


@dataclass(frozen=True)
class _Component:
    """A component of a record, what it is known as (see `known_group`), and its heavy atoms."""

    mol: Chem.Mol
    group: str | None
    size: int


def _parent(mol: Chem.Mol, spec: StandardizerSpec) -> Chem.Mol:
    """The component that is the compound, after taking covalently drawn metals apart."""
    if any(atom.GetDegree() for atom in mol.GetAtomsMatchingQuery(_queries()["foreign"])):
        mol = _tools()["metals"].Disconnect(mol)
    mols = Chem.GetMolFrags(mol, asMols=True)
    if len(mols) == 1:
        return mol
    if len(mols) > _MOST_COMPONENTS:
        raise StructureError(f"{len(mols):,} components, at most {_MOST_COMPONENTS} are allowed")
    components = [_Component(each, known_group(each), each.GetNumHeavyAtoms()) for each in mols]
    for component in components:
        # A complex is not its ligand.
        if component.group is None and _has(component.mol, "foreign"):
            _refuse_atom(component.mol)
    candidates = _candidates(components)
    if spec.mixtures == "reject":
        _refuse_mixture(candidates, components, spec)
    largest = max(component.size for component in candidates)
    alike = [component.mol for component in candidates if component.size == largest]
    return max(alike, key=lambda each: (Descriptors.MolWt(each), Chem.MolToSmiles(each)))


def _candidates(components: list[_Component]) -> list[_Component]:
    """Components that may be the compound: unknown, else known organic, else with any carbon."""
    for known in ((None,), ("ion", "solvent")):
        if found := [component for component in components if component.group in known]:
            return found
    if found := [component for component in components if _has(component.mol, "carbon")]:
        return found
    raise StructureError("holds no carbon")


def _refuse_mixture(
    candidates: list[_Component], components: list[_Component], spec: StandardizerSpec
) -> None:
    """Raise if more than one component may be the compound."""
    keep = {"stereo": spec.stereo == "keep", "isotopes": spec.isotopes == "keep"}
    different = {bare_smiles(component.mol, **keep) for component in candidates}
    if len(different) > 1:
        if len({bare_smiles(component.mol) for component in candidates}) == 1:
            raise StructureError(f"mixture of {len(different)} stereoisomers or isotopic forms")
        which = "" if candidates[0].group is None else ", each known as counter-ion or solvent"
        raise StructureError(f"mixture of {len(different)} different components{which}")
    solvents = [component.size for component in components if component.group == "solvent"]
    if candidates[0].group is None and max(solvents, default=0) >= candidates[0].size:
        raise StructureError("mixture with a solvent that is not smaller")


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

    Metals are disconnected, counter-ions and solvents taken off, functional groups normalised,
    charges neutralised, and isotopes and stereochemistry removed if the settings say so. Molecule
    and InChIKey come from the standard SMILES, so that whoever holds that SMILES computes the same
    features.

    The compound is the component that is not a known counter-ion or solvent, whatever its size
    (`fluid.chem.counterions` has the list). If all components are known, the inorganic ones go. If
    several different components are left, or one beside a solvent that is not smaller, the record
    is a mixture; `StandardizerSpec.mixtures` says what happens then. A metal that forms complexes
    rather than salts (platinum, iron, gadolinium) is refused with all that is around it.

    Of a CXSMILES extension ``|...|`` coordinates, data and labels are ignored. Polymers, R groups,
    variable attachment, link nodes and queries are refused. If stereochemistry is kept, a racemic
    or relative centre loses it, and several that depend on each other are refused.

    Parameters
    ----------
    smiles
        A SMILES, without a name, or a CXSMILES.
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
