"""Predict compounds: of a table into a file, or from memory into a data frame."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fluid.base.errors import FluidError, TableError
from fluid.base.files import atomic_file, canonical_json, sha256_file
from fluid.base.jobs import Processes, single_threaded_blas
from fluid.base.resume import Unfinished
from fluid.base.run import Run
from fluid.base.show import csv_cell, printable
from fluid.base.software import software_versions
from fluid.chem.featurizer import BATCH, Featurized, featurize_batch
from fluid.chem.readers import Row
from fluid.chem.tables import (
    ID_COLUMNS,
    Entry,
    Reject,
    batched,
    known_column,
    open_entries,
    similar_columns,
    smiles_claims,
)
from fluid.learn.domain import DEFAULT_DOMAIN
from fluid.learn.model import Predictor, check_domain
from fluid.learn.model_file import MODEL_FILE
from fluid.learn.predictions import Predictions, TaskPrediction, class_label
from fluid.learn.storage import load_model
from fluid.learn.task import Task
from fluid.partner.table import Columns
from fluid.report.conformal import ConformalOptions, Conformer, conformal_columns, with_sets

if TYPE_CHECKING:
    import pandas as pd
    from rdkit.Chem import Mol

FORMATS = (".csv", ".parquet")
# Characters of a structure that cannot be predicted.
_LONGEST = 1000


@dataclass(frozen=True)
class PredictionSummary:
    """What was predicted.

    Attributes
    ----------
    n_predicted, n_rejected
        Rows of the table with a prediction, and without one because of their structure.
    inside
        Compounds inside the applicability domain, by task.
    conformal
        What prediction sets were calibrated on and how large they are; None without them.
    rejects
        Rejected rows and labels of the calibration table.
    """

    n_predicted: int
    n_rejected: int
    inside: dict[str, int]
    conformal: dict[str, Any] | None = None
    rejects: list[Reject] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """Rows of the table."""
        return self.n_predicted + self.n_rejected

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        found: dict[str, Any] = {
            "rows": self.n_rows,
            "predicted": self.n_predicted,
            "rejected": self.n_rejected,
            "inside_domain": self.inside,
        }
        return found if self.conformal is None else found | {"conformal": self.conformal}


def prediction_columns(tasks: Sequence[Task], with_sets: bool = False) -> list[str]:
    """Columns of the output, in order; with `with_sets`, those of prediction sets too."""
    columns = ["line", "id", "smiles", "standard_smiles", "inchikey"]
    for task in tasks:
        columns += list(task.outputs)
        if task.is_classification:
            columns.append(f"{task.name}.class")
        columns += [f"{output}.uncertainty" for output in task.outputs]
        columns += [
            f"{task.name}.{part}" for part in ("reliability", "domain", "in_domain", "reason")
        ]
        columns += conformal_columns(task) if with_sets else []
    return [*columns, "problem"]


def predict_table(
    model: Path | str,
    data: Path | str,
    output: Path | str,
    *,
    columns: Columns | None = None,
    domain: str = DEFAULT_DOMAIN,
    conformal: ConformalOptions | None = None,
    run: Run | None = None,
) -> PredictionSummary:
    """Predict every row of a table; rows that cannot be predicted stay, with the reason.

    A run without prediction sets that was interrupted, or killed, continues where it stopped: the
    finished part lies beside the output and is used if model, table, options and versions are the
    same.

    Parameters
    ----------
    model
        A model folder of any kind.
    data
        A table of structures.
    output
        The CSV or Parquet file to write, one row per row of the table, in its order.
    columns
        Names of the structure and name columns, where the usual ones do not fit. Only `smiles` and
        `id` are used.
    domain
        Applicability domain to judge by.
    conformal
        Add prediction sets and intervals. With weights all compounds are held in memory, see
        `fluid.report.conformal.with_sets`.
    run
        Its progress counts rows. With `workers`, these standardise and predict in place of this
        machine; they are sent the model.

    Raises
    ------
    FluidError
        If the model or the table cannot be read, the output is of another kind, or there is
        nothing to calibrate prediction sets with.
    """
    run, columns = run or Run(), columns or Columns()
    folder, source, target = Path(model), Path(data), Path(output)
    suffix = target.suffix.lower()
    if suffix not in FORMATS:
        raise FluidError(f"{target}: the output must end in {' or '.join(FORMATS)}")
    check_domain(domain)
    loaded = load_model(folder)
    loaded.chemistry.check(str(folder))
    table = open_entries(source, columns.smiles, columns.id, columns.files)
    conformer = Conformer(folder, loaded, conformal, run.cores) if conformal is not None else None
    n_predicted = n_rejected = 0
    inside = {task.name: 0 for task in loaded.tasks}

    def parts(batches: Iterable[list[Entry]]) -> Iterator[_Part]:
        predicted = _count(_predict(loaded, domain, batches, run), n_predicted + n_rejected, run)
        for batch, predictions, added in with_sets(predicted, conformer):
            yield _part(batch, predictions, loaded.tasks, added, out)

    # All that a prediction depends on; sets depend on all compounds together.
    basis = {
        "model": sha256_file(folder / MODEL_FILE),
        "table": sha256_file(source),
        "columns": [columns.smiles, columns.id],
        "domain": domain,
        "software": software_versions(),
    }
    keeping = Unfinished(target, basis) if conformer is None else nullcontext()
    names = prediction_columns(loaded.tasks, conformer is not None)
    # It holds the structures of the table: whoever may not read that may not read this.
    mode = 0o600 | source.stat().st_mode & 0o666
    with keeping as unfinished, atomic_file(target, mode) as temporary, single_threaded_blas():
        with closing(_Writer(temporary, suffix, loaded.tasks, names)) as out:
            batches = batched(table, BATCH)
            stream = (
                parts(batches)
                if unfinished is None
                else unfinished.results(batches, parts, _Part.encode, _Part.decode)
            )
            for part in stream:
                out.append(part.content)
                n_predicted += part.n_predicted
                n_rejected += part.n_rejected
                for name, count in part.inside.items():
                    inside[name] += count
        if not n_predicted + n_rejected:
            raise TableError(f"{source}: the file has a header but no rows")
    if conformer is None:
        return PredictionSummary(n_predicted, n_rejected, inside)
    return PredictionSummary(
        n_predicted, n_rejected, inside, conformer.to_dict(), conformer.rejects
    )


def predict_frame(
    model: Predictor | Path | str,
    compounds: pd.DataFrame | Iterable[str | Mol | None],
    *,
    columns: Columns | None = None,
    domain: str = DEFAULT_DOMAIN,
    run: Run | None = None,
) -> pd.DataFrame:
    """Predict compounds in memory, each with its applicability domain.

    Parameters
    ----------
    model
        A model, or the folder of one.
    compounds
        SMILES or RDKit molecules, in any mixture; or a data frame with a column of them. None and
        NaN stand for a missing structure.
    columns
        Names of the structure and name columns of a data frame, where the usual ones (``smiles``,
        ``id`` and others) do not fit. Only `smiles` and `id` are used.
    domain
        Applicability domain to judge by.
    run
        How to run. Its progress counts compounds.

    Returns
    -------
    pandas.DataFrame
        One row per compound, in the order of the input. The index is that of a data frame or
        series, or else counts from 0. The columns are those that ``fluid predict`` writes, without
        ``line``; for a task named ``x``:

        - ``id`` (empty if there is none), ``smiles`` (of the input), ``standard_smiles`` and
          ``inchikey``;
        - ``x`` (probability of the positive class, or the value in the task's unit; of several
          classes ``x.<class>`` each), ``x.class`` (classification only) and ``x.uncertainty``;
        - ``x.reliability`` in [0, 1], ``x.domain`` (a score in [0, 1]), ``x.in_domain`` ("yes" or
          "no") and ``x.reason``;
        - ``problem``, why there is no prediction; empty where there is one.

        Compounds that cannot be predicted have NaN in all columns of a task.

    Raises
    ------
    FluidError
        If the model cannot be read, or the input is neither of these.

    Examples
    --------
    >>> from fluid.report.predict import predict_frame
    >>> predict_frame("round1/student", ["CCO", "c1ccccc1O"])  # doctest: +SKIP
    """
    import pandas as pd

    run, columns = run or Run(), columns or Columns()
    check_domain(domain)
    loaded = load_model(Path(model)) if isinstance(model, str | Path) else model
    loaded.chemistry.check(str(model) if isinstance(model, str | Path) else loaded.card.name)
    entries, index = _entries_of(compounds, columns)
    predicted = _count(_predict(loaded, domain, batched(entries, BATCH), run), 0, run)
    with single_threaded_blas():
        frames = [predictions_frame(batch, found, loaded.tasks) for batch, found in predicted]
    names = prediction_columns(loaded.tasks)
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=names)
    numbers = _number_columns(loaded.tasks, names)
    kinds = {name: "float64" if name in numbers else "object" for name in names if name != "line"}
    frame = frame.drop(columns="line").astype(kinds)
    frame.index = index
    return frame


def _entries_of(
    compounds: pd.DataFrame | Iterable[str | Mol | None], columns: Columns
) -> tuple[list[Entry], pd.Index]:
    """Compounds in memory as entries of a table, numbered from 1, and the index of the result."""
    import pandas as pd
    from rdkit.Chem import Mol

    if isinstance(compounds, str | bytes | Mol) or not isinstance(compounds, Iterable):
        raise FluidError(
            f"compounds: found {type(compounds).__name__}; allowed are a list of SMILES or RDKit "
            "molecules, and a data frame"
        )
    if isinstance(compounds, pd.DataFrame):
        place = _find(compounds, columns.smiles, smiles_claims, "SMILES")
        if place is None:
            raise FluidError(
                f"data frame: no SMILES column; the columns are {_listed(compounds)}. Name it with "
                "columns, or call it 'smiles'"
            )
        structures = compounds.iloc[:, place].tolist()
        place = _find(compounds, columns.id, _id_claims, "id")
        ids = [""] * len(compounds) if place is None else compounds.iloc[:, place].tolist()
        index = compounds.index
    else:
        if columns.smiles is not None or columns.id is not None:
            raise FluidError("columns: only a data frame has columns, but a list was given")
        structures = list(compounds)
        ids = [""] * len(structures)
        series: Any = compounds if isinstance(compounds, pd.Series) else None
        index = pd.RangeIndex(len(structures)) if series is None else series.index
    numbered = enumerate(zip(ids, structures, strict=True), start=1)
    return [_entry(line, name, structure) for line, (name, structure) in numbered], index


def _find(
    frame: pd.DataFrame,
    given: str | None,
    claims: Callable[[Sequence[str]], list[int]],
    what: str,
) -> int | None:
    """Position of the column named `given`, or of the one with the best claim; None without any."""
    names = [str(name) for name in frame.columns]
    found = claims(names) if given is None else similar_columns(names, given)
    if given is not None and not found:
        raise FluidError(
            f"data frame: no {what} column '{given}'; the columns are {_listed(frame)}"
        )
    if len(found) > 1:
        first, second = (names[place] for place in found[:2])
        raise FluidError(
            f"data frame: columns '{first}' and '{second}' may both be the {what} column; name it "
            "with columns"
        )
    return found[0] if found else None


def _id_claims(columns: Sequence[str]) -> list[int]:
    place = known_column(columns, ID_COLUMNS)
    return [] if place is None else [place]


def _listed(frame: pd.DataFrame) -> str:
    return ", ".join(f"'{name}'" for name in frame.columns[:20]) or "none"


def _entry(line: int, name: object, structure: object) -> Entry:
    """A compound in memory; one that is neither text nor a molecule is an entry with a problem."""
    import pandas as pd
    from rdkit import Chem

    def is_missing(value: object) -> bool:
        return bool(pd.api.types.is_scalar(value) and pd.isna(value))

    smiles, problem = "", None
    if isinstance(structure, str):
        smiles = structure.strip()
    elif isinstance(structure, Chem.Mol):
        try:
            smiles = Chem.MolToSmiles(structure)
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or ["RDKit gives no reason"])[0]
            problem = f"molecule has no SMILES ({reason})"
    elif is_missing(structure):
        problem = "no structure"
    else:
        problem = (
            f"structure is of type {type(structure).__name__}; allowed are SMILES and RDKit "
            "molecules"
        )
    shown = "" if is_missing(name) else printable(str(name))
    return Entry(Row(line, [], problem), shown, smiles)


def _predict(
    model: Predictor, domain: str, batches: Iterable[list[Entry]], run: Run
) -> Iterator[tuple[Featurized, Predictions]]:
    """Standardise and predict batches of entries, in order."""
    featurize = partial(
        featurize_batch,
        standardizer=model.chemistry.standardizer,
        features=model.chemistry.features,
    )
    if run.workers is not None:
        yield from run.workers.map(partial(_predict_batch, model, domain, featurize), batches)
        return
    # The model stays in this process.
    for batch in Processes(run.cores).map(featurize, batches):
        yield batch, model.predict(batch.compounds, domain)


def _predict_batch(
    model: Predictor,
    domain: str,
    featurize: Callable[[list[Entry]], Featurized],
    entries: list[Entry],
) -> tuple[Featurized, Predictions]:
    batch = featurize(entries)
    return batch, model.predict(batch.compounds, domain)


def _count(
    predicted: Iterable[tuple[Featurized, Predictions]], done: int, run: Run
) -> Iterator[tuple[Featurized, Predictions]]:
    """The same batches; reports rows after `done` to the run's progress."""
    for batch, predictions in predicted:
        done += len(batch.entries) + len(batch.rejects)
        run.progress(done)
        yield batch, predictions


