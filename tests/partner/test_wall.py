"""Nothing of a private table is in what a partner exports, and the coordinator cannot read one."""

from __future__ import annotations

import ast
import csv
import hashlib
from pathlib import Path

import pyarrow.parquet as pq

from fluid.base.run import Run
from fluid.chem.standardize import StandardizerSpec, standardize
from fluid.exchange.federation import load_federation
from fluid.exchange.public_set import open_public_set
from fluid.partner.annotate import annotate
from fluid.partner.teacher.fit import TrainingOptions
from fluid.partner.teacher.train import train_teacher
from fluid.public.prepare import prepare_public
from tests.conftest import DATA, make_federation, public_rows, write_public

ROOT = Path(__file__).parent.parent.parent


def _everything(path: Path) -> bytes:
    """All bytes of an export, as stored and decoded."""
    table = pq.read_table(path)
    metadata = pq.ParquetFile(path).metadata.metadata or {}
    decoded = "\n".join(str(row) for row in table.to_pylist())
    stored = b"".join(key + value for key, value in metadata.items())
    return path.read_bytes() + stored + decoded.encode()


def test_no_marked_string_hash_or_key_leaves(tmp_path: Path) -> None:
    path = make_federation(tmp_path, ("aurora",))
    federation = load_federation(path)
    public = public_rows(80)
    spec = StandardizerSpec()
    public_keys = {standardize(row["smiles"], spec).inchikey for row in public}
    with (DATA / "partners" / "aurora.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))[:150]
    marked = set()
    for number, row in enumerate(rows):
        row["compound_id"] = f"MARKED-{number:04d}-secret"
        row["project"] = f"PROJECT-{number % 7}-hush"
        marked |= {row["compound_id"], row["project"]}
        try:
            structure = standardize(row["smiles"], spec)
        except ValueError:
            continue
        if structure.inchikey not in public_keys:
            marked |= {row["smiles"], structure.smiles, structure.inchikey, structure.inchikey[:14]}
    private = tmp_path / "TABLE-NAME-hush.csv"
    with private.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    prepare_public(
        [write_public(tmp_path / "public.csv", public)],
        federation,
        tmp_path / "p.parquet",
        run=Run(jobs=1),
    )
    train_teacher(
        [private],
        path,
        "aurora",
        tmp_path / "teacher",
        options=TrainingOptions(folds=3, repeats=2),
        run=Run(jobs=1),
    )
    export = tmp_path / "annotation.parquet"
    key = tmp_path / "keys" / "aurora.key"
    annotate(
        tmp_path / "teacher",
        open_public_set(tmp_path / "p.parquet"),
        export,
        key=key,
        run=Run(jobs=1),
    )
    content = _everything(export)
    marked |= {private.name, (tmp_path / "teacher" / "fold.key").read_text().strip()}
    marked |= set(key.read_text().splitlines()[1:-1])
    # Short SMILES ("CO") are substrings of anything; whole ids, keys and longer structures are not.
    strings = {text for text in marked if len(text) >= 8}
    assert len(strings) > 300
    for text in strings:
        assert text.encode() not in content, text
        for name in ("md5", "sha1", "sha256"):
            digest = hashlib.new(name, text.encode())
            assert digest.hexdigest().encode() not in content
            assert digest.digest() not in content


def _imports(path: Path) -> set[str]:
    """Modules of the project that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("fluid")}


def _file(module: str) -> Path | None:
    place = ROOT / Path(*module.split("."))
    for candidate in (place.with_suffix(".py"), place / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _reachable(start: list[Path]) -> set[str]:
    seen: set[str] = set()
    todo = list(start)
    while todo:
        for module in _imports(todo.pop()) - seen:
            place = _file(module)
            if place is not None:
                seen.add(module)
                todo.append(place)
    return seen


def test_central_reaches_nothing_that_reads_a_private_table() -> None:
    reachable = _reachable(sorted((ROOT / "fluid" / "central").rglob("*.py")))
    assert "fluid.exchange.annotation" in reachable
    forbidden = (
        "fluid.partner",
        "fluid.report",
        "fluid.cli",
        "fluid.chem.readers",
        "fluid.chem.tables",
        "fluid.chem.featurizer",
        "fluid.public",
    )
    assert not [name for name in reachable if name.startswith(forbidden)]


def test_partner_does_not_reach_central() -> None:
    reachable = _reachable(sorted((ROOT / "fluid" / "partner").rglob("*.py")))
    assert not [name for name in reachable if name.startswith("fluid.central")]
