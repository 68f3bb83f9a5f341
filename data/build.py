"""Make the demonstration data of fluid from two public wheels and one file of RDKit.

Usage::

    pip download --no-deps qc-B3DB==1.1.1 molsets==0.3.1
    python data/build.py --b3db qc_b3db-1.1.1-py3-none-any.whl \
        --molsets molsets-0.3.1-py3-none-any.whl [--out FOLDER] [--report]

Every structure gets a connectivity key, the first block of the InChIKey of its standardised form.
All splitting is by this key, so stereoisomers, salts and repeats stay together. Whole ring
scaffolds are drawn for the external test set; connectivities are drawn from the rest, without
labels, for the public set; what is left is divided between six partners by literature source and
chemistry, and a few connectivities go to a second partner as well. Every random choice sorts by a
SHA-256 of the seed, the step and the item, so it depends on no generator and on no input order.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import runpy
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rdkit import Chem, RDConfig, RDLogger
from rdkit.Chem import Descriptors, rdMolDescriptors
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.Scaffolds import MurckoScaffold

SEED = 20210
B3DB_MAIN = "B3DB/B3DB_classification.tsv"
B3DB_EXTRA = "B3DB/B3DB_classification_external.tsv"
MOSES_TRAIN = "moses/dataset/data/train.csv.gz"
NCI_FILE = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"

EXTERNAL_SHARE = 0.145
LARGEST_EXTERNAL_SCAFFOLD = 100
N_PUBLIC_NEAR = 700
N_PUBLIC_HELD = 120
N_MOSES = 5000
OVERLAP_SHARE = 0.045
LEAST_PER_CLASS = 25

SOURCES = {
    "aurora": frozenset(["R2", "R3", "R8", "R21", "R25", "R38", "R40", "R41", "R43", "R46", "R47"]),
    "borealis": frozenset(["R14", "R15", "R23"]),
    "corvus": frozenset(["R10", "R13", "R16", "R24"]),
    "draco": frozenset(["R20", "R35", "R36"]),
    "eridanus": frozenset(["R7", "R9", "R28", "R29", "R34"]),
    "fornax": frozenset(["R1", "R6", "R19", "R30"]),
}
PARTNERS = tuple(SOURCES)
COMPILED = SOURCES["fornax"] | {"R13", "R24", "R27"}
SMARTS = {
    "steroid": "[#6]1~[#6]~[#6]~[#6]2~[#6](~[#6]~1)~[#6]~[#6]~[#6]1~[#6]~2~[#6]~[#6]~[#6]~1",
    "beta-lactam": "O=[#6]1[#6][#6][#7]1",
    "acid": "[CX3](=O)[OX2H1,OX1-]",
    "amine": "[NX3;!$(N-C=[O,N,S]);!$(N-[#16]);!$(N-a);!$(N=*);!$(N-[N,O])][#6]",
}
PATTERNS = {name: Chem.MolFromSmarts(smarts) for name, smarts in SMARTS.items()}
COLUMNS = ["compound_id", "smiles", "bbb", "logbb"]
# Header, labels for 0 and 1, options of the writer; draco's long layout is made apart.
LAYOUTS: dict[str, tuple[list[str], tuple[str, str], dict[str, Any]]] = {
    "external": (COLUMNS, ("0", "1"), {}),
    "aurora": (COLUMNS, ("0", "1"), {}),
    "borealis": (["Name", "SMILES", "bbb", "logbb"], ("BBB-", "BBB+"), {}),
    "corvus": (["ID", "Canonical_SMILES", "bbb"], ("0", "1"), {"sep": ";"}),
    "eridanus": (
        ["cmpd", "structure", "bbb", "logbb", "batch", "comment"],
        ("no", "yes"),
        {"quoting": csv.QUOTE_ALL},
    ),
    "fornax": (["id", "smiles", "bbb", "logbb"], ("FALSE", "TRUE"), {"lineterminator": "\r\n"}),
}
COMMENTS = ("", "", "", "from DMSO stock", "solid, dried", "repeat, second lot")


@dataclass(frozen=True)
class Split:
    """Who holds which connectivity keys; `scaffolds` are the ring scaffolds of the test set."""

    external: set[str]
    scaffolds: set[str]
    near: set[str]
    held: set[str]
    partners: dict[str, set[str]]


def digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def shuffled(items: Iterable[str], step: str) -> list[str]:
    """Return the distinct items in a random order fixed by the seed and the step's name."""
    return sorted(set(items), key=lambda item: digest(f"{SEED}:{step}:{item}"))


