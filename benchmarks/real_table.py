"""A federation of a table of many tasks: ``python -m benchmarks.real_table TABLE -o FOLDER``.

The table is divided by scaffold into four partners and an external test, tasks are proposed, and
every command of a round is run as a partner would type it. Time and peak memory of each are
printed. The table is wide (a column a task, empty where nothing was measured) or long (columns
``task``, ``value``, ``unit`` and ``qualifier``), with a column ``smiles``.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

PARTNERS = ("north", "east", "south", "west")
_EXTERNAL = "external"
# A tenth of the scaffolds is the external test, the partners share the others.
_PARTS = (_EXTERNAL,) * 4 + PARTNERS * 9


def part_of(smiles: str) -> str:
    """The partner of a compound, or the external test: by the hash of its scaffold."""
    from rdkit import Chem, rdBase
    from rdkit.Chem.Scaffolds import MurckoScaffold

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    key = smiles
    if molecule is not None:
        # Compounds without a ring have no scaffold: each is one of its own.
        # Of the largest fragment, so that a salt goes with its acid.
        fragments = Chem.GetMolFrags(molecule, asMols=True)
        molecule = max(fragments, key=lambda part: part.GetNumHeavyAtoms(), default=molecule)
        scaffold = MurckoScaffold.GetScaffoldForMol(molecule)  # type: ignore[no-untyped-call]
        key = Chem.MolToSmiles(scaffold) or smiles
    digest = hashlib.sha256(key.encode()).digest()
    return _PARTS[int.from_bytes(digest[:4], "big") % len(_PARTS)]


def divide(table: Path, folder: Path) -> None:
    """Write a table for each partner and for the external test.

    Parameters
    ----------
    table
        Wide or long, CSV, gzipped or not, with a column ``smiles``.
    folder
        Where the tables of the parts appear.
    """
    text = table.read_bytes()
    plain = gzip.decompress(text) if table.suffix == ".gz" else text
    rows = csv.reader(io.StringIO(plain.decode("utf-8"), newline=""))
    header = next(rows)
    smiles = header.index("smiles")
    with ExitStack() as stack:
        writers = {}
        for part in set(_PARTS):
            handle = stack.enter_context((folder / f"{part}.csv").open("w", newline=""))
            writers[part] = csv.writer(handle)
            writers[part].writerow(header)
        for row in rows:
            writers[part_of(row[smiles])].writerow(row)


def keep_tasks(path: Path, number: int) -> int:
    """Keep so many tasks of a task file, evenly spaced; returns how many it holds then."""
    with path.open(newline="") as handle:
        header, *rows = csv.reader(handle)
    kept = rows[:: max(1, len(rows) // number)][:number]
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows([header, *kept])
    return len(kept)


class Steps:
    """Runs commands one after another and prints what each took.

    Parameters
    ----------
    folder
        Everything that the commands print stands in ``log.txt`` there.
    """

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log.txt"
        self.total = 0.0
        self.peak = 0.0
        self.environment = dict(os.environ) | {"XDG_STATE_HOME": str(folder.resolve() / "state")}

    def run(self, name: str, *command: str | Path) -> None:
        """Run one ``fluid`` command; the whole program ends if it fails."""
        started = time.monotonic()
        program = shutil.which("fluid", path=str(Path(sys.executable).parent)) or "fluid"
        with self.log.open("a") as log:
            process = subprocess.Popen(
                [program, *map(str, command)], stdout=log, stderr=log, env=self.environment
            )
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        peak = used.ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
        self.total, self.peak = self.total + wall, max(self.peak, peak)
        cpu = used.ru_utime + used.ru_stime
        print(f"{name:<28}{wall:8.1f} s{cpu:9.1f} s cpu{peak:7.2f} GB", flush=True)
        if process.returncode:
            raise SystemExit(f"{name} ended with {process.returncode}; see {self.log}")


def run_round(table: Path, folder: Path, public: Path, n_tasks: int | None = None) -> None:
    """Divide a table and run a whole round on it."""
    folder.mkdir(parents=True)
    steps = Steps(folder)
    started = time.monotonic()
    divide(table, folder)
    print(f"{'dividing the table':<28}{time.monotonic() - started:8.1f} s")
    federation, keys, tasks = folder / "federation.toml", folder / "keys", folder / "tasks.csv"
    steps.run("make-tasks", "make-tasks", table, "-o", tasks)
    if n_tasks is not None:
        print(f"{keep_tasks(tasks, n_tasks)} tasks are kept")
    steps.run(
        "init-federation", "init-federation", "--name", "tables", "--tasks", tasks, "-o", federation
    )
    for partner in PARTNERS:
        steps.run(f"keygen {partner}", "keygen", partner, "-o", keys)
        steps.run(f"register {partner}", "register", keys / f"{partner}.pub", "-f", federation)
    prepared = folder / "public.parquet"
    steps.run("prepare-public", "prepare-public", public, "-f", federation, "-o", prepared)
    annotations = []
    for partner in PARTNERS:
        private, teacher = folder / f"{partner}.csv", folder / partner / "teacher"
        teacher.parent.mkdir()
        annotations.append(folder / partner / "annotation.parquet")
        steps.run(f"check-data {partner}", "check-data", private, "-f", federation, "--allow-empty")
        steps.run(
            f"train-teacher {partner}", "train-teacher", private, "-f", federation,
            "--partner", partner, "--allow-empty", "-o", teacher,
        )  # fmt: skip
        key = keys / f"{partner}.key"
        steps.run(
            f"annotate {partner}", "annotate", teacher, prepared,
            "--key", key, "-o", annotations[-1],
        )  # fmt: skip
    steps.run(
        "distill", "distill", *annotations, "--public", prepared, "-f", federation,
        "-o", folder / "round1",
    )  # fmt: skip
    models = [folder / "round1" / "student", *(folder / name / "teacher" for name in PARTNERS)]
    steps.run(
        "evaluate", "evaluate", *models, "--data", folder / f"{_EXTERNAL}.csv",
        "--allow-empty", "-o", folder / "evaluation.json", "--per-task", folder / "per_task.csv",
    )  # fmt: skip
    print(f"{'all commands':<28}{steps.total:8.1f} s{'':15}{steps.peak:7.2f} GB at most")
    for name in ("public.parquet", "north/annotation.parquet", "round1/federated.parquet"):
        size = (folder / name).stat().st_size
        print(f"{name:<28}{size / 1e6:8.1f} MB")


def main() -> None:
    """Parse arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder to appear")
    parser.add_argument("--public", type=Path, default=Path("data/public.csv"))
    parser.add_argument("--tasks", type=int, help="so many tasks, evenly spaced; all by default")
    given = parser.parse_args()
    run_round(given.table, given.output, given.public, given.tasks)


if __name__ == "__main__":
    main()
