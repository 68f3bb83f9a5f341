"""Show exactly what a file contains, before it leaves or after it arrives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fluid.base.errors import FileFormatError, FluidError, MismatchError
from fluid.base.files import sha256_file
from fluid.base.schemas import same_format, schema_problem
from fluid.exchange.annotation import SCHEMA as ANNOTATION
from fluid.exchange.annotation import column_meanings, open_annotation
from fluid.exchange.coordinator import (
    describe_coordinator_signature,
    describe_student_signature,
)
from fluid.exchange.federated_set import SCHEMA as FEDERATED
from fluid.exchange.federated_set import open_federated
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.public_set import SCHEMA as PUBLIC
from fluid.exchange.public_set import PublicSet, open_public_set
from fluid.exchange.sealed import SealedFile, open_sealed
from fluid.exchange.shared_statistics import check_shared_statistics
from fluid.exchange.signing import read_public_key, verify_digest
from fluid.learn.model_file import MODEL_FILE
from fluid.learn.storage import load_model
from fluid.partner.release.approve import load_audit
from fluid.partner.release.ledger import read_ledger
from fluid.public.clusters import SCHEMA as CLUSTERS
from fluid.public.clusters import open_clusters
from fluid.public.coverage import open_coverage
from fluid.report.disclosure import describe_disclosure

# Rows shown, enough to see what a row looks like.
_EXAMPLES = 5
# Different values of a column that are counted; beyond, the count is "at least".
_MOST_DISTINCT = 100_000
# Characters of a text that are shown.
_LONGEST = 200
_MEANINGS = {
    "id": "name of the public compound",
    "smiles": "standard SMILES of the public compound",
    "inchikey": "InChIKey of the public compound",
    "fingerprint": "folded Morgan fingerprint, packed bits",
    "environments": "unfolded Morgan feature identifiers",
    "counts": "how often each feature occurs",
    "descriptors": "RDKit 2D descriptors",
    ".label": "pooled soft label",
    ".disagreement": "weighted standard deviation between teachers",
    ".reliability": "highest reliability of any teacher, 0 to 1",
    ".teachers": "number of teachers that gave a label",
    ".weight": "sum of the weights of the teachers' labels",
}


def inspect_path(
    path: Path | str,
    federation: Federation | Path | str | None = None,
    *,
    teacher: Path | str | None = None,
    audit: Path | str | None = None,
) -> dict[str, Any]:
    """Describe a file of any kind that crosses the wall, a model folder or a federation file.

    Parameters
    ----------
    path
        The file or folder.
    federation
        The federation whose registered key must have signed an annotation or a coverage report.
    teacher
        The folder of the teacher that made an annotation, to show how much of its budget is used.
    audit
        The result of ``fluid audit`` for an annotation, to be shown with it.

    Returns
    -------
    dict
        The kind of file, its manifest, and for tables every column with its meaning, range and
        number of missing values, and the first rows.

    Raises
    ------
    FluidError
        If the file is damaged, changed, or none of these.
    """
    path = Path(path)
    contract = Federation.load(federation) if federation is not None else None
    if path.is_dir():
        return _inspect_model(path, contract)
    if path.suffix.lower() == ".toml":
        return _inspect_federation(path)
    if path.suffix.lower() == ".pub":
        return {"what": "public key", "path": str(path), "key": read_public_key(path)}
    if path.suffix.lower() == ".key":
        raise FluidError(f"{path}: is a private key and is never shown")
    if path.suffix.lower() == ".json":
        return _inspect_coverage(path, contract)
    found = _inspect_sealed(path, contract)
    if found["what"] != "annotation":
        return found
    annotation = open_annotation(path)
    result = load_audit(Path(audit), annotation) if audit is not None else None
    ledger = read_ledger(Path(teacher)) if teacher is not None else None
    if ledger is not None and ledger.name != annotation.release.ledger:
        raise MismatchError(
            f"{teacher}: its ledger is '{ledger.name[:12]}', but {path} was entered in "
            f"'{annotation.release.ledger[:12]}'; name the teacher that made it"
        )
    return found | describe_disclosure(annotation, found["columns"], contract, ledger, result)


def _inspect_sealed(path: Path, federation: Federation | None) -> dict[str, Any]:
    sealed = open_sealed(path, None)
    kind = str(sealed.manifest.get("schema"))
    what = {
        ANNOTATION: "annotation",
        PUBLIC: "public set",
        FEDERATED: "federated set",
        CLUSTERS: "clusters",
    }
    if kind not in what:
        known = next((one for one in what if same_format(kind, one)), " or ".join(what))
        raise FileFormatError(f"{path}: {schema_problem(kind, known)}")
    meanings = dict(_MEANINGS)
    if kind == ANNOTATION:
        annotation = open_annotation(path)
        meanings = column_meanings(annotation.tasks, annotation.base_student)
    columns, examples = _columns(sealed, meanings)
    problem = _problem(path, kind)
    return {
        "what": what[kind],
        "path": str(path),
        "digest": sealed.digest,
        "digest_verified": True,
        "signature": _signature(sealed, federation),
        "rows": sealed.n_rows,
        "manifest": sealed.manifest,
        "columns": columns,
        "first_rows": examples,
    } | ({"problem": problem} if problem else {})


def _problem(path: Path, kind: str) -> str | None:
    """Why whoever receives a file would refuse it, as far as it shows by itself."""
    try:
        if kind == ANNOTATION:
            annotation = open_annotation(path)
            check_shared_statistics(annotation)
            for _ in annotation.chunks():
                pass
        elif kind == FEDERATED:
            open_federated(path).load()
        else:
            opened = (
                open_public_set(path) if kind == PUBLIC else PublicSet(open_clusters(path).sealed)
            )
            for _ in opened.chunks():
                pass
    except FluidError as error:
        return str(error)
    return None


def _inspect_coverage(path: Path, federation: Federation | None) -> dict[str, Any]:
    """A partner's counts by cluster: its statements, and how the counts are spread."""
    report = open_coverage(path)
    stated = {
        name: value
        for name, value in report.values.items()
        if name not in ("counts", "elsewhere", "digest", "signature")
    }
    counts = report.counts
    return {
        "what": "coverage report",
        "path": str(path),
        "digest": report.digest,
        "digest_verified": True,
        "signature": _verify(report.signature, report.digest, report.partner, federation),
        "manifest": stated,
        "clusters_counted": len(counts),
        "clusters_reported_empty": int((counts == 0).sum()),
        "compounds_counted": int(counts.sum()),
        "largest_count": int(counts.max(initial=0)),
        "elsewhere": report.elsewhere,
        "counts": counts.tolist(),
        "meaning": f"private compounds nearest to each cluster's leader, rounded to "
        f"{stated['step']}, 0 for fewer than {stated['minimum']}; 'elsewhere' are near no leader",
    }