def standardise(smiles: str) -> tuple[str, str, str] | None:
    """Clean up, keep the largest organic fragment, uncharge, drop stereo and isotopes.

    Parameters
    ----------
    smiles : str
        Structure as its source writes it.

    Returns
    -------
    tuple of str or None
        Canonical SMILES, connectivity key and Bemis-Murcko scaffold (empty for an acyclic
        structure); None if RDKit cannot read the structure or make its key.
    """
    mol = Chem.MolFromSmiles(smiles)
    if mol is None or mol.GetNumAtoms() == 0:
        return None
    options = rdMolStandardize.CleanupParameters()
    options.preferOrganic = True
    mol = rdMolStandardize.LargestFragmentChooser(options).choose(rdMolStandardize.Cleanup(mol))
    mol = rdMolStandardize.Uncharger().uncharge(mol)
    for atom in mol.GetAtoms():
        atom.SetIsotope(0)
    Chem.RemoveStereochemistry(mol)
    mol = Chem.MolFromSmiles(Chem.MolToSmiles(mol))
    key = Chem.MolToInchiKey(mol)[:14] if mol is not None else ""
    if not key:
        return None
    return Chem.MolToSmiles(mol), key, MurckoScaffold.MurckoScaffoldSmiles(mol=mol)


def annotate(table: pd.DataFrame) -> pd.DataFrame:
    """Add the columns standard, key and scaffold; drop the rows that cannot be read."""
    found = [standardise(smiles) for smiles in table["smiles"]]
    table = table[[item is not None for item in found]].reset_index(drop=True)
    names = ["standard", "key", "scaffold"]
    return table.join(pd.DataFrame([item for item in found if item], columns=names))


