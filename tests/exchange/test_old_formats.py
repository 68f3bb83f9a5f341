"""Files of an older version are refused in one line that says which, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from fluid.base.errors import FileFormatError
from fluid.exchange.annotation import open_annotation
from fluid.exchange.federated_set import open_federated
from fluid.exchange.sealed import write_sealed


@pytest.mark.parametrize(
    ("read", "kind", "remedy"),
    [
        (open_annotation, "fluid.annotation", "annotate the public set again"),
        (open_federated, "fluid.federated", "distill again"),
    ],
)
def test_a_sealed_file_of_the_first_version_is_refused(
    tmp_path: Path, read: Callable[[Path], object], kind: str, remedy: str
) -> None:
    path = tmp_path / "old.parquet"
    schema = pa.schema([("inchikey", pa.string())])
    # Version 1 had keys that version 2 does not know.
    manifest = {"schema": f"{kind}/1", "corrects": None}
    write_sealed(path, schema, iter([]), lambda count: manifest)
    with pytest.raises(FileFormatError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: has the older format '{kind}/1', this version of fluid reads '{kind}/2': "
        f"{remedy}, or use the version that wrote it"
    )
