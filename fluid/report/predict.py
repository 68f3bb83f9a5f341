"""Predict compounds of a table and write what a chemist can read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fluid.base.errors import FluidError, TableError
from fluid.base.files import atomic_file
from fluid.base.jobs import count_jobs, single_threaded_blas
from fluid.chem.featurizer import Featurized, featurize_entries
from fluid.chem.readers import printable
from fluid.chem.tables import Reject, open_entries
from fluid.learn.domain import DEFAULT_DOMAIN
from fluid.learn.model import check_domain
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
    conformal
        Add prediction sets and intervals; with weights all compounds are held in memory, see
        `fluid.report.conformal.with_sets`.

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
    tasks = model.tasks
    summary = PredictionSummary(0, 0, 0, {task.name: 0 for task in tasks})
    stream = featurize_entries(
        table, model.chemistry.standardizer, model.chemistry.features, count_jobs(jobs)
    )

    def predicted_batches() -> Iterator[tuple[Featurized, Predictions]]:
        for batch in stream:
            predicted = model.predict(batch.compounds, domain)
            summary.n_predicted += len(batch.entries)
            summary.n_rejected += len(batch.rejects)
            summary.n_rows = summary.n_predicted + summary.n_rejected
            for name, said in predicted.by_task.items():
                summary.inside[name] += int(said.domain.inside.sum()) if said.domain else 0
            progress(summary.n_rows)
            yield batch, predicted

    columns = prediction_columns(tasks, conformer is not None)
    with atomic_file(output) as temporary, single_threaded_blas():
        with closing(_Writer(temporary, output.suffix.lower(), tasks, columns)) as out:
            for batch, predicted, added in with_sets(predicted_batches(), conformer):
                out.write(predictions_frame(batch, predicted, tasks, added))
        if not summary.n_rows:
            raise TableError(f"{data}: the file has a header but no rows")
    if conformer is not None:
        summary.conformal, summary.rejects = conformer.to_dict(), conformer.rejects
    return summary


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
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._csv = path.open("w", encoding="utf-8", newline="") if suffix == ".csv" else None
        self._header = True
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
        if self._csv is None:
            self._parquet = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, frame: pd.DataFrame) -> None:
        """Append one table."""
        if self._csv is not None:
            frame.to_csv(self._csv, index=False, header=self._header, lineterminator="\n")
            self._header = False
            return
        import pyarrow as pa

        self._parquet.write_table(pa.Table.from_pandas(frame, self._schema, preserve_index=False))

    def close(self) -> None:
        """Finish the file."""
        (self._csv or self._parquet).close()
