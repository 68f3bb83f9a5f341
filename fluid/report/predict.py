"""Predict compounds of a table and write what a chemist can read."""

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
from fluid.base.jobs import Processes, Workers, count_jobs, single_threaded_blas
from fluid.base.software import software_versions
from fluid.base.unfinished import Unfinished
from fluid.chem.featurizer import BATCH, Featurized, featurize_batch
from fluid.chem.readers import printable
from fluid.chem.tables import Entry, Reject, batched, open_entries
from fluid.learn.domain import DEFAULT_DOMAIN
from fluid.learn.model import Model, check_domain
from fluid.learn.model_file import MODEL_FILE
from fluid.learn.predictions import Predictions, TaskPrediction, class_label
from fluid.learn.storage import load_model
from fluid.learn.task import Task
from fluid.report.conformal import ConformalOptions, Conformer, conformal_columns, with_sets

if TYPE_CHECKING:
    import pandas as pd

FORMATS = (".csv", ".parquet")


@dataclass
class PredictionSummary:
    """What was predicted.

    Attributes
    ----------
    n_rows, n_predicted, n_rejected
        Rows of the table, with a prediction, and without one because of their structure.
    inside
        Compounds inside the applicability domain, by task.
    conformal
        What prediction sets were calibrated on and how large they are; None without them.
    rejects
        Rows and labels of the calibration table that were set aside.
    """

    n_rows: int
    n_predicted: int
    n_rejected: int
    inside: dict[str, int]
    conformal: dict[str, Any] | None = None
    rejects: list[Reject] = field(default_factory=list)

    def add(self, part: _Part) -> None:
        """Count one more batch."""
        self.n_predicted += part.n_predicted
        self.n_rejected += part.n_rejected
        self.n_rows = self.n_predicted + self.n_rejected
        for name, count in part.inside.items():
            self.inside[name] += count

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
    """Columns of the output, in order; `with_sets` those of prediction sets besides."""
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
    folder: Path,
    data: Path,
    output: Path,
    smiles_column: str | None = None,
    id_column: str | None = None,
    domain: str = DEFAULT_DOMAIN,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    conformal: ConformalOptions | None = None,
    workers: Workers | None = None,
) -> PredictionSummary:
    """Predict every row of a table; rows that cannot be predicted stay, with the reason.

    An interrupted run without prediction sets, killed even, is gone on with: what it had finished
    lies beside the output, and is taken if model, table, options and versions are the same.

    Parameters
    ----------
    folder
        A model folder of any kind.
    data
        A table of structures.
    output
        The CSV or Parquet file to appear, one row per row of the table, in its order.
    smiles_column, id_column
        Column names, where the usual ones do not fit.
    domain
        Applicability domain to judge by.
    jobs
        Worker processes for standardising.
    progress
        Called with the number of rows done so far.
    conformal
        Add prediction sets and intervals; with weights all compounds are held in memory, see
        `fluid.report.conformal.with_sets`.
    workers
        Who standardises and predicts in place of this machine, such as a cluster; they are sent
        the model. The file does not depend on it.

    Raises
    ------
    FluidError
        If the model or the table cannot be read, the output is of another kind, or there is
        nothing to calibrate prediction sets with.
    """
    if output.suffix.lower() not in FORMATS:
        raise FluidError(f"{output}: the output must end in {' or '.join(FORMATS)}")
    check_domain(domain)
    model = load_model(folder)
    model.chemistry.check(str(folder))
    table = open_entries(data, smiles_column, id_column)
    conformer = None
    if conformal is not None:
        conformer = Conformer(folder, model, conformal, count_jobs(jobs))
    summary = PredictionSummary(0, 0, 0, {task.name: 0 for task in model.tasks})
    columns = prediction_columns(model.tasks, conformer is not None)
    featurize = partial(
        featurize_batch,
        standardizer=model.chemistry.standardizer,
        features=model.chemistry.features,
    )

    def spread(batches: Iterable[list[Entry]]) -> Iterator[tuple[Featurized, Predictions]]:
        if workers is not None:
            yield from workers.map(partial(_predict, model, domain, featurize), batches)
            return
        # The model stays in this process.
        for batch in Processes(count_jobs(jobs)).map(featurize, batches):
            yield batch, model.predict(batch.compounds, domain)

    def predict(batches: Iterable[list[Entry]]) -> Iterator[tuple[Featurized, Predictions]]:
        done = summary.n_rows
        for batch, predicted in spread(batches):
            done += len(batch.entries) + len(batch.rejects)
            progress(done)
            yield batch, predicted

    def parts(batches: Iterable[list[Entry]]) -> Iterator[_Part]:
        for batch, predicted, added in with_sets(predict(batches), conformer):
            yield _part(batch, predicted, model.tasks, added, out)

    # All that a prediction depends on; sets depend on all compounds together.
    basis = {
        "model": sha256_file(folder / MODEL_FILE),
        "table": sha256_file(data),
        "columns": [smiles_column, id_column],
        "domain": domain,
        "software": software_versions(),
    }
    keeping = Unfinished(output, basis) if conformer is None else nullcontext()
    with keeping as unfinished, atomic_file(output) as temporary, single_threaded_blas():
        with closing(_Writer(temporary, output.suffix.lower(), model.tasks, columns)) as out:
            batches = batched(table, BATCH)
            stream = (
                parts(batches)
                if unfinished is None
                else unfinished.results(batches, parts, _Part.encode, _Part.decode)
            )
            for part in stream:
                out.append(part.content)
                summary.add(part)
        if not summary.n_rows:
            raise TableError(f"{data}: the file has a header but no rows")
    if conformer is not None:
        summary.conformal, summary.rejects = conformer.to_dict(), conformer.rejects
    return summary


