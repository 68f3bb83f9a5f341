"""Outputs: they replace no input and nobody else's file, and a failure leaves nothing behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluid.base.errors import FluidError
from fluid.base.files import read_json

if TYPE_CHECKING:
    from fluid.chem.tables import Reject

_MODEL = frozenset(
    {"model.json", "library.parquet", "arrays.npz", "networks.safetensors", "trees", "rejects.csv"}
)
TEACHER_ENTRIES = _MODEL | {
    "fold.key",
    "federation.toml",
    "conformal.npz",
    "ledger.jsonl",
    "sub-teachers",
}
HYBRID_ENTRIES = _MODEL | {"own", "student", "conformal.npz"}
STUDY_ENTRIES = frozenset({"results.csv", "studies.csv", "summary.json", "summary.md", "cache"})
ROUND_ENTRIES = frozenset({"report.json", "report.sig", "federated.parquet", "student"})
_PASSED_OVER = frozenset({".DS_Store"})

REJECTS_HEADER = b"file,line,id,column,value,reason\n"
SPLIT_HEADER = b"file,line,id,standard_smiles,inchikey,group,fold,problem\n"
PREDICTIONS_HEADER = b"line,id,smiles,standard_smiles,inchikey,"


@contextmanager
def output_file(
    path: Path, inputs: Iterable[Path], what: str, is_ours: Callable[[Path], bool]
) -> Iterator[None]:
    """Guard the writing of a file.

    Parameters
    ----------
    path
        The file to be written.
    inputs
        Files and folders that the command reads.
    what
        What the file is, for the message.
    is_ours
        Whether a file that exists already is of this kind, and may be replaced.

    Raises
    ------
    FluidError
        If `path` is an input, is not an ordinary file, or is somebody else's.
    """
    _check_place(path, inputs)
    if path.exists() and not path.is_dir() and not path.is_file():
        raise FluidError(f"{path}: is a device or pipe; name a file")
    if path.is_file() and path.stat().st_size and not is_ours(path):
        raise FluidError(
            f"{path}: exists and is not {_article(what)} {what}; name another file, or remove it "
            "if it is not needed"
        )
    with tidy(path):
        yield


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


@contextmanager
def output_folder(
    path: Path, inputs: Iterable[Path], entries: frozenset[str], kinds: Iterable[str] = ()
) -> Iterator[None]:
    """Guard the writing of a folder.

    Parameters
    ----------
    path
        The folder to be written.
    inputs
        Files and folders that the command reads.
    entries
        What the command writes into it. A folder that holds anything else is not replaced.
    kinds
        Kinds of model that may be replaced.

    Raises
    ------
    FluidError
        If `path` is or holds an input, or holds somebody else's files or another kind of model.
    """
    _check_place(path, inputs)
    if path.is_dir():
        model = _read_json(path / "model.json")
        card = model.get("card") if isinstance(model, dict) else None
        kind = card.get("kind") if isinstance(card, dict) else None
        if kind is not None and kind not in kinds:
            raise FluidError(f"{path}: holds a {kind}, which is not replaced; name a new folder")
        if (path / "model.json").exists() or (path / "report.json").exists():
            found = {item.name for item in path.iterdir()}
            foreign = sorted(found - entries - _PASSED_OVER)
            if foreign:
                raise FluidError(
                    f"{path}: holds '{foreign[0]}', which this command did not write; move it "
                    "away or name a new folder"
                )
    with tidy(path):
        try:
            yield
        except OSError as error:
            crossed = error.errno in (errno.ENOTEMPTY, errno.EEXIST) or (
                error.errno == errno.ENOENT and str(error.filename) == str(path)
            )
            if not crossed:
                raise
            raise FluidError(
                f"{path}: another run wrote this folder at the same moment; its result was kept"
            ) from error


def _check_place(path: Path, inputs: Iterable[Path]) -> None:
    place = path.resolve()
    for item in inputs:
        if not item.exists():
            continue
        other = item.resolve()
        if other == place or (path.exists() and path.samefile(item)):
            raise FluidError(f"{path}: is an input of this command; name another output")
        if place in other.parents:
            raise FluidError(f"{path}: holds {item}, an input of this command; name another output")
        if other in place.parents and (other / "model.json").exists():
            raise FluidError(f"{path}: is in {item}, an input of this command; name another place")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise FluidError(f"{path}: {above} is a file, a folder is needed")
    if not os.access(above, os.W_OK | os.X_OK):
        raise FluidError(f"{path}: {above} cannot be written to (Permission denied)")


@contextmanager
def tidy(path: Path) -> Iterator[None]:
    """Remove the folders made for an output if it is not written."""
    missing = [folder for folder in path.absolute().parents if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in missing:
            try:
                folder.rmdir()
            except OSError:
                break
        raise


def is_sealed(kind: str) -> Callable[[Path], bool]:
    """Whether a file is a sealed one of this format: of any version, and whole or not."""
    from fluid.base.schemas import same_format
    from fluid.exchange.sealed import sealed_kind

    return lambda path: same_format(sealed_kind(path), kind)


def starts_with(start: bytes) -> Callable[[Path], bool]:
    """Check that a file begins with these bytes."""

    def check(path: Path) -> bool:
        with path.open("rb") as handle:
            return handle.read(len(start)) == start

    return check


def is_predictions(path: Path) -> bool:
    """Whether a file is what ``fluid predict`` writes."""
    if path.suffix.lower() != ".parquet":
        return starts_with(PREDICTIONS_HEADER)(path)
    import pyarrow as pa

    from fluid.base.parquet_limits import open_parquet

    try:
        with open_parquet(path) as file:
            names = file.schema_arrow.names
    except (pa.ArrowException, OSError, ValueError):
        return False
    return names[:5] == PREDICTIONS_HEADER.decode().split(",")[:5]


def is_evaluation(path: Path) -> bool:
    """Whether a file is what ``fluid evaluate`` writes."""
    found = _read_json(path)
    return isinstance(found, dict) and {"data", "draws", "protocol", "tasks"} <= set(found)


def is_coverage(path: Path) -> bool:
    """Whether a file is what ``fluid survey`` writes; a damaged one counts too."""
    found = _read_json(path)
    return isinstance(found, dict) and found.get("schema") == "fluid.coverage/1"


def is_audit(path: Path) -> bool:
    """Whether a file is what ``fluid audit`` writes."""
    found = _read_json(path)
    return isinstance(found, dict) and found.get("schema") == "fluid.audit/1"


def _read_json(path: Path) -> Any:
    try:
        return read_json(path)
    except FluidError:
        return None


def rejects_beside(path: Path) -> Path:
    """Where the rejects of an output are listed."""
    return path.with_name(path.stem + ".rejects.csv")


def replace_rejects(beside: Path, rejects: list[Reject]) -> None:
    """Write rejected rows and labels; without any, remove an older list."""
    from fluid.chem.tables import write_rejects

    if rejects:
        write_rejects(beside, rejects)
    else:
        beside.unlink(missing_ok=True)