@dataclass(frozen=True)
class _Part:
    """What one batch adds to the output and to the summary."""

    n_predicted: int
    n_rejected: int
    inside: dict[str, int]
    content: bytes

    def encode(self) -> bytes:
        """The part as it is stored until the output is whole."""
        return (
            canonical_json([self.n_predicted, self.n_rejected, self.inside]) + b"\n" + self.content
        )

    @classmethod
    def decode(cls, payload: bytes) -> _Part:
        """The inverse of `encode`."""
        head, _, content = payload.partition(b"\n")
        n_predicted, n_rejected, inside = json.loads(head)
        return cls(n_predicted, n_rejected, inside, content)


def _part(
    batch: Featurized,
    predicted: Predictions,
    tasks: Sequence[Task],
    added: Mapping[str, np.ndarray],
    out: _Writer,
) -> _Part:
    inside = {
        name: int(one.domain.inside.sum()) if one.domain else 0
        for name, one in predicted.by_task.items()
    }
    content = out.encode(predictions_frame(batch, predicted, tasks, added))
    return _Part(len(batch.entries), len(batch.rejects), inside, content)


def predictions_frame(
    batch: Featurized,
    predicted: Predictions,
    tasks: Sequence[Task],
    added: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Predictions of one batch as a table, rejected rows in their places.

    Parameters
    ----------
    batch
        Entries that became compounds, and those that did not.
    predicted
        Predictions for the compounds.
    tasks
        In the order of the columns.
    added
        Columns of prediction sets and intervals, or None.

    Returns
    -------
    pandas.DataFrame
        One row per entry of the batch with the columns of `prediction_columns`, missing values
        where there is no prediction.
    """
    import pandas as pd

    compounds = batch.compounds
    columns: dict[str, Any] = {
        "line": [entry.row.line for entry in batch.entries],
        "id": [entry.id for entry in batch.entries],
        "smiles": [printable(entry.smiles) for entry in batch.entries],
        "standard_smiles": compounds.smiles,
        "inchikey": compounds.inchikeys,
    }
    for task in tasks:
        columns |= _task_columns(task, predicted.by_task[task.name])
    names = prediction_columns(tasks, bool(added))
    columns |= {**(added or {}), "problem": ""}
    good = pd.DataFrame(columns)
    bad = pd.DataFrame(
        {
            "line": [entry.row.line for entry, _ in batch.rejects],
            "id": [entry.id for entry, _ in batch.rejects],
            "smiles": [printable(entry.smiles[:_LONGEST]) for entry, _ in batch.rejects],
            "problem": [reason for _, reason in batch.rejects],
        },
        columns=names,
    )
    frames = [frame for frame in (good, bad) if len(frame)] or [good]
    joined = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    return joined.sort_values("line", kind="stable")[names]


def _task_columns(task: Task, predicted: TaskPrediction) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for number, output in enumerate(task.outputs):
        columns[output] = predicted.values[:, number].round(4)
    if task.is_classification:
        called = predicted.classes(task)
        labels = [class_label(task, int(index)) if index >= 0 else "" for index in called]
        columns[f"{task.name}.class"] = labels
    for number, output in enumerate(task.outputs):
        columns[f"{output}.uncertainty"] = predicted.uncertainty[:, number].round(4)
    columns[f"{task.name}.reliability"] = predicted.reliability.round(4)
    if predicted.domain is not None:
        columns[f"{task.name}.domain"] = predicted.domain.score.round(4)
        columns[f"{task.name}.in_domain"] = np.where(predicted.domain.inside, "yes", "no")
        columns[f"{task.name}.reason"] = predicted.domain.reasons
    return columns


def _number_columns(tasks: Sequence[Task], columns: Sequence[str]) -> set[str]:
    """The columns that hold numbers other than ``line``; all others hold text."""
    numbers = {output for task in tasks for output in task.outputs}
    for task in tasks:
        numbers |= set() if task.is_classification else set(conformal_columns(task))
    endings = (".uncertainty", ".reliability", ".domain")
    return numbers | {name for name in columns if name.endswith(endings)}


def _safe(cell: object) -> object:
    return csv_cell(printable(cell)) if isinstance(cell, str) else cell


class _Writer:
    """Appends tables to a CSV or Parquet file."""

    def __init__(
        self, path: Path, suffix: str, tasks: Sequence[Task], columns: Sequence[str]
    ) -> None:
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._file = path.open("wb") if suffix == ".csv" else None
        if self._file is not None:
            header = pd.DataFrame(columns=[csv_cell(printable(name)) for name in columns])
            self._file.write(header.to_csv(index=False, lineterminator="\n").encode())
        self._numbers = _number_columns(tasks, columns) | {"line"}
        kinds = {name: pa.float64() if name in self._numbers else pa.string() for name in columns}
        self._schema = pa.schema(list((kinds | {"line": pa.int64()}).items()))
        if self._file is None:
            self._parquet = pq.ParquetWriter(path, self._schema, compression="zstd")

    def encode(self, frame: pd.DataFrame) -> bytes:
        """A table as it is appended: lines of text, or an Arrow stream."""
        if self._file is not None:
            safe = {name: frame[name].map(_safe) for name in frame if name not in self._numbers}
            lines = frame.assign(**safe).to_csv(index=False, header=False, lineterminator="\n")
            return lines.encode()
        import pyarrow as pa

        table = pa.Table.from_pandas(frame, self._schema, preserve_index=False)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue().to_pybytes()

    def append(self, content: bytes) -> None:
        """Append what `encode` made of a table."""
        if self._file is not None:
            self._file.write(content)
            return
        import pyarrow as pa

        with pa.ipc.open_stream(content) as reader:
            self._parquet.write_table(reader.read_all())

    def close(self) -> None:
        """Finish the file."""
        (self._file or self._parquet).close()