def _predict(
    model: Model,
    domain: str,
    featurize: Callable[[list[Entry]], Featurized],
    entries: list[Entry],
) -> tuple[Featurized, Predictions]:
    batch = featurize(entries)
    return batch, model.predict(batch.compounds, domain)


@dataclass(frozen=True)
class _Part:
    """What one batch adds to the output and to the summary."""

    n_predicted: int
    n_rejected: int
    inside: dict[str, int]
    content: bytes

    def encode(self) -> bytes:
        """As it is kept until the output is whole."""
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
        name: int(said.domain.inside.sum()) if said.domain else 0
        for name, said in predicted.by_task.items()
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
        Columns of prediction sets and intervals, if there are any.

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
            "smiles": [printable(entry.smiles) for entry, _ in batch.rejects],
            "problem": [reason for _, reason in batch.rejects],
        },
        columns=names,
    )
    frames = [frame for frame in (good, bad) if len(frame)] or [good]
    joined = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    return joined.sort_values("line", kind="stable")[names]


def _task_columns(task: Task, said: TaskPrediction) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for number, output in enumerate(task.outputs):
        columns[output] = said.values[:, number].round(4)
    if task.is_classification:
        called = said.classes(task)
        labels = [class_label(task, int(index)) if index >= 0 else "" for index in called]
        columns[f"{task.name}.class"] = labels
    for number, output in enumerate(task.outputs):
        columns[f"{output}.uncertainty"] = said.uncertainty[:, number].round(4)
    columns[f"{task.name}.reliability"] = said.reliability.round(4)
    if said.domain is not None:
        columns[f"{task.name}.domain"] = said.domain.score.round(4)
        columns[f"{task.name}.in_domain"] = np.where(said.domain.inside, "yes", "no")
        columns[f"{task.name}.reason"] = said.domain.reasons
    return columns


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
            header = pd.DataFrame(columns=list(columns))
            self._file.write(header.to_csv(index=False, lineterminator="\n").encode())
        outputs = {output for task in tasks for output in task.outputs}
        for task in tasks:
            outputs |= set() if task.is_classification else set(conformal_columns(task))
        numbers = (".uncertainty", ".reliability", ".domain")

        def kind(name: str) -> pa.DataType:
            if name == "line":
                return pa.int64()
            is_number = name in outputs or name.endswith(numbers)
            return pa.float64() if is_number else pa.string()

        self._schema = pa.schema([(name, kind(name)) for name in columns])
        if self._file is None:
            self._parquet = pq.ParquetWriter(path, self._schema, compression="zstd")

    def encode(self, frame: pd.DataFrame) -> bytes:
        """A table as it is appended: lines of text, or an Arrow stream."""
        if self._file is not None:
            return frame.to_csv(index=False, header=False, lineterminator="\n").encode()
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
