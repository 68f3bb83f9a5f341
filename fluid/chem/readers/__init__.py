"""Read tables of compounds as rows of text: CSV, TSV, SMI, SDF, Parquet and Excel workbooks.

A row that is malformed is still a row: it carries its line number and what is wrong with it. A
file that is malformed, or can be read in two ways, raises one clear error; what stands around the
table is noted. What a line, a record and a file may hold is bounded before it is held.
"""

from fluid.chem.readers.read import read_table
from fluid.chem.readers.table import ReadOptions, Row, Table, short_name

__all__ = ["ReadOptions", "Row", "Table", "read_table", "short_name"]
