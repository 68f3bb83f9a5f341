"""Run a study from files, and write what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fluid.base.errors import FileFormatError, FluidError
from fluid.base.files import read_json, write_json, write_text
from fluid.base.software import software_versions
from fluid.chem.compounds import concatenate
from fluid.exchange.federation import Federation
from fluid.exchange.public_set import PublicSet
from fluid.partner.table import Columns, read_labelled
from fluid.simulate.cache import is_cache
from fluid.simulate.results import summarise, tidy, write_tidy
from fluid.simulate.studies import STUDIES, run_named, write_named
from fluid.simulate.study import Study
from fluid.simulate.study_spec import StudySpec, partition_name
from fluid.simulate.text import summary_text

RESULTS_FILE = "results.csv"
SUMMARY_FILE = "summary.json"
TEXT_FILE = "summary.md"
STUDIES_FILE = "studies.csv"
CACHE_FOLDER = "cache"
_OURS = {"protocol", "public_set", "cells", "tasks"}


@dataclass(frozen=True)
class Sources:
    """What a study reads.

    Attributes
    ----------
    tables
        Labelled tables, merged by connectivity into one.
    public
        The prepared public set.
    federation
        The contract; its partners do not matter.
    external
        Test tables beside what is held out.
    columns
        How to read the tables; of external ones the column of groups is not needed.
    """

    tables: Sequence[Path]
    public: PublicSet
    federation: Federation
    external: Sequence[Path] = ()
    columns: Columns | None = None


def check_output(output: Path) -> None:
    """Make sure that a folder is new, empty, or holds a study.

    Raises
    ------
    FluidError
        If it is a file, or holds anything but neither ``summary.json`` nor a cache of `simulate`.
    """
    if output.exists() and not output.is_dir():
        raise FluidError(f"{output}: is a file, a folder name is needed")
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not (_is_summary(output / SUMMARY_FILE) or is_cache(output / CACHE_FOLDER)):
        raise FluidError(f"{output}: is not empty and holds no study; name another folder")


def _is_summary(path: Path) -> bool:
    try:
        found = read_json(path)
    except FileFormatError:
        return False
    return isinstance(found, dict) and set(found) >= _OURS


def simulate(
    sources: Sources,
    spec: StudySpec,
    output: Path,
    studies: Sequence[str] = (),
    every_cell: bool = False,
    draws: int = 1000,
    jobs: int | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> dict[str, Any]:
    """Simulate consortia and compare models.

    Results of every teacher, student, hybrid and reference are kept in ``output/cache`` by what
    they were made from: a run that was interrupted goes on where it was, and a run with another
    setting computes only what the setting changes.

    Parameters
    ----------
    sources
        What to read.
    spec
        What to run.
    output
        Folder for ``results.csv``, ``summary.json``, ``summary.md`` and ``studies.csv``.
    studies
        Named studies besides, keys of `fluid.simulate.studies.STUDIES`.
    every_cell
        Whether these are of every cell; otherwise of the first.
    draws
        Of the bootstrap, 100 or more.
    jobs
        Cores; by default all. The files do not depend on it.
    progress
        Called with the name of each stage.

    Returns
    -------
    dict
        What ``summary.json`` holds.

    Raises
    ------
    FluidError
        If the tables, the public set and the federation do not belong together, or a setting is
        not allowed.
    """
    unknown = [name for name in studies if name not in STUDIES]
    if unknown:
        raise FluidError(f"study '{unknown[0]}': allowed are {', '.join(STUDIES)}")
    if draws < 100:
        raise FluidError(f"draws = {draws}: at least 100 are needed for an interval")
    check_output(output)
    federation = sources.federation
    federation.chemistry.check(f"federation '{federation.name}'")
    sources.public.check(federation)
    progress("reading tables")
    table = read_labelled(
        sources.tables, federation.tasks, federation.chemistry, sources.columns, jobs
    )
    external = None
    if sources.external:
        columns = replace(sources.columns, group=None) if sources.columns else None
        external = read_labelled(
            sources.external, federation.tasks, federation.chemistry, columns, jobs
        )
    public = concatenate(list(sources.public.chunks()))
    study = Study(table, public, federation, spec, external, output / CACHE_FOLDER)
    cells = study.run(jobs, progress)
    progress("comparing")
    summary: dict[str, Any] = {
        "federation": federation.name,
        "protocol": federation.protocol,
        "public_set": sources.public.digest,
        "tables": [path.name for path in sources.tables],
        "external": [path.name for path in sources.external],
        "validation": spec.validation,
        "partitions": [
            one.to_dict() | {"shown": partition_name(one)} for one in spec.partitions
        ],
        "seeds": list(spec.seeds),
        "donated": spec.donate,
        "private_compounds": len(study.division.private.compounds),
        "software": software_versions(),
    } | summarise(cells, federation.tasks, draws)  # fmt: skip
    rows = [
        row
        for name in dict.fromkeys(studies)
        for row in run_named(name, study, cells if every_cell else cells[:1], jobs, progress)
    ]
    output.mkdir(parents=True, exist_ok=True)
    write_tidy(output / RESULTS_FILE, tidy(cells, federation.tasks))
    if rows:
        write_named(output / STUDIES_FILE, rows)
        summary["studies"] = rows
    else:
        # Of a former run.
        (output / STUDIES_FILE).unlink(missing_ok=True)
    write_text(output / TEXT_FILE, summary_text(summary))
    write_json(output / SUMMARY_FILE, summary)
    return summary
