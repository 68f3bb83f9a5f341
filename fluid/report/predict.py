"""Predict compounds of a table and write what a chemist can read."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FluidError, TableError
from fluid.base.files import atomic_file
from fluid.base.jobs import count_jobs, single_threaded_blas
from fluid.chem.featurizer import Featurized, featurize_entries
from fluid.chem.tables import Entry, open_entries, printable
from fluid.learn.domain import DEFAULT_DOMAIN
from fluid.learn.predictions import Predictions, class_label
from fluid.learn.storage import load_model
from fluid.learn.task import Task

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
    """

    n_rows: int
    n_predicted: int
    n_rejected: int
    inside: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {
            "rows": self.n_rows,
            "predicted": self.n_predicted,
            "rejected": self.n_rejected,
            "inside_domain": self.inside,
        }


def prediction_columns(tasks: Sequence[Task]) -> list[str]:
    """Columns of the output, in order."""
    columns = ["line", "id", "smiles", "standard_smiles", "inchikey"]
    for task in tasks:
        columns += list(task.outputs)
        if task.is_classification:
            columns.append(f"{task.name}.class")
        columns += [f"{output}.uncertainty" for output in task.outputs]
        columns += [
            f"{task.name}.{part}" for part in ("reliability", "domain", "in_domain", "reason")
        ]
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
) -> PredictionSummary:
    """Predict every row of a table; rows that cannot be predicted stay, with the reason.

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

    Raises
    ------
    FluidError
        If the model or the table cannot be read, or the output is of another kind.
    """
    if output.suffix.lower() not in FORMATS:
        raise FluidError(f"{output}: the output must end in {' or '.join(FORMATS)}")
    model = load_model(folder)
    model.chemistry.check(str(folder))
    table = open_entries(data, smiles_column, id_column)
    tasks = model.tasks
    summary = PredictionSummary(0, 0, 0, {task.name: 0 for task in tasks})
    stream = featurize_entries(
        table, model.chemistry.standardizer, model.chemistry.features, count_jobs(jobs)
    )
    writer = _CsvWriter if output.suffix.lower() == ".csv" else _ParquetWriter
    with atomic_file(output) as temporary, single_threaded_blas():
        with writer(temporary, tasks) as out:
            for batch in stream:
                predicted = model.predict(batch.compounds, domain)
                out.write(_rows(batch, predicted, tasks))
                summary.n_predicted += len(batch.entries)
                summary.n_rejected += len(batch.rejects)
                summary.n_rows = summary.n_predicted + summary.n_rejected
                for name, said in predicted.by_task.items():
                    summary.inside[name] += int(said.domain.inside.sum()) if said.domain else 0
                progress(summary.n_rows)
        if not summary.n_rows:
            raise TableError(f"{data}: the file has a header but no rows")
    return summary


def _rows(batch: Featurized, predicted: Predictions, tasks: Sequence[Task]) -> list[list[Any]]:
    """Output rows of one batch in the order of the table."""
    rows: list[tuple[int, list[Any]]] = []
    columns = [_task_columns(task, predicted) for task in tasks]
    for position, entry in enumerate(batch.entries):
        values = _head(entry)
        values += [batch.compounds.smiles[position], batch.compounds.inchikeys[position]]
        for column in columns:
            values += column[position]
        rows.append((entry.row.line, [*values, ""]))
    width = len(prediction_columns(tasks))
    for entry, reason in batch.rejects:
        values = _head(entry)
        rows.append((entry.row.line, values + [None] * (width - len(values) - 1) + [reason]))
    return [values for _, values in sorted(rows, key=lambda pair: pair[0])]


def _head(entry: Entry) -> list[Any]:
    return [entry.row.line, entry.id, printable(entry.smiles)]


def _task_columns(task: Task, predicted: Predictions) -> list[list[Any]]:
    said = predicted.by_task[task.name]
    called = said.classes(task)
    result = []
    for row in range(len(said.values)):
        values: list[Any] = [_digits(value) for value in said.values[row]]
        if task.is_classification:
            values.append(class_label(task, int(called[row])) if called[row] >= 0 else None)
        values += [_digits(value) for value in said.uncertainty[row]]
        values.append(_digits(said.reliability[row]))
        if said.domain is None:
            values += [None, None, ""]
        else:
            inside = "yes" if said.domain.inside[row] else "no"
            values += [_digits(said.domain.score[row]), inside, said.domain.reasons[row]]
        result.append(values)
    return result


def _digits(value: float) -> float | None:
    return None if not np.isfinite(value) else round(float(value), 4)


class _CsvWriter:
    """Writes rows as CSV."""

    def __init__(self, path: Path, tasks: Sequence[Task]) -> None:
        self._path, self._tasks = path, tasks

    def __enter__(self) -> _CsvWriter:
        self._file = self._path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(prediction_columns(self._tasks))
        return self

    def write(self, rows: list[list[Any]]) -> None:
        """Append rows."""
        self._writer.writerows(rows)

    def __exit__(self, *exception: object) -> None:
        self._file.close()


class _ParquetWriter:
    """Writes rows as Parquet."""

    def __init__(self, path: Path, tasks: Sequence[Task]) -> None:
        import pyarrow as pa

        self._path, self._names = path, prediction_columns(tasks)
        outputs = {output for task in tasks for output in task.outputs}
        numbers = (".uncertainty", ".reliability", ".domain")
        self._schema = pa.schema(
            [
                pa.field(
                    name,
                    pa.int64()
                    if name == "line"
                    else pa.float64()
                    if name in outputs or name.endswith(numbers)
                    else pa.string(),
                )
                for name in self._names
            ]
        )

    def __enter__(self) -> _ParquetWriter:
        import pyarrow.parquet as pq

        self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd")
        return self

    def write(self, rows: list[list[Any]]) -> None:
        """Append rows."""
        import pyarrow as pa

        columns = [list(column) for column in zip(*rows, strict=True)]
        arrays = [
            pa.array(column, type=field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def __exit__(self, *exception: object) -> None:
        self._writer.close()