def member(wheel: Path, name: str) -> io.BytesIO:
    """Return one member of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return io.BytesIO(archive.read(name))


def read_b3db(wheel: Path, name: str) -> pd.DataFrame:
    """Read a B3DB table: row number, SMILES, label (1 or 0), logBB as text, sources, structure."""
    data = member(wheel, name)
    raw = pd.read_csv(data, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    table = pd.DataFrame({"row": raw["NO."], "smiles": raw["SMILES"].str.strip()})
    table["bbb"] = (raw["BBB+/BBB-"] == "BBB+").astype(int)
    table["logbb"] = raw["logBB"].str.strip()
    table["sources"] = [frozenset(text.strip("|").split("|")) for text in raw["reference"]]
    return annotate(table)


def read_moses(wheel: Path) -> pd.DataFrame:
    """Draw MOSES train structures, some more than needed as a few are filtered out later."""
    table = pd.read_csv(member(wheel, MOSES_TRAIN), compression="gzip", usecols=["SMILES"])
    drawn = shuffled(table["SMILES"], "moses")[: N_MOSES * 3 // 2]
    return annotate(pd.DataFrame({"smiles": drawn}))


def read_nci() -> pd.DataFrame:
    """Read the NCI structures that come with RDKit."""
    lines = NCI_FILE.read_text().splitlines()
    return annotate(pd.DataFrame({"smiles": [line.split()[0] for line in lines if line.strip()]}))


def pick_external(rows: pd.DataFrame) -> tuple[set[str], set[str]]:
    """Draw whole scaffolds for the test set; an acyclic connectivity is a scaffold of its own.

    Left out of the draw: scaffolds with very many members, and those of a connectivity whose rows
    are drawn in forms with different scaffolds.

    Returns
    -------
    tuple of (set of str, set of str)
        Keys and ring scaffolds of the test set.
    """
    several = rows[rows.groupby("key")["scaffold"].transform("nunique") > 1]
    usable = rows[~rows["key"].isin(several["key"])]
    usable = usable[~usable["scaffold"].isin(set(several["scaffold"]) - {""})]
    unit = usable["scaffold"].where(usable["scaffold"] != "", "acyclic " + usable["key"])
    members = usable.groupby(unit)["key"].agg(set).to_dict()
    target = round(EXTERNAL_SHARE * rows["key"].nunique())
    keys: set[str] = set()
    scaffolds: set[str] = set()
    for name in shuffled(members, "external"):
        size = len(members[name])
        if size <= LARGEST_EXTERNAL_SCAFFOLD and len(keys) + size <= target:
            keys |= members[name]
            scaffolds.add(name)
    return keys, {name for name in scaffolds if not name.startswith("acyclic ")}


def chemistry(smiles: str) -> str:
    """Return the coarse chemical class of a standardised structure."""
    mol = Chem.MolFromSmiles(smiles)
    for name in ("steroid", "beta-lactam", "acid"):
        if mol.HasSubstructMatch(PATTERNS[name]):
            return name
    if Descriptors.MolWt(mol) > 550:
        return "large"
    if rdMolDescriptors.CalcTPSA(mol) > 120:
        return "polar"
    return "amine" if mol.HasSubstructMatch(PATTERNS["amine"]) else "neutral"


def by_connectivity(rows: pd.DataFrame) -> pd.DataFrame:
    """Fold the rows of each key: structure, sources, salt, logBB, mean label, chemical class."""
    grouped = rows.groupby("key")
    table = grouped["standard"].min().to_frame()
    table["sources"] = grouped["sources"].agg(lambda sets: frozenset().union(*sets))
    table["salt"] = grouped["smiles"].agg(lambda texts: any("." in text for text in texts))
    table["logbb"] = grouped["logbb"].agg(lambda texts: any(texts != ""))
    table["bbb"] = grouped["bbb"].mean()
    table["chemistry"] = table["standard"].map(chemistry)
    return table


def home(sources: frozenset[str], salt: bool, logbb: bool, kind: str) -> str:
    """Return the partner of a connectivity; the first rule that applies decides."""
    if salt:
        return "fornax"
    for name in ("eridanus", "draco"):
        if sources & SOURCES[name]:
            return name
    if logbb:
        return "fornax" if kind == "amine" else "aurora"
    if sources & SOURCES["borealis"]:
        if kind == "amine" and "R15" in sources and not sources & COMPILED:
            return "fornax"
        return "eridanus" if kind in ("large", "polar") else "borealis"
    return "fornax" if kind == "amine" and not sources & {"R10", "R16"} else "corvus"


def add_overlap(homes: dict[str, str], sources: pd.Series) -> dict[str, set[str]]:
    """Give a few keys to a second partner whose sources name them too; pairs take turns.

    Parameters
    ----------
    homes : dict of str to str
        Partner of each key.
    sources : pandas.Series
        Literature sources of each key.

    Returns
    -------
    dict of str to set of str
        Keys of each partner.
    """
    pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in shuffled(homes, "overlap"):
        named = [name for name in PARTNERS if sources[key] & SOURCES[name]]
        for name in named if homes[key] in named else []:
            if name != homes[key]:
                pairs[homes[key], name].append(key)
    held = {name: {key for key in homes if homes[key] == name} for name in PARTNERS}
    used: set[str] = set()
    wanted = round(OVERLAP_SHARE * len(homes))
    while len(used) < wanted and any(pairs.values()):
        for pair in sorted(pairs):
            free = [key for key in pairs[pair] if key not in used]
            pairs[pair] = free[1:]
            if free and len(used) < wanted:
                held[pair[1]].add(free[0])
                used.add(free[0])
    return held


def divide(rows: pd.DataFrame, folded: pd.DataFrame) -> Split:
    """Decide where every connectivity goes."""
    external, scaffolds = pick_external(rows)
    rest = set(folded.index) - external
    near = set(shuffled(rest, "near")[:N_PUBLIC_NEAR])
    facts = folded.loc[sorted(rest - near), ["sources", "salt", "logbb", "chemistry"]]
    homes = {item[0]: home(*item[1:]) for item in facts.itertuples()}
    held = set(shuffled(homes, "held")[:N_PUBLIC_HELD])
    return Split(external, scaffolds, near, held, add_overlap(homes, folded["sources"]))


def make_public(
    rows: pd.DataFrame, extra: pd.DataFrame, moses: pd.DataFrame, split: Split
) -> pd.DataFrame:
    """Join the public parts: one row a connectivity, nothing of the test set, no labels."""
    own = rows[rows["key"].isin(split.near | split.held)]
    b3db = pd.concat([own, extra[~extra["key"].isin(rows["key"])]])
    seen, parts = set(split.external), []
    for source, part in (("b3db", b3db), ("nci", read_nci()), ("moses", moses)):
        kept = part[~part["key"].isin(seen) & ~part["scaffold"].isin(split.scaffolds)]
        kept = kept.drop_duplicates("key").head(N_MOSES if source == "moses" else len(kept))
        seen |= set(kept["key"])
        parts.append(kept[["smiles", "standard", "key", "scaffold"]].assign(source=source))
    table = pd.concat(parts).set_index("key")
    table = table.loc[shuffled(table.index, "public")].reset_index()
    numbers = zip(table["source"], table.groupby("source").cumcount() + 1, strict=True)
    width = {"nci": 5, "moses": 6, "b3db": 4}
    return table.assign(id=[f"{name.upper()}-{n:0{width[name]}d}" for name, n in numbers])


def numbered(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Shuffle the raw rows of one holder and give them that holder's ids."""
    table = rows.set_index("row").loc[shuffled(rows["row"], name)].reset_index()
    return table.assign(id=[f"{name[:3].upper()}-{i:05d}" for i in range(1, len(table) + 1)])


