"""Bytes do not depend on how many threads the libraries would like to use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import PARTNERS, SECRET, Consortium

SCRIPT = """
import sys
from pathlib import Path
from fluid.base.run import Run
from fluid.central.distill import distill
from fluid.exchange.federation import load_federation
from fluid.exchange.public_set import open_public_set
from fluid.partner.hybrid.private_model import HybridOptions
from fluid.partner.hybrid.train import RoundFiles, train_hybrid
from fluid.partner.teacher.fit import TrainingOptions
from fluid.partner.teacher.train import train_teacher

home, target, partners = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(",")
path = home / "federation.toml"
federation = load_federation(path)
train_teacher([home / "aurora" / "private.csv"], path, "aurora", target / "teacher",
              options=TrainingOptions("logistic", 3, 1), secret=target / "secret", run=Run(jobs=1))
distill([home / p / "annotation.parquet" for p in partners],
        open_public_set(home / "public.parquet"), federation, target / "round", run=Run(jobs=1))
train_hybrid([home / "aurora" / "private.csv"], federation, "aurora", target / "hybrid",
             RoundFiles(target / "round" / "federated.parquet", target / "round" / "student"),
             options=HybridOptions(3), run=Run(jobs=1))
"""
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def test_one_and_two_library_threads_give_the_same_bytes(
    consortium: Consortium, tmp_path: Path
) -> None:
    results = []
    for threads in ("1", "2"):
        target = tmp_path / threads
        target.mkdir()
        (target / "secret").write_text(SECRET)
        environment = dict(os.environ) | dict.fromkeys(_THREADS, threads)
        arguments = [str(consortium.folder), str(target), ",".join(PARTNERS)]
        subprocess.run([sys.executable, "-c", SCRIPT, *arguments], env=environment, check=True)
        results.append(
            {
                file.relative_to(target).as_posix(): file.read_bytes()
                for file in sorted(target.rglob("*"))
                if file.is_file()
            }
        )
    assert results[0] == results[1]
