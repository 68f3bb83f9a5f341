"""Analogues of a compound: small changes that a medicinal chemist would make, one at a time.

Three sources. *Mutations* apply a table of transforms, such as an aromatic CH to N. *Pairs*
exchange a substituent for one seen at the same kind of atom in other compounds, as in matched
molecular pairs (Hussain and Rea 2010, doi 10.1021/ci900450m). *BRICS* joins a piece of the compound
to a piece of a neighbour where their cut ends fit (Degen et al. 2008, doi 10.1002/cmdc.200800178).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
from rdkit import Chem, rdBase

from fluid.chem.standardize import ORGANIC_ELEMENTS

METHODS = ("mutations", "pairs", "brics")
LARGEST_SUBSTITUENT = 8
LARGEST_CHANGE = 8
_MOST_SUBSTITUENTS = 1000
_MOST_PRODUCTS = 200

# Atoms mapped stay, with charge and hydrogens made anew; what has no number comes or goes. In
# products `[*:n]` keeps the element. One site at a time: a rule that fits twice gives two products.
TRANSFORMS: Mapping[str, str] = {
    # aromatic atoms
    "aryl CH to N": "[cH:1]>>[n:1]",
    "aryl N to CH": "[n;X2;H0:1]>>[c:1]",
    "aryl H to F": "[cH:1]>>[c:1]F",
    "aryl H to Cl": "[cH:1]>>[c:1]Cl",
    "aryl H to methyl": "[cH:1]>>[c:1]C",
    "aryl H to methoxy": "[cH:1]>>[c:1]OC",
    "aryl H to cyano": "[cH:1]>>[c:1]C#N",
    "aryl H to hydroxy": "[cH:1]>>[c:1]O",
    "aryl H to amino": "[cH:1]>>[c:1]N",
    "aryl H to CF3": "[cH:1]>>[c:1]C(F)(F)F",
    "thiophene to furan": "[s;r5:1]>>[o:1]",
    "furan to thiophene": "[o;r5:1]>>[s:1]",
    "azole NH to O": "[nH;r5:1]>>[o:1]",
    "azole NH to S": "[nH;r5:1]>>[s:1]",
    "azole O to NH": "[o;r5:1]>>[nH:1]",
    "azole NH to N-methyl": "[nH:1]>>[n:1]C",
    "azole N-methyl to NH": "[n:1]-[CH3]>>[nH:1]",
    "phenyl to thienyl": "[*:1]-!@[c]1[cH][cH][cH][cH][cH]1>>[*:1]-c1cccs1",
    "phenyl to cyclohexyl": "[*:1]-!@[c]1[cH][cH][cH][cH][cH]1>>[*:1]-C1CCCCC1",
    "cyclohexyl to phenyl": "[*:1]-!@[CH]1[CH2][CH2][CH2][CH2][CH2]1>>[*:1]-c1ccccc1",
    # halogens
    "F to Cl": "[#6;!$(*(F)F):1]-[F]>>[*:1]-Cl",
    "Cl to F": "[#6;!$(*(Cl)Cl):1]-[Cl]>>[*:1]-F",
    "Cl to Br": "[#6;!$(*(Cl)Cl):1]-[Cl]>>[*:1]-Br",
    "Br to Cl": "[#6:1]-[Br]>>[*:1]-Cl",
    "I to Br": "[#6:1]-[I]>>[*:1]-Br",
    "halogen to H": "[#6:1]-[F,Cl,Br,I]>>[*:1]",
    "aryl halogen to methyl": "[c:1]-[F,Cl,Br,I]>>[c:1]-C",
    "aryl halogen to cyano": "[c:1]-[F,Cl,Br,I]>>[c:1]-C#N",
    "aryl halogen to methoxy": "[c:1]-[F,Cl,Br,I]>>[c:1]-OC",
    "aryl halogen to CF3": "[c:1]-[F,Cl,Br,I]>>[c:1]-C(F)(F)F",
    # methyl and other small groups
    "methyl to H": "[#6,#16:1]-[CH3]>>[*:1]",
    "methyl to ethyl": "[*:1]-[CH3:2]>>[*:1]-[C:2]C",
    "methyl to CF3": "[#6:1]-[CH3:2]>>[*:1]-[C:2](F)(F)F",
    "methyl to cyclopropyl": "[#6,#7:1]-[CH3:2]>>[*:1]-[C:2]1CC1",
    "methyl to isopropyl": "[#6,#7,#8:1]-[CH3:2]>>[*:1]-[C:2](C)C",
    "aryl methyl to Cl": "[c:1]-[CH3]>>[c:1]-Cl",
    "methyl to hydroxymethyl": "[c:1]-[CH3:2]>>[c:1]-[C:2]O",
    "CF3 to methyl": "[#6:1]-[C:2](F)(F)F>>[*:1]-[*:2]",
    "tert-butyl to isopropyl": "[*:1]-[CX4:2]([CH3:3])([CH3:4])[CH3]>>[*:1]-[*:2]([*:3])[*:4]",
    "isopropyl to cyclopropyl": "[*:1]-[CH:2]([CH3:3])[CH3:4]>>[*:1]-[C:2]1[C:3][C:4]1",
    "cyano to CF3": "[#6:1]-[CX2:2]#[N]>>[*:1]-[C:2](F)(F)F",
    "cyano to carboxamide": "[#6:1]-[CX2:2]#[N:3]>>[*:1]-[C:2](=O)-[N:3]",
    "nitro to cyano": "[c:1]-[N+](=O)[O-]>>[c:1]-C#N",
    "nitro to amino": "[c:1]-[N+](=O)[O-]>>[c:1]-N",
    # hydroxy, amino, thio
    "hydroxy to methoxy": "[#6;!$(*=[O,S]):1]-[OX2H:2]>>[*:1]-[O:2]C",
    "methoxy to hydroxy": "[#6:1]-[OX2:2]-[CH3]>>[*:1]-[O:2]",
    "methoxy to OCF3": "[c:1]-[OX2:2]-[CH3:3]>>[c:1]-[O:2]-[C:3](F)(F)F",
    "hydroxy to H": "[#6;!$(*=O):1]-[OX2H]>>[*:1]",
    "hydroxy to F": "[#6;!$(*=O):1]-[OX2H]>>[*:1]-F",
    "hydroxy to amino": "[#6;!$(*=O):1]-[OX2H]>>[*:1]-N",
    "alcohol to ketone": "[#6:1]-[CH:2](-[#6:3])-[OX2H:4]>>[*:1]-[C:2](-[*:3])=[O:4]",
    "ketone to alcohol": "[#6:1]-[CX3:2](-[#6:3])=[O:4]>>[*:1]-[C:2](-[*:3])-[O:4]",
    "amino to hydroxy": "[c,CX4:1]-[NX3H2]>>[*:1]-O",
    "amino to methylamino": "[c,CX4:1]-[NX3H2:2]>>[*:1]-[N:2]C",
    "amino to acetamide": "[c,CX4:1]-[NX3H2:2]>>[*:1]-[N:2]C(C)=O",
    "amino to mesylamide": "[c,CX4:1]-[NX3H2:2]>>[*:1]-[N:2]S(C)(=O)=O",
    "N-methyl to NH": "[NX3:1]-[CH3]>>[*:1]",
    "NH to N-methyl": "[#6:1]-[NX3H:2]-[#6:3]>>[*:1]-[N:2](C)-[*:3]",
    "dimethylamino to pyrrolidine": "[*:1]-[NX3:2]([CH3:3])[CH3:4]>>[*:1]-[N:2]1[C:3]CC[C:4]1",
    # acids and their kin
    "acid to methyl ester": "[#6:1]-[CX3:2](=[O:3])-[OX2H:4]>>[*:1]-[C:2](=[O:3])-[O:4]C",
    "acid to carboxamide": "[#6:1]-[CX3:2](=[O:3])-[OX2H]>>[*:1]-[C:2](=[O:3])-N",
    "acid to tetrazole": "[#6:1]-[CX3](=O)-[OX2H]>>[*:1]-c1nnn[nH]1",
    "acid to sulfonamide": "[c:1]-[CX3](=O)-[OX2H]>>[c:1]-S(=O)(=O)N",
    "acid to alcohol": "[#6:1]-[CX3:2](=O)-[OX2H:3]>>[*:1]-[C:2]-[O:3]",
    "ester to acid": "[CX3:1](=[O:2])-[OX2:3]-!@[CX4;H2,H3]>>[C:1](=[O:2])-[O:3]",
    "ester to amide": "[#6:1]-[CX3:2](=[O:3])-[OX2]-[#6:4]>>[*:1]-[C:2](=[O:3])-N-[*:4]",
    "amide to ester": "[#6:1]-[CX3:2](=[O:3])-[NX3H]-[#6:4]>>[*:1]-[C:2](=[O:3])-O-[*:4]",
    "amide reversed": "[#6:1]-[CX3:2](=[O:3])-!@[NX3H:4]-[#6:5]>>[*:1]-[N:4]-[C:2](=[O:3])-[*:5]",
    "amide to amine": "[#6:1]-[CX3:2](=O)-[NX3:3]>>[*:1]-[C:2]-[N:3]",
    "amide to sulfonamide": "[#6:1]-[CX3](=O)-!@[NX3:2]>>[*:1]-S(=O)(=O)-[N:2]",
    "sulfonamide to amide": "[#6:1]-[SX4](=O)(=O)-!@[NX3:2]>>[*:1]-C(=O)-[N:2]",
    "carboxamide to cyano": "[#6:1]-[CX3:2](=O)-[NX3H2:3]>>[*:1]-[C:2]#[N:3]",
    "urea O to S": "[NX3:1]-[CX3:2](=O)-[NX3:3]>>[*:1]-[C:2](=S)-[*:3]",
    "C=S to C=O": "[CX3:1]=[SX1]>>[C:1]=O",
    # chains
    "chain O to S": "[#6;!$(*=O):1]-!@[OX2:2]-!@[#6;!$(*=O):3]>>[*:1]-[S:2]-[*:3]",
    "chain S to O": "[#6:1]-!@[SX2:2]-!@[#6:3]>>[*:1]-[O:2]-[*:3]",
    "chain O to NH": "[#6;!$(*=O):1]-!@[OX2:2]-!@[#6;!$(*=O):3]>>[*:1]-[N:2]-[*:3]",
    "chain NH to O": "[#6;!$(*=O):1]-!@[NX3H:2]-!@[#6;!$(*=O):3]>>[*:1]-[O+0:2]-[*:3]",
    "chain O to CH2": "[#6:1]-!@[OX2:2]-!@[#6:3]>>[*:1]-[C:2]-[*:3]",
    "chain NH to CH2": "[#6:1]-!@[NX3H:2]-!@[#6:3]>>[*:1]-[C:2]-[*:3]",
    "chain CH2 to O": "[#6:1]-!@[CH2:2]-!@[#6:3]>>[*:1]-[O:2]-[*:3]",
    "chain CH2 to NH": "[#6:1]-!@[CH2:2]-!@[#6:3]>>[*:1]-[N:2]-[*:3]",
    "chain S to sulfone": "[#6:1]-[SX2:2]-[#6:3]>>[*:1]-[S:2](=O)(=O)-[*:3]",
    "CH2 out of chain": "[#6,#7:1]-!@[CH2]-!@[#6:3]>>[*:1]-[*:3]",
    "CH2 into chain": "[#6:1]-;!@[CX4,NX3,OX2;!H3:2]-[#6:3]>>[*:1]-C-[*:2]-[*:3]",
    "CH2 to CHMe": "[#6:1]-!@[CH2:2]-!@[*:3]>>[*:1]-[C:2](C)-[*:3]",
    "C=C to C-C": "[CX3:1]=[CX3:2]>>[C:1]-[C:2]",
    # saturated rings
    "N-ring 6 to 5": "[NX3:1]1-[C:2]-[*:3]-[*:4]-[CH2]-[C:5]-1>>[*:1]1-[*:2]-[*:3]-[*:4]-[*:5]-1",
    "N-ring 5 to 6": "[NX3:1]1-[C:2]-[C:3]-[C:4]-[C:5]-1>>[*:1]1-[*:2]-[*:3]-C-[*:4]-[*:5]-1",
    "N-ring 6 to 7": "[NX3:1]1-[C:2]-[*:3]-[*:4]-[C:5]-[C:6]-1"
    ">>[*:1]1-[*:2]-[*:3]-[*:4]-[*:5]-C-[*:6]-1",
    "piperidine to morpholine": "[NX3:1]1-[C:2]-[C:3]-[CH2:4]-[C:5]-[C:6]-1"
    ">>[*:1]1-[*:2]-[*:3]-[O:4]-[*:5]-[*:6]-1",
    "piperidine to piperazine": "[NX3:1]1-[C:2]-[C:3]-[CX4;H1,H2:4]-[C:5]-[C:6]-1"
    ">>[*:1]1-[*:2]-[*:3]-[N:4]-[*:5]-[*:6]-1",
    "piperazine to piperidine": "[NX3:1]1-[C:2]-[C:3]-[NX3:4]-[C:5]-[C:6]-1"
    ">>[*:1]1-[*:2]-[*:3]-[C:4]-[*:5]-[*:6]-1",
    "morpholine to piperidine": "[NX3:1]1-[C:2]-[C:3]-[OX2:4]-[C:5]-[C:6]-1"
    ">>[*:1]1-[*:2]-[*:3]-[C:4]-[*:5]-[*:6]-1",
    "morpholine to thiomorpholine": "[NX3:1]1-[C:2]-[C:3]-[OX2:4]-[C:5]-[C:6]-1"
    ">>[*:1]1-[*:2]-[*:3]-[S:4]-[*:5]-[*:6]-1",
}

# Groups that fall apart or react with water; a product may have one only if the compound has it.
_UNLIKELY = (
    "[OX2,SX2]-[OX2]",
    "[F,Cl,Br,I]-[!#6]",
    "[#7;!a]-[#7;!a]-[#7;!a]",
    "[NX3;!a;!$(N-[C,S]=O)]-!@[NX3;!a;!$(N-[C,S]=O)]",
    "[NX3;!a;!$(N-C=O)]-[OX2,SX2]",
    "[CX4;!$(*(F)F)]([F,Cl,Br,I])[OX2,NX3,SX2]",
    "[CX4]([OX2H,SX2H,NX3H2])[OX2,SX2,NX3;!$(*-[C,S]=O)]",
    "[CX4;!R]([NX3;!$(*-[C,S]=O)])[OX2,NX3;!$(*-[C,S]=O)]",
    "[CX3;!$(C=O)]=[CX3]-[OX2H,NX3H2,SX2H]",
    "[CX3]=[CX2]=[CX3,NX2,O]",
    "[CX3;!$(C-[N,n,O])]=[NX2H]",
    "[CX4]([OX2;!$(O-C=O)])([OX2])[OX2,NX3]",
    "[CX3](=O)-[F,Cl,Br,I]",
    "[CX3](=O)-[CX3](=O)-[CX3]=O",
    "[r3,r4,r5,r6,r7]#*",
)

Substituents = Mapping[str, Sequence[tuple[str, int]]]


@lru_cache(maxsize=1)
def _reactions() -> list[tuple[str, Any]]:
    from rdkit.Chem import rdChemReactions

    found = []
    with rdBase.BlockLogs():
        for name, smarts in TRANSFORMS.items():
            reaction = rdChemReactions.ReactionFromSmarts(smarts)
            reaction.Initialize()
            found.append((name, reaction))
    return found


@lru_cache(maxsize=1)
def _unlikely() -> list[Chem.Mol]:
    return [Chem.MolFromSmarts(smarts) for smarts in _UNLIKELY]


def _shuffled(items: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    return [items[position] for position in rng.permutation(len(items))]


def _take_turns(streams: Iterable[Iterator[Any]]) -> Iterator[Any]:
    """One item of each stream in turn, until all are spent."""
    turn = list(streams)
    while turn:
        left = []
        for stream in turn:
            for item in islice(stream, 1):
                left.append(stream)
                yield item
        turn = left


def _mutations(mol: Chem.Mol, rng: np.random.Generator) -> Iterator[tuple[Chem.Mol, str]]:
    """Products of the transforms, not sanitised: one site of each transform in turn."""

    def apply(name: str, reaction: Any) -> Iterator[tuple[Chem.Mol, str]]:
        products = reaction.RunReactants((mol,), _MOST_PRODUCTS)
        for (product,) in _shuffled(products, rng):
            yield product, f"mutation: {name}"

    yield from _take_turns([apply(*entry) for entry in _shuffled(_reactions(), rng)])


@lru_cache(maxsize=1)
def _cuttable() -> Chem.Mol:
    # Beside rings, carbonyls, sulfonyls and amines; a cut in an alkyl chain would exchange atoms
    # of functional groups (two fluorines of CF3 beside a new hydroxy).
    return Chem.MolFromSmarts("[R,$([C,S]=O),NX3]-!@[!#1]")


def _kind(atom: Chem.Atom) -> str:
    """What a substituent sees of the atom that it hangs on, such as ``"C aromatic"``."""
    if atom.GetIsAromatic():
        return f"{atom.GetSymbol()} aromatic"
    place = "ring" if atom.IsInRing() else "chain"
    return f"{atom.GetSymbol()} {place} {str(atom.GetHybridization()).lower()}"


def _cut(mol: Chem.Mol, first: int, second: int) -> tuple[Chem.Mol, Chem.Mol]:
    """The piece that holds atom `first` and that with `second`; ``[*:1]`` is where each was cut."""
    bond = mol.GetBondBetweenAtoms(first, second).GetIdx()
    opened = Chem.FragmentOnBonds(mol, [bond], addDummies=True, dummyLabels=[(0, 0)])
    for atom in opened.GetAtoms():
        if not atom.GetAtomicNum():
            atom.SetAtomMapNum(1)
    atoms: list[tuple[int, ...]] = []
    left, right = Chem.GetMolFrags(
        opened, asMols=True, sanitizeFrags=False, fragsMolAtomMapping=atoms
    )
    return (left, right) if first in atoms[0] else (right, left)


@lru_cache(maxsize=8192)
def _piece(smiles: str) -> Chem.Mol:
    return Chem.MolFromSmiles(smiles)


def _heavy(mol: Chem.Mol) -> int:
    return sum(atom.GetAtomicNum() > 1 for atom in mol.GetAtoms())


def _sites(mol: Chem.Mol) -> list[tuple[str, Chem.Mol, str]]:
    """Where a small substituent may be exchanged: kind of atom, core, and the substituent.

    The substituent has at most eight heavy atoms and fewer than the core; SMILES ``CO[*:1]``.
    """
    found: dict[tuple[str, str], tuple[str, Chem.Mol, str]] = {}
    bonds = {tuple(sorted(pair)) for pair in mol.GetSubstructMatches(_cuttable())}
    for ends in sorted(bonds):
        (small, _), (core, end) = sorted(
            zip(_cut(mol, *ends), ends, strict=True), key=lambda side: _heavy(side[0])
        )
        if _heavy(small) > LARGEST_SUBSTITUENT or _heavy(small) >= _heavy(core):
            continue
        atom = mol.GetAtomWithIdx(end)
        if atom.IsInRing() or atom.GetSymbol() == "N" or _is_oxo(atom):
            key = (Chem.MolToSmiles(core), Chem.MolToSmiles(small))
            found.setdefault(key, (_kind(atom), core, key[1]))
    return [found[key] for key in sorted(found)]


def _is_oxo(atom: Chem.Atom) -> bool:
    return any(
        bond.GetBondType() == Chem.BondType.DOUBLE and bond.GetOtherAtom(atom).GetSymbol() == "O"
        for bond in atom.GetBonds()
    )


def count_substituents(smiles: Iterable[str]) -> dict[str, Counter[str]]:
    """How often each substituent hangs on each kind of atom in some compounds.

    Parameters
    ----------
    smiles
        Standard SMILES; one that cannot be parsed is passed over.

    Returns
    -------
    dict of Counter
        By kind of atom, such as ``"C aromatic"``, the number of sites per substituent; the open
        end of a substituent is ``[*:1]``.

    Examples
    --------
    >>> count_substituents(["COc1ccccc1"])
    {'C aromatic': Counter({'CO[*:1]': 1})}
    """
    counts: dict[str, Counter[str]] = {}
    with rdBase.BlockLogs():
        for text in smiles:
            mol = Chem.MolFromSmiles(text)
            if mol is None:
                continue
            for kind, _, small in _sites(mol):
                if _piece(small) is not None:
                    counts.setdefault(kind, Counter())[small] += 1
    return counts


def rank_substituents(counts: Iterable[Mapping[str, Counter[str]]]) -> Substituents:
    """Join counts and keep the thousand most frequent substituents of each kind of atom.

    Returns
    -------
    mapping
        By kind of atom, (substituent, count) from the most frequent on; ties by SMILES, so the
        order of `counts` does not matter.
    """
    joined: dict[str, Counter[str]] = {}
    for part in counts:
        for kind, found in part.items():
            joined.setdefault(kind, Counter()).update(found)
    return {
        kind: sorted(joined[kind].items(), key=lambda item: (-item[1], item[0]))[
            :_MOST_SUBSTITUENTS
        ]
        for kind in sorted(joined)
    }


def _exchanges(
    mol: Chem.Mol, rng: np.random.Generator, substituents: Substituents
) -> Iterator[tuple[Chem.Mol, str]]:
    """Substituents exchanged, one site in turn; frequent substituents tend to come first."""

    def at(kind: str, core: Chem.Mol, old: str) -> Iterator[tuple[Chem.Mol, str]]:
        known = substituents.get(kind, ())
        weights = np.array([count for _, count in known], dtype=np.float64)
        # Drawn without replacement in proportion to the counts: Efraimidis and Spirakis 2006,
        # doi 10.1016/j.ipl.2005.11.003.
        for position in np.argsort(rng.exponential(size=len(known)) / weights, kind="stable"):
            new = known[position][0]
            # The core stays the larger part: an analogue, not a new series.
            if new != old and _heavy(_piece(new)) <= _heavy(core):
                rule = f"pair: {old} to {new}".replace("[*:1]", "*")
                yield Chem.molzip(core, _piece(new)), rule

    yield from _take_turns([at(*site) for site in _shuffled(_sites(mol), rng)])


@lru_cache(maxsize=1)
def _fitting() -> dict[str, frozenset[str]]:
    """Which kinds of BRICS ends form a single bond."""
    from rdkit.Chem import BRICS

    fits: dict[str, set[str]] = {}
    for group in BRICS.reactionDefs:
        for left, right, bond in group:
            if bond == "-":
                fits.setdefault(left, set()).add(right)
                fits.setdefault(right, set()).add(left)
    return {end: frozenset(others) for end, others in fits.items()}


@lru_cache(maxsize=512)
def _brics_pieces(smiles: str) -> list[tuple[str, str, int]]:
    """Pieces of a compound cut at one BRICS bond: kind of the end, SMILES, heavy atoms."""
    from rdkit.Chem import BRICS

    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        return []
    pieces = set()
    for atoms, ends in BRICS.FindBRICSBonds(mol):  # type: ignore[no-untyped-call]
        if set(ends) <= set(_fitting()):  # not a double bond
            for end, piece in zip(ends, _cut(mol, *atoms), strict=True):
                text = Chem.MolToSmiles(piece)
                if _piece(text) is not None:
                    pieces.add((end, text, _heavy(piece)))
    return sorted(pieces)


def _recombinations(
    smiles: str, rng: np.random.Generator, neighbours: Sequence[str]
) -> Iterator[tuple[Chem.Mol, str]]:
    """A piece of the compound joined to a piece of a neighbour, each cut at one BRICS bond."""
    own = _brics_pieces(smiles)
    size = Chem.MolFromSmiles(smiles).GetNumHeavyAtoms()
    others = sorted({piece for name in neighbours for piece in _brics_pieces(name)})
    todo = [
        (kept, new, f"brics: {new}".replace("[*:1]", "*"))
        for end, kept, kept_atoms in own
        for other_end, new, new_atoms in others
        if other_end in _fitting()[end]
        and abs(kept_atoms + new_atoms - size) <= LARGEST_CHANGE
        # As above, more of the compound than of the neighbour.
        and kept_atoms >= new_atoms
    ]
    for kept, new, rule in _shuffled(todo, rng):
        yield Chem.molzip(_piece(kept), _piece(new)), rule


def iter_analogues(
    smiles: str,
    rng: np.random.Generator,
    methods: Sequence[str] = METHODS,
    substituents: Substituents | None = None,
    neighbours: Sequence[str] = (),
) -> Iterator[tuple[str, str]]:
    """Analogues of a compound as they are made, the methods in turn; see `grow_analogues`.

    Whoever stops early gets the beginning of the same sequence.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise ValueError(f"method '{unknown[0]}': allowed are {', '.join(METHODS)}")
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    if mol is None or not mol.GetNumAtoms():
        raise ValueError(f"'{smiles}' is not a readable SMILES")
    streams: dict[str, Iterator[tuple[Chem.Mol, str]]] = {
        "mutations": _mutations(mol, rng),
        "pairs": _exchanges(mol, rng, substituents or {}),
        "brics": _recombinations(smiles, rng, neighbours),
    }
    seen = {Chem.MolToSmiles(mol)}
    had = [pattern for pattern in _unlikely() if mol.HasSubstructMatch(pattern)]
    for raw, rule in _take_turns([streams[name] for name in METHODS if name in methods]):
        product = _finish(raw, mol.GetNumHeavyAtoms(), had)
        if product and product not in seen:
            seen.add(product)
            yield product, rule


