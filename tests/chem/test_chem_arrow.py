"""Compounds survive Arrow and Parquet, whole or in slices; damaged columns are refused."""

import dataclasses
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.base.errors import FileFormatError
from fluid.chem.arrow import (
    COLUMNS,
    compounds_from_batch,
    compounds_schema,
    compounds_to_batch,
    concatenate_batches,
)
from fluid.chem.compounds import Compounds
from fluid.chem.features import FeatureSpec, featurize


def same(left, right):
    return all(
        np.array_equal(getattr(left, field.name), getattr(right, field.name))
        and getattr(left, field.name).dtype == getattr(right, field.name).dtype
        for field in dataclasses.fields(Compounds)
    )


@pytest.fixture(scope="module")
def bare(structures):
    spec = FeatureSpec(bits=64, descriptors="none")
    return featurize(structures, [f"é {n}" for n in range(len(structures))], spec)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_slice_of_a_batch_is_what_was_taken(compounds, bare, data):
    for original in (compounds, bare):
        n = len(original)
        start = data.draw(st.integers(0, n))
        length = data.draw(st.integers(0, n - start))
        part = compounds_to_batch(original).slice(start, length)
        assert same(compounds_from_batch(part), original.take(np.arange(start, start + length)))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_batches_joined_are_the_whole(compounds, data):
    n = len(compounds)
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, n), max_size=3))), n]
    whole = compounds_to_batch(compounds)
    parts = [whole.slice(a, b - a) for a, b in itertools.pairwise(edges)]
    assert same(compounds_from_batch(concatenate_batches(parts)), compounds)


def test_joining_empty_batches_gives_an_empty_one(compounds):
    nothing = compounds_to_batch(compounds).slice(0, 0)
    assert len(compounds_from_batch(concatenate_batches([nothing, nothing]))) == 0


@pytest.mark.parametrize("row_group_size", [3, 100])
def test_compounds_survive_parquet_with_and_without_descriptors(
    compounds, bare, tmp_path, row_group_size
):
    for original in (compounds, bare):
        table = pa.Table.from_batches([compounds_to_batch(original)])
        pq.write_table(table, tmp_path / "c.parquet", row_group_size=row_group_size)
        batches = list(pq.ParquetFile(tmp_path / "c.parquet").iter_batches(batch_size=5))
        assert len(batches) > 1
        assert same(compounds_from_batch(concatenate_batches(batches)), original)


def test_the_schema_is_that_of_the_batch(compounds, bare):
    for original in (compounds, bare):
        batch = compounds_to_batch(original)
        assert batch.schema.equals(compounds_schema(original.bits, original.descriptors.shape[1]))
        assert tuple(batch.schema.names) == COLUMNS
        assert not any(field.nullable for field in batch.schema)


def test_other_columns_are_left_alone(compounds):
    batch = compounds_to_batch(compounds)
    batch = batch.append_column("label", pa.array([None] * len(compounds), type=pa.float32()))
    assert same(compounds_from_batch(batch), compounds)


def test_order_of_columns_does_not_matter(compounds):
    batch = compounds_to_batch(compounds)
    assert same(compounds_from_batch(batch.select(list(reversed(COLUMNS)))), compounds)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_missing_column_is_named(compounds, name):
    batch = compounds_to_batch(compounds)
    with pytest.raises(FileFormatError, match=f"column '{name}' is missing"):
        compounds_from_batch(batch.select([other for other in COLUMNS if other != name]))


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("wrong", [pa.int64(), pa.binary(), pa.list_(pa.string())], ids=str)
def test_a_column_of_another_type_is_named(compounds, name, wrong):
    batch = compounds_to_batch(compounds)
    values = {pa.int64(): 1, pa.binary(): b"x", pa.list_(pa.string()): ["x"]}
    column = pa.array([values[wrong]] * len(compounds), type=wrong)
    batch = batch.set_column(COLUMNS.index(name), name, column)
    with pytest.raises(FileFormatError, match=f"column '{name}' is of type"):
        compounds_from_batch(batch)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_null_is_refused(compounds, name):
    batch = compounds_to_batch(compounds)
    values = [None, *batch.column(name).to_pylist()[1:]]
    column = pa.array(values, type=batch.schema.field(name).type)
    batch = batch.set_column(COLUMNS.index(name), name, column)
    with pytest.raises(FileFormatError, match=f"column '{name}' holds nulls"):
        compounds_from_batch(batch)


@pytest.mark.parametrize("name", ["environments", "counts", "descriptors"])
def test_a_null_inside_a_list_is_refused(compounds, name):
    batch = compounds_to_batch(compounds)
    values = batch.column(name).to_pylist()
    values[3][0] = None
    column = pa.array(values, type=batch.schema.field(name).type)
    batch = batch.set_column(COLUMNS.index(name), name, column)
    with pytest.raises(FileFormatError, match=f"column '{name}' holds nulls"):
        compounds_from_batch(batch)


def test_a_count_must_belong_to_each_environment(compounds):
    batch = compounds_to_batch(compounds)
    values = batch.column("counts").to_pylist()
    values[3].append(1)
    column = pa.array(values, type=pa.list_(pa.uint8()))
    batch = batch.set_column(COLUMNS.index("counts"), "counts", column)
    with pytest.raises(FileFormatError, match="differ in length"):
        compounds_from_batch(batch)


def test_descriptors_of_unequal_number_are_refused(compounds):
    batch = compounds_to_batch(compounds)
    ragged = pa.array([[1.0]] * len(compounds), type=pa.list_(pa.float32()))
    batch = batch.set_column(COLUMNS.index("descriptors"), "descriptors", ragged)
    with pytest.raises(FileFormatError, match="column 'descriptors' is not of fixed size"):
        compounds_from_batch(batch)