def long_layout(table: pd.DataFrame) -> pd.DataFrame:
    """Return one line per measurement, shuffled; some qualifiers are left empty."""
    lines = {}
    for item in table.itertuples():
        lines[f"{item.id} bbb"] = (item.id, item.smiles, "bbb", item.bbb, "", "")
        if item.logbb:
            rest = ("logbb", item.logbb, "" if item.Index % 5 == 0 else "=", "log10(brain/blood)")
            lines[f"{item.id} logbb"] = (item.id, item.smiles, *rest)
    names = ["compound_id", "smiles", "task", "value", "qualifier", "unit"]
    return pd.DataFrame([lines[name] for name in shuffled(lines, "long")], columns=names)


def write_labelled(table: pd.DataFrame, name: str, path: Path) -> None:
    """Write a labelled table in the layout of its holder; batch and comment are invented."""
    if name == "draco":
        long_layout(table).to_csv(path, index=False, lineterminator="\n")
        return
    header, labels, options = LAYOUTS[name]
    noise = [int(digest(text)[:8], 16) for text in table["id"]]
    table = table.assign(
        bbb=[labels[value] for value in table["bbb"]],
        batch=[f"B{n % 23 + 1:02d}" for n in noise],
        comment=[COMMENTS[n // 23 % len(COMMENTS)] for n in noise],
    )
    columns = ["id", "smiles", "bbb", "logbb", "batch", "comment"][: len(header)]
    options = {"lineterminator": "\n", **options}
    table[columns].to_csv(path, header=header, index=False, **options)


def check(rows: pd.DataFrame, folded: pd.DataFrame, split: Split, public: pd.DataFrame) -> None:
    """Raise if the test set leaks, if a partner lacks a class, or if the public set repeats."""
    private = set().union(*split.partners.values())
    partner_scaffolds = set(rows.loc[rows["key"].isin(private), "scaffold"])
    faults = {
        "test key with a partner": split.external & private,
        "test key in public": split.external & set(public["key"]),
        "test scaffold with a partner": split.scaffolds & partner_scaffolds,
        "test scaffold in public": split.scaffolds & set(public["scaffold"]),
        "repeated public key": set(public.loc[public["key"].duplicated(), "key"]),
    }
    for name, keys in split.partners.items():
        labels = folded.loc[sorted(keys), "bbb"]
        if min((labels > 0.5).sum(), (labels < 0.5).sum()) < LEAST_PER_CLASS:
            faults[f"too few of a class: {name}"] = {name}
    found = {name: sorted(items)[:3] for name, items in faults.items() if items}
    if found:
        raise ValueError(f"the split breaks its own rules: {found}")


def main() -> None:
    """Build the files and, on request, print the tables of the README."""
    parser = argparse.ArgumentParser(description="Make the demonstration data of fluid.")
    parser.add_argument("--b3db", type=Path, required=True, help="wheel of qc-B3DB 1.1.1")
    parser.add_argument("--molsets", type=Path, required=True, help="wheel of molsets 0.3.1")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--report", action="store_true", help="print the tables of the README")
    options = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    rows = read_b3db(options.b3db, B3DB_MAIN)
    folded = by_connectivity(rows)
    split = divide(rows, folded)
    extra = read_b3db(options.b3db, B3DB_EXTRA)
    public = make_public(rows, extra, read_moses(options.molsets), split)
    check(rows, folded, split, public)
    holders = {**split.partners, "external": split.external}
    tables = {name: numbered(rows[rows["key"].isin(holders[name])], name) for name in holders}
    (options.out / "partners").mkdir(parents=True, exist_ok=True)
    paths = {name: options.out / "partners" / f"{name}.csv" for name in PARTNERS}
    paths |= {name: options.out / f"{name}.csv" for name in ("external", "public")}
    for name, table in tables.items():
        write_labelled(table, name, paths[name])
    public[["id", "smiles", "source"]].to_csv(paths["public"], index=False, lineterminator="\n")
    if options.report:
        shipped = {path.relative_to(options.out).as_posix(): path for path in paths.values()}
        files = {name: path.read_bytes() for name, path in shipped.items()}
        files |= {name: member(options.b3db, name).getvalue() for name in (B3DB_MAIN, B3DB_EXTRA)}
        files[MOSES_TRAIN] = member(options.molsets, MOSES_TRAIN).getvalue()
        files["rdkit/Data/NCI/first_5K.smi"] = NCI_FILE.read_bytes()
        measure = runpy.run_path(str(Path(__file__).with_name("measure.py")))
        measure["report"](tables, folded, public, files)


if __name__ == "__main__":
    main()
