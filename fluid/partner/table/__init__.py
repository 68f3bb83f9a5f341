"""Read private tables: structures with labels, wide (a column a task) or long (a row a label)."""

from fluid.partner.table.columns import Columns
from fluid.partner.table.read import (
    LabelledCompounds,
    RejectedError,
    examine,
    read_labelled,
    rejects_kept,
    state_columns,
)
from fluid.partner.table.report import TableReport, TaskReport

__all__ = [
    "Columns",
    "LabelledCompounds",
    "RejectedError",
    "TableReport",
    "TaskReport",
    "examine",
    "read_labelled",
    "rejects_kept",
    "state_columns",
]
