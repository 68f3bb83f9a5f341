"""`prepare-public` beside a loop of the RDKit calls that it cannot avoid."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors
from rdkit.Chem.MolStandardize import rdMolStandardize

from benchmarks.material import DIFFERENT, FOLDER, federation, structure_table, structures
from benchmarks.measure import in_new_process
from benchmarks.table import Row
from fluid.base.run import Run
from fluid.chem.descriptors import descriptor_names

COMPOUNDS = DIFFERENT
# A table whose first column are SMILES, in place of the shipped structures: STRUCTURES=file.
SOURCE = os.environ.get("STRUCTURES", "")


def bare(number: int) -> float:
    """CPU seconds of RDKit: parse, standardise, key, fingerprint, descriptors."""
    texts = structures(number, SOURCE)
    known = set(descriptor_names())
    offered = rdMolDescriptors.Properties.GetAvailableProperties()
    properties = rdMolDescriptors.Properties([name for name in offered if name in known])
    normalizer, uncharger = rdMolStandardize.Normalizer(), rdMolStandardize.Uncharger()
    chooser, remover = rdMolStandardize.LargestFragmentChooser(), rdMolStandardize.FragmentRemover()
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2)
    with rdBase.BlockLogs():
        started = time.process_time()
        for text in texts:
            mol = Chem.MolFromSmiles(text)
            if mol is None:
                continue
            if "." in text:
                mol = chooser.choose(remover.remove(mol))
            mol = normalizer.normalize(mol)
            if "+" in text or "-" in text:
                mol = uncharger.uncharge(mol)
            Chem.RemoveStereochemistry(mol)
            mol = Chem.MolFromSmiles(Chem.MolToSmiles(mol))
            if mol is None or not mol.GetNumAtoms():
                continue
            Chem.MolToInchiKey(mol)  # type: ignore[no-untyped-call]
            generator.GetSparseCountFingerprint(mol)
            properties.ComputeProperties(mol)
            rdMolDescriptors.SlogP_VSA_(mol)
            rdMolDescriptors.SMR_VSA_(mol)
            rdMolDescriptors.PEOE_VSA_(mol)
            rdMolDescriptors.MQNs_(mol)
        return time.process_time() - started


def ours(table: str, workers: int) -> dict[str, float]:
    """CPU seconds of this process without workers, and wall seconds, for the same structures."""
    from fluid.public.prepare import prepare_public

    _, contract = federation()
    started, clock = time.process_time(), time.monotonic()
    prepare_public(
        [Path(table)], contract, FOLDER / f"prepared-{workers}.parquet", run=Run(jobs=workers)
    )
    return {"cpu": time.process_time() - started, "wall": time.monotonic() - clock}


def recomputed(table: str, workers: int) -> dict[str, float]:
    """The same for the recomputation of the prepared set, at first and again."""
    from fluid.exchange.public_set import open_public_set
    from fluid.partner.recompute import recompute_public

    _, contract = federation()
    public = open_public_set(Path(table))
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        for name in ("first", "again"):
            started, clock = time.process_time(), time.monotonic()
            recompute_public(public, contract, Run(jobs=workers))
            spent |= {
                name: time.process_time() - started,
                f"{name}, wall": time.monotonic() - clock,
            }
    return spent | {"compounds": len(public)}


def rows() -> list[Row]:
    """CPU over bare calls, what the second worker brings, and what a partner's check costs."""
    table = str(structure_table(COMPOUNDS, SOURCE))
    calls = in_new_process(bare, COMPOUNDS).value
    one, two = (
        in_new_process(ours, table, 1).value,
        in_new_process(ours, table, 2).value,
    )
    prepared = str(FOLDER / "prepared-1.parquet")
    check = in_new_process(recomputed, prepared, 1).value
    shared = in_new_process(recomputed, prepared, 2).value
    each, of_kept = 1e6 / COMPOUNDS, 1e6 / check["compounds"]
    return [
        Row(
            f"`prepare-public`, {COMPOUNDS:,} structures, one worker",
            f"{one['cpu'] * each:.0f} us of CPU a compound",
            f"{one['cpu'] / calls:.2f} x bare RDKit calls ({calls * each:.0f} us)",
        ),
        Row(
            "the same with two workers, wall",
            f"{two['wall']:.1f} s",
            f"{one['wall'] / two['wall']:.2f} x as fast as one ({one['wall']:.1f} s)",
        ),
        Row(
            "CPU of the process that reads and writes, beside workers",
            f"{two['cpu'] * each:.0f} us a compound",
            f"it keeps {one['cpu'] / two['cpu']:.0f} workers busy",
        ),
        Row(
            f"every row computed again by a partner, {check['compounds']:,} compounds, one worker",
            f"{check['first'] * of_kept:.0f} us of CPU a compound",
            f"{check['first'] * of_kept / (one['cpu'] * each):.2f} x `prepare-public`",
        ),
        Row(
            "the same with two workers, wall",
            f"{shared['first, wall']:.1f} s",
            f"{check['first, wall'] / shared['first, wall']:.2f} x as fast as one "
            f"({check['first, wall']:.1f} s)",
        ),
        Row(
            "the same set again on the same machine",
            f"{check['again'] * 1e3:.1f} ms",
            "whatever its size",
        ),
    ]
