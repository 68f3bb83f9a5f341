"""Read tables of compounds as rows of text: CSV, TSV, SMI, SDF, Parquet and Excel workbooks."""

from fluid.chem.readers.files import read_table
from fluid.chem.readers.table import ReadOptions, Row, Table, short_name

__all__ = ["ReadOptions", "Row", "Table", "read_table", "short_name"]
