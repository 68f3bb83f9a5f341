"""The published experiment at its size: 8 partners, 50,000 public compounds, 9 models.

Hanser et al. 2025 (doi 10.1038/s42256-025-00991-2) had about 6,200 private compounds in all. Beside
each step stands what the authors' program took on a machine like the one of docs/performance.md;
it has no signatures, checks or cross-fitted ensembles, and does not standardise.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.material import FOLDER, PARTNERS, federation, public_set, structure_table, teacher
from benchmarks.measure import Measured, in_new_process
from benchmarks.table import Row
from fluid.base.run import Run
from fluid.chem.compounds import Compounds
from fluid.soft_labels.pooled import PoolingResult

PUBLIC = 50_000
PRIVATE = 775
# As many as in the paper; the ninth, of somebody of the same size, is not pooled.
MODELS = (*PARTNERS, PARTNERS[0])
# Seconds of CPU of the authors' program, and megabytes at most.
THEIRS = {"prepare": 28.0, "annotate": 49.0, "pool": 9.0}
THEIR_PEAK = 2_700.0


def prepare(table: str) -> None:
    """Standardise and fingerprint the public set; without descriptors, as there are none there."""
    from fluid.chem.features import FeatureSpec
    from fluid.exchange.federation import load_federation
    from fluid.exchange.template import init_federation, parse_task_option
    from fluid.public.prepare import prepare_public

    path = FOLDER / "federation-plain.toml"
    if not path.is_file():
        tasks = [parse_task_option("polar:binary")]
        init_federation(path, "bench", tasks, FeatureSpec(descriptors="none"))
    prepare_public(
        [Path(table)], load_federation(path), FOLDER / "published.parquet", run=Run(jobs=1)
    )


def annotate(folder: str, partner: str, target: str) -> None:
    """Label the public set with one teacher, as the command does."""
    from fluid.base.run import Run
    from fluid.partner.annotate import annotate as run

    run(
        folder,
        public_set(PUBLIC),
        target,
        key=FOLDER / "keys" / f"{partner}.key",
        run=Run(jobs=1),
    )


def pool(paths: list[str]) -> None:
    """Verify eight annotations and pool them, without training a student."""
    from fluid.central.consensus import Consensus, apply_trust
    from fluid.central.intake import admit, admitted_chunks
    from fluid.central.pooling import pool_labels
    from fluid.exchange.federated_set import write_federated
    from fluid.learn.trained_on import digest_connectivities

    _, contract = federation()
    public = public_set(PUBLIC)
    admitted = admit([Path(path) for path in paths], contract, public)
    consensus = Consensus(contract.tasks)
    for compounds, labels in admitted_chunks(public, admitted):
        consensus.add(labels, compounds.fingerprints)
    verdicts = consensus.result()

    def chunks() -> Iterator[tuple[Compounds, dict[str, PoolingResult]]]:
        for compounds, labels in admitted_chunks(public, admitted):
            digests = digest_connectivities(compounds)
            yield compounds, pool_labels(contract.tasks, apply_trust(labels, verdicts), digests)

    features = contract.chemistry.features
    tasks = contract.tasks
    write_federated(FOLDER / "pooled.parquet", features, tasks, chunks(), {"round": 1})


def rows() -> list[Row]:
    """CPU of whole processes, imports included, and memory, beside the authors' program."""
    public_set(PUBLIC)
    table = str(structure_table(PUBLIC))
    spent: dict[str, list[Measured]] = {
        "prepare": [in_new_process(prepare, table)],
        "annotate": [],
    }
    paths = []
    for number, partner in enumerate(MODELS):
        folder = teacher(PRIVATE, "auto", partner)
        target = FOLDER / f"published-{number}.parquet"
        spent["annotate"].append(in_new_process(annotate, str(folder), partner, str(target)))
        paths.append(str(target))
    paths = paths[: len(PARTNERS)]
    spent["pool"] = [in_new_process(pool, paths)]
    meanings = {
        "prepare": f"published experiment: {PUBLIC:,} structures prepared, no descriptors",
        "annotate": f"published experiment: annotated by {len(MODELS)} models",
        "pool": f"published experiment: {len(paths)} annotations verified and pooled",
    }
    found = [_row(meanings[name], spent[name], THEIRS[name]) for name in meanings]
    both = [*spent["annotate"], *spent["pool"]]
    total = THEIRS["annotate"] + THEIRS["pool"]
    found.append(_row("published experiment: annotated and pooled", both, total))
    return found


def _row(what: str, spent: list[Measured], theirs: float) -> Row:
    cpu = sum(one.cpu for one in spent)
    peak = max(one.peak for one in spent)
    return Row(
        what,
        f"{cpu:.1f} s of CPU, {peak:.0f} MB at most",
        f"{theirs / cpu:.1f} x less than the authors' program ({theirs:.0f} s, "
        f"{THEIR_PEAK:,.0f} MB)",
    )