def _signature(sealed: SealedFile, federation: Federation | None) -> str:
    if sealed.manifest["schema"] != ANNOTATION:
        return describe_coordinator_signature(sealed, federation)
    return _verify(sealed.signature, sealed.digest, str(sealed.manifest["partner"]), federation)


def _verify(
    signature: bytes | None, digest: str, partner: str, federation: Federation | None
) -> str:
    if signature is None:
        return "unsigned draft"
    if federation is None:
        return "signed; give --federation to verify the key"
    good = verify_digest(federation.public_key(partner), bytes.fromhex(digest), signature)
    return "valid, of the registered key" if good else "WRONG: not of the registered key"


def _columns(
    sealed: SealedFile, meanings: dict[str, str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Walk the rows once: range and missing values of every column."""
    found = {
        field.name: {
            "name": field.name,
            "type": str(field.type),
            "meaning": _meaning(field.name, meanings),
            "missing": 0,
        }
        for field in sealed.schema
    }
    distinct: dict[str, set[float]] = {}
    examples: list[dict[str, Any]] = []
    for batch in sealed.batches():
        if not examples:
            examples = [_shown(row) for row in batch.slice(0, _EXAMPLES).to_pylist()]
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            entry = found[name]
            entry["missing"] += column.null_count
            if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
                continue
            values = column.drop_null().to_numpy(zero_copy_only=False)
            finite = np.isfinite(values)
            if not finite.all():
                entry["not_finite"] = entry.get("not_finite", 0) + int((~finite).sum())
                values = values[finite]
            if len(values):
                low, high = float(values.min()), float(values.max())
                entry["min"] = round(min(entry.get("min", low), low), 6)
                entry["max"] = round(max(entry.get("max", high), high), 6)
                seen = distinct.setdefault(name, set())
                if len(seen) <= _MOST_DISTINCT:
                    seen.update(np.unique(values).tolist())
                entry["distinct"] = len(seen)
    return list(found.values()), examples


def _meaning(name: str, meanings: dict[str, str]) -> str:
    if name in meanings:
        return meanings[name]
    ending = next((key for key in meanings if key.startswith(".") and name.endswith(key)), None)
    return meanings[ending] if ending else ""


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row with long values cut."""
    shown: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, bytes):
            shown[name] = value.hex()[:16] + "..."
        elif isinstance(value, list):
            shown[name] = f"{len(value)} values"
        elif isinstance(value, float):
            shown[name] = round(value, 6) if np.isfinite(value) else str(value)
        elif isinstance(value, str):
            shown[name] = value if len(value) <= _LONGEST else value[:_LONGEST] + "..."
        else:
            shown[name] = value
    return shown


def _inspect_model(path: Path, federation: Federation | None) -> dict[str, Any]:
    model = load_model(path)
    card = model.card
    signature = "not a signed kind of folder"
    if card.kind == "student":
        signature = describe_student_signature(path, federation)
    return {
        "what": card.kind,
        "path": str(path),
        # Of model.json, which states the digests of the files that a prediction needs.
        "digest": sha256_file(path / MODEL_FILE),
        "files_verified": True,
        "signature": signature,
        "name": card.name,
        "federation": card.federation,
        "round": card.round,
        "protocol": card.protocol,
        "tasks": [task.to_dict() for task in model.tasks],
        "training": card.training,
        "metrics": card.metrics,
        "software": card.software,
        "may_travel": card.kind == "student",
        "files": sorted(
            file.relative_to(path).as_posix()
            for file in path.rglob("*")
            if file.is_file() and "trees" not in file.parts
        ),
        "entry": MODEL_FILE,
    }


def _inspect_federation(path: Path) -> dict[str, Any]:
    federation = load_federation(path)
    return {
        "what": "federation",
        "path": str(path),
        "name": federation.name,
        "round": federation.round,
        "protocol": federation.protocol,
        "partners": dict(federation.partners),
        "coordinator": federation.coordinator,
        "contract": federation.protocol_dict(),
    }
