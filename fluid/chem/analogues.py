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
from fluid.chem.transforms import TRANSFORMS, UNLIKELY

METHODS = ("mutations", "pairs", "brics")
# In heavy atoms: of a substituent that is exchanged, and between a compound and an analogue.
LARGEST_SUBSTITUENT = 8
LARGEST_CHANGE = 8
# Kept per kind of atom.
_MOST_SUBSTITUENTS = 1000
# Of one transform of one compound.
_MOST_PRODUCTS = 200

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
    return [Chem.MolFromSmarts(smarts) for smarts in UNLIKELY]


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
    """Kind of an atom that a substituent is attached to, such as ``"C aromatic"``."""
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
    """Sites where a small substituent may be exchanged: kind of atom, core, and substituent.

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
    """How often each substituent is attached to each kind of atom in some compounds.

    Parameters
    ----------
    smiles
        Standard SMILES; those that cannot be parsed are skipped.

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
    """Products with another substituent, sites in turn; frequent ones tend to come first."""

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

    A caller that stops early gets the beginning of the same sequence.
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
    """Canonical SMILES of a product; None if it is not a valid and likely compound."""
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