def _finish(raw: Chem.Mol, size: int, had: Sequence[Chem.Mol]) -> str | None:
    """Canonical SMILES of a product, or None if it is no valid and likely compound."""
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(raw)
        except (Chem.MolSanitizeException, ValueError, RuntimeError):
            return None
        if abs(raw.GetNumHeavyAtoms() - size) > LARGEST_CHANGE or len(Chem.GetMolFrags(raw)) > 1:
            return None
        for atom in raw.GetAtoms():
            if atom.GetAtomicNum() not in ORGANIC_ELEMENTS or atom.GetNumRadicalElectrons():
                return None
            atom.SetAtomMapNum(0)
        if not any(atom.GetAtomicNum() == 6 for atom in raw.GetAtoms()):
            return None
        if any(raw.HasSubstructMatch(p) for p in _unlikely() if p not in had):
            return None
        product = Chem.MolToSmiles(raw)
        return product if Chem.MolFromSmiles(product) is not None else None


def grow_analogues(
    smiles: str,
    rng: np.random.Generator,
    limit: int,
    methods: Sequence[str] = METHODS,
    substituents: Substituents | None = None,
    neighbours: Sequence[str] = (),
) -> list[tuple[str, str]]:
    """Analogues of a compound, each with the rule that made it.

    Parameters
    ----------
    smiles
        The compound.
    rng
        Fixes which analogues come first.
    limit
        How many at most; fewer if the methods give no more.
    methods
        Some of ``"mutations"``, ``"pairs"`` and ``"brics"``, which take turns.
    substituents
        For pairs, from `rank_substituents`; without them pairs give nothing.
    neighbours
        For BRICS, SMILES of compounds that lend pieces; without them it gives nothing.

    Returns
    -------
    list of (SMILES, rule)
        Valid molecules in canonical SMILES, none twice and none the compound itself, of the
        elements that standardising accepts, with at most eight heavy atoms more or fewer.

    Raises
    ------
    ValueError
        If the SMILES cannot be read or a method is unknown.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> for product in sorted(grow_analogues("CO", rng, 100, ["mutations"])):
    ...     print(*product)
    C mutation: hydroxy to H
    CC(C)O mutation: methyl to isopropyl
    CCO mutation: methyl to ethyl
    CF mutation: hydroxy to F
    CN mutation: hydroxy to amino
    COC mutation: hydroxy to methoxy
    """
    return list(islice(iter_analogues(smiles, rng, methods, substituents, neighbours), limit))
