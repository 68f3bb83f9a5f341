"""Run a study from files, and write its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fluid.base.errors import FileFormatError, FluidError
from fluid.base.files import read_json, write_json, write_text
from fluid.base.run import Run
from fluid.base.software import software_versions
from fluid.chem.compounds import concatenate
from fluid.exchange.federation import Federation
from fluid.exchange.public_set import PublicSet
from fluid.partner.table import Columns, LabelledCompounds, read_labelled
from fluid.simulation.cache import is_cache
from fluid.simulation.results import COLUMNS as RESULT_COLUMNS
from fluid.simulation.results import summarise, tidy, write_rows
from fluid.simulation.studies import COLUMNS as STUDY_COLUMNS
from fluid.simulation.studies import STUDIES, run_named
from fluid.simulation.study import Study
from fluid.simulation.study_spec import StudySpec, partition_name
from fluid.simulation.text import summary_text

RESULTS_FILE = "results.csv"
SUMMARY_FILE = "summary.json"
TEXT_FILE = "summary.md"
STUDIES_FILE = "studies.csv"
CACHE_FOLDER = "cache"
_SUMMARY_KEYS = {"protocol", "public_set", "cells", "tasks"}
_FEWEST_DRAWS = 100


@dataclass(frozen=True)
class Sources:
    """What a study reads.

    Attributes
    ----------
    tables
        Labelled tables, merged by connectivity into one.
    public
        The prepared public set, or its file.
    federation
        The contract, or its file; its partners do not matter.
    external
        Additional test tables; their compounds are taken out of `tables`.
    columns
        How to read the tables. External tables need no group column.
    """

    tables: Sequence[Path | str]
    public: PublicSet | Path | str
    federation: Federation | Path | str
    external: Sequence[Path | str] = ()
    columns: Columns | None = None


def check_output(output: Path) -> None:
    """Make sure that a folder is new, empty, or holds a study.

    Raises
    ------
    FluidError
        If it is a file, or holds files but neither ``summary.json`` nor a cache of `simulate`.
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
    return isinstance(found, dict) and set(found) >= _SUMMARY_KEYS


def simulate(
    sources: Sources,
    spec: StudySpec,
    output: Path | str,
    *,
    studies: Sequence[str] = (),
    every_cell: bool = False,
    draws: int = 1000,
    run: Run | None = None,
) -> dict[str, Any]:
    """Simulate consortia and compare models.

    Results of every teacher, student, hybrid and reference are kept in ``output/cache`` by what
    they were made from. An interrupted run resumes where it stopped, and a run with another
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
        Named studies to run as well, keys of `fluid.simulation.studies.STUDIES`.
    every_cell
        Whether the named studies run on every cell; otherwise on the first.
    draws
        Bootstrap samples, 100 or more.
    run
        Cores and callbacks; the files do not depend on them. The seeds are those of `spec`.

    Returns
    -------
    dict
        The content of ``summary.json``.

    Raises
    ------
    FluidError
        If the tables, the public set and the federation do not belong together, or a setting is
        not allowed.

    Examples
    --------
    >>> from fluid import simulate
    >>> from fluid.simulation.partition_spec import PartitionSpec
    >>> from fluid.simulation.run import Sources
    >>> from fluid.simulation.study_spec import StudySpec
    >>> sources = Sources(
    ...     ["aurora/private.csv", "draco/private.csv"], "public.parquet", "federation.toml"
    ... )
    >>> spec = StudySpec((PartitionSpec("random", partners=2),), paper=False, hybrids=False)
    >>> summary = simulate(sources, spec, "study", draws=100)
    >>> sorted(summary["tasks"])
    ['bbb', 'logbb']
    """
    run, output = run or Run(), Path(output)
    _check_settings(studies, draws, run)
    check_output(output)
    federation, public = Federation.load(sources.federation), PublicSet.load(sources.public)
    federation.chemistry.check(f"federation '{federation.name}'")
    public.check(federation)
    run.stage("reading tables")
    table = _read(sources.tables, federation, sources.columns, run)
    external = None
    if sources.external:
        columns = replace(sources.columns, group=None) if sources.columns else None
        external = _read(sources.external, federation, columns, run)
    compounds = concatenate(list(public.chunks()))
    study = Study(table, compounds, federation, spec, external, output / CACHE_FOLDER)
    cells = study.run(run)
    run.stage("comparing")
    summary: dict[str, Any] = {
        "federation": federation.name,
        "protocol": federation.protocol,
        "public_set": public.digest,
        "tables": [Path(path).name for path in sources.tables],
        "external": [Path(path).name for path in sources.external],
        "validation": spec.validation,
        "partitions": [one.to_dict() | {"shown": partition_name(one)} for one in spec.partitions],
        "seeds": list(spec.seeds),
        "donated": spec.donate,
        "private_compounds": len(study.tables.private.compounds),
        "software": software_versions(),
    } | summarise(cells, federation.tasks, draws)
    rows = [
        row
        for name in dict.fromkeys(studies)
        for row in run_named(name, study, cells if every_cell else cells[:1], run)
    ]
    output.mkdir(parents=True, exist_ok=True)
    write_rows(output / RESULTS_FILE, RESULT_COLUMNS, tidy(cells, federation.tasks))
    if rows:
        write_rows(output / STUDIES_FILE, STUDY_COLUMNS, rows)
        summary["studies"] = rows
    else:
        # It may be there from an earlier run.
        (output / STUDIES_FILE).unlink(missing_ok=True)
    write_text(output / TEXT_FILE, summary_text(summary))
    write_json(output / SUMMARY_FILE, summary)
    return summary


def _check_settings(studies: Sequence[str], draws: int, run: Run) -> None:
    """Refuse what is not allowed, and settings of `run` that would have no effect."""
    unknown = [name for name in studies if name not in STUDIES]
    if unknown:
        raise FluidError(f"study '{unknown[0]}': allowed are {', '.join(STUDIES)}")
    if draws < _FEWEST_DRAWS:
        raise FluidError(f"draws = {draws}: at least {_FEWEST_DRAWS} are needed for an interval")
    if run.seed:
        raise FluidError(f"run.seed = {run.seed}: the seeds of a study are those of its spec")
    if run.workers is not None:
        raise FluidError("run.workers: a study runs on the cores of this machine only")


def _read(
    paths: Sequence[Path | str], federation: Federation, columns: Columns | None, run: Run
) -> LabelledCompounds:
    files = [Path(path) for path in paths]
    return read_labelled(
        files, federation.tasks, federation.chemistry, columns, run.jobs, stage=run.stage
    )
