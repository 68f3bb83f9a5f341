"""What benchmarks work on: structures without a download, a federation, teachers, public sets.

Everything is made once, in a folder that `make clean` removes.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa

from fluid.chem.arrow import compounds_schema, compounds_to_batch
from fluid.chem.recompute import content_digest
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.public_set import PublicSet, open_public_set
from fluid.exchange.sealed import write_sealed
from fluid.exchange.signing import generate_keys
from fluid.exchange.template import init_federation, parse_task_option, register_partner
from fluid.partner.recompute import open_proofs
from fluid.public.prepare import prepare_public

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build" / "bench"
PARTNERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
# Different compounds of a public set; a larger one repeats them.
DIFFERENT = 100_000
# What extends a structure at its first atom, so that there are as many as are asked for.
_CHAINS = ("", "CC", "CCO", "CNC(=O)", "c1ccccc1", "FC(F)", "COC(=O)", "C1CC1", "NCC", "CSC")


def structures(number: int, source: str = "") -> list[str]:
    """Different SMILES of the shipped public set, and extensions of these; or those of a table."""
    from rdkit import Chem, rdBase

    if source:
        return pd.read_csv(source, usecols=[0], nrows=number).iloc[:, 0].tolist()
    with (ROOT / "data" / "public.csv").open(encoding="utf-8") as lines:
        shipped = [row["smiles"] for row in csv.DictReader(lines)]

    def grown() -> Iterator[str]:
        for chain in _CHAINS:
            for smiles in shipped:
                if not chain or Chem.MolFromSmiles(chain + smiles) is not None:
                    yield chain + smiles

    with rdBase.BlockLogs():
        return list(islice(grown(), number))


def federation(tasks: int = 1, kind: str = "binary") -> tuple[Path, Federation]:
    """So many tasks of a kind, and partners whose keys are at hand."""
    path = FOLDER / f"federation-{tasks}{_kind(kind)}.toml"
    if not path.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        names = ["polar", *(f"task{number}" for number in range(1, tasks))]
        init_federation(path, "bench", [parse_task_option(f"{name}:{kind}") for name in names])
        # A benchmark that is run again asks the same teachers again.
        text = path.read_text(encoding="utf-8")
        for limit, most in (("max_releases", 10**6), ("max_queries", 10**12)):
            text = re.sub(rf"(?m)^{limit} = .*$", f"{limit} = {most}", text)
        path.write_text(text, encoding="utf-8")
        for partner in PARTNERS:
            public_key = FOLDER / "keys" / f"{partner}.pub"
            if not public_key.is_file():
                _, public_key = generate_keys(partner, FOLDER / "keys")
            register_partner(path, partner, public_key)
    return path, load_federation(path)


def _kind(kind: str) -> str:
    return "" if kind == "binary" else f"-{kind}"


def structure_table(number: int, source: str = "") -> Path:
    """A table of structures."""
    path = FOLDER / f"structures-{number}{'-of-table' if source else ''}.csv"
    if source or not path.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        lines = ["smiles", *structures(number, source)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def public_set(number: int, tasks: int = 1, kind: str = "binary") -> PublicSet:
    """A public set of `number` rows: the compounds of a smaller one over and over.

    A partner would refuse compounds that occur twice, so the set is noted as computed.
    """
    path = FOLDER / f"public-{number}-{tasks}{_kind(kind)}.parquet"
    _, contract = federation()
    _, theirs = federation(tasks, kind)
    if path.is_file():
        return _vouched(open_public_set(path), theirs)
    small = FOLDER / "public.parquet"
    if not small.is_file():
        prepare_public([structure_table(DIFFERENT)], contract, small)
    source = open_public_set(small)

    def rows() -> Iterator[pa.RecordBatch]:
        left = number
        while left:
            for chunk in source.chunks():
                batch = compounds_to_batch(chunk)[:left]
                left -= batch.num_rows
                yield batch
                if not left:
                    return

    features = contract.chemistry.features
    schema = compounds_schema(features.bits, features.n_descriptors)
    manifest = source.sealed.manifest | {"protocol": theirs.protocol}
    write_sealed(path, schema, rows(), lambda count: manifest | {"n_compounds": count})
    return _vouched(open_public_set(path), theirs)


def _vouched(public: PublicSet, contract: Federation) -> PublicSet:
    proofs = open_proofs(contract.chemistry)
    if public.digest not in proofs:
        for chunk in public.chunks():
            proofs.add(content_digest(chunk))
        proofs.add(public.digest)
        proofs.save()
    return public


def teacher(number: int, learner: str, partner: str = PARTNERS[0], kind: str = "binary") -> Path:
    """A teacher of `number` compounds, with the usual folds and repeats."""
    from rdkit import Chem
    from rdkit.Chem import rdMolDescriptors

    from fluid.partner.teacher.fit import TrainingOptions
    from fluid.partner.teacher.train import train_teacher

    folder = FOLDER / f"{partner}-{learner}-{number}{_kind(kind)}"
    if (folder / "model.json").is_file():
        return folder
    path, _ = federation(kind=kind)
    table = FOLDER / f"private-{number}{_kind(kind)}.csv"
    with table.open("w", encoding="utf-8") as out:
        out.write("smiles,polar\n")
        for smiles in structures(number):
            area = rdMolDescriptors.CalcTPSA(Chem.MolFromSmiles(smiles))
            out.write(f"{smiles},{int(area > 70) if kind == 'binary' else area}\n")
    train_teacher([table], path, partner, folder, options=TrainingOptions(learner))
    return folder
