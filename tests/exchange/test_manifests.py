"""Manifests of sealed files: what is declared is read, and nothing else in any form."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fluid.base.errors import FileFormatError, FluidError
from fluid.base.strict_json import parse_json
from fluid.exchange import sealed
from fluid.exchange.annotation import annotation_schema, open_annotation
from fluid.exchange.federated_set import open_federated
from fluid.exchange.manifests import ANNOTATION, CLUSTERS, FEDERATED, PUBLIC, check_manifest
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.public_set import open_public_set
from fluid.exchange.sealed import open_sealed
from fluid.learn.task import Task
from fluid.public.clusters import open_clusters

TASKS = [Task("bbb", "binary", classes=("no", "yes")), Task("logd", "regression", low=-4, high=4)]
CHEMISTRY = {
    "standardizer": {
        "stereo": "remove", "isotopes": "remove", "mixtures": "reject", "max_heavy_atoms": 150,
    },
    "features": {
        "fingerprint": "ecfp", "radius": 2, "bits": 2048, "counts": True, "descriptors": "none",
    },
    "rdkit": "2026.09.1",
    "reference": "0" * 64,
}  # fmt: skip
SOURCES = [{"name": "public.csv", "sha256": "1" * 64}]
SOFTWARE = {"fluid": "0.1.0", "numpy": "2.4.6"}
MANIFESTS: dict[str, dict[str, Any]] = {
    PUBLIC: {
        "schema": PUBLIC, "protocol": "2" * 64, "federation": "trial", "n_compounds": 0,
        "chemistry": CHEMISTRY, "sources": SOURCES, "software": SOFTWARE,
        "selection": {
            "method": "clusters-maxmin/1", "pool": 9, "seed": 0, "n_clusters": 3, "clusters": None,
            "coverage": {"aurora": "3" * 64}, "coverage_weight": 0.5, "n_donated": 0, "donated": [],
        },
        "exclusion": {"tables": SOURCES, "similarity": 0.7, "n_identical": 2, "n_similar": 0},
    },
    CLUSTERS: {
        "schema": CLUSTERS, "protocol": "2" * 64, "federation": "trial", "n_clusters": 0,
        "floor": 0.15, "seed": 0, "chemistry": CHEMISTRY, "sources": SOURCES, "software": SOFTWARE,
    },
    ANNOTATION: {
        "schema": ANNOTATION, "federation": "trial", "round": 1, "protocol": "2" * 64,
        "public_set": "4" * 64, "n_compounds": 0, "partner": "aurora",
        "tasks": [task.to_dict() for task in TASKS], "policy": DisclosurePolicy().to_dict(),
        "ledger": {"ledger": "a" * 32, "number": 1, "queries": 9}, "shared": {},
        "software": SOFTWARE, "base_student": "5" * 64,
        "noise": {
            "settings": {"kind": "pate", "epsilon": 5.0}, "asked": {"bbb": 3},
            "answered_at_most": {"bbb": 2}, "total": {"epsilon": 1.0, "delta": 1e-6},
            "release": {
                "mechanism": "pate", "unit": "compound", "epsilon": 1.0, "delta": 1e-6,
                "queries": 3, "accountant": "dp-accounting",
                "events": {"bbb": [{"kind": "gaussian", "count": 3, "sigma": 5.0,
                                    "sensitivity": 1}]},
            },
        },
    },
    FEDERATED: {
        "schema": FEDERATED, "federation": "trial", "round": 1, "protocol": "2" * 64,
        "public_set": "4" * 64, "tasks": [task.to_dict() for task in TASKS],
        "annotations": {"aurora": "6" * 64}, "n_compounds": 0, "software": SOFTWARE,
        "slopes": {"logd": 1.25}, "trust": {"bbb": {"aurora": 0.5}}, "base_student": "5" * 64,
    },
}  # fmt: skip
OPENERS = {
    PUBLIC: open_public_set,
    CLUSTERS: open_clusters,
    ANNOTATION: open_annotation,
    FEDERATED: open_federated,
}


def write(path: Path, text: str) -> Path:
    """A sealed file without rows whose manifest is this text, whatever it is."""
    with pq.ParquetWriter(path, annotation_schema(TASKS), store_schema=True) as writer:
        manifest = text.encode("utf-8", "surrogatepass")
        writer.add_key_value_metadata(
            {sealed.MANIFEST_KEY: manifest, sealed.SEAL_KEY: sealed._MARK + sealed._BLANK}
        )
    digest, position = sealed._measure(path)
    with path.open("r+b") as handle:
        handle.seek(position)
        handle.write(f"{digest}:{'0' * 128}".encode())
    return path


def refusal(path: Path, kind: str) -> str:
    with pytest.raises(FileFormatError) as caught:
        OPENERS[kind](path)
    message = str(caught.value)
    assert str(path) in message
    assert len(message) < 700
    with pytest.raises(FileFormatError):
        open_sealed(path, None)
    return message


@pytest.mark.parametrize("kind", MANIFESTS)
def test_what_is_declared_is_read(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "a.parquet", json.dumps(MANIFESTS[kind]))
    assert open_sealed(path, kind).manifest == MANIFESTS[kind]


@pytest.mark.parametrize("kind", MANIFESTS)
def test_no_key_is_unknown_and_none_is_missing(tmp_path: Path, kind: str) -> None:
    """In every table at every depth, but for maps of names that the file may choose."""
    optional = {
        "selection",
        "exclusion",
        "similarity",
        "noise",
        "base_student",
        "clusters",
        "coverage_weight",
        "trust",
    }
    maps = {"software", "coverage", "annotations", "slopes", "events", "asked", "shared"}
    maps |= {"answered_at_most", "trust", "bbb"}
    tried = 0
    for place in tables(MANIFESTS[kind]):
        if place and place[-1] in maps:
            continue
        changed = copy.deepcopy(MANIFESTS[kind])
        at(changed, place)["hidden"] = "payload"
        assert "hidden" in refusal(write(tmp_path / "a.parquet", json.dumps(changed)), kind)
        for key in at(MANIFESTS[kind], place):
            if key in optional or place[-1:] in (["settings"], ["standardizer"], ["features"]):
                continue
            if place[-1:] and isinstance(place[-1], int):
                continue
            changed = copy.deepcopy(MANIFESTS[kind])
            del at(changed, place)[key]
            refusal_or_schema(write(tmp_path / "a.parquet", json.dumps(changed)), kind)
            tried += 1
    assert tried > 8


def refusal_or_schema(path: Path, kind: str) -> None:
    """Without its schema a file is of no kind, which `open_sealed` may open all the same."""
    with pytest.raises(FileFormatError):
        OPENERS[kind](path)


def tables(value: Any, place: tuple[Any, ...] = ()) -> list[list[Any]]:
    """Places of all tables in plain values."""
    found = [list(place)] if isinstance(value, dict) else []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, (dict, list)):
            found += tables(item, (*place, key))
    return found


def at(value: Any, place: list[Any]) -> Any:
    for key in place:
        value = value[key]
    return value


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        (["policy"], "coverage_step", 10),
        (["noise", "asked"], "structures", 1),
        (["noise", "release", "events"], "structures", []),
        (["noise", "release"], "accountant", "structures\n"),
        (["software"], "numpy", "CCO C"),
        (["tasks", 0], "structures", "CCO"),
    ],
)
def test_no_table_is_a_place_to_hide(
    tmp_path: Path, place: list[Any], key: str, value: object
) -> None:
    changed = copy.deepcopy(MANIFESTS[ANNOTATION])
    at(changed, place)[key] = value
    refusal(write(tmp_path / "a.parquet", json.dumps(changed)), ANNOTATION)


HOSTILE = {
    "lone surrogate": '"\\ud800"',
    "infinite": "1e999",
    "Infinity": "-Infinity",
    "NaN": "NaN",
    "5,000 digits": "9" * 5000,
    "deep": "[" * 5000 + "]" * 5000,
    "deep tables": '{"a":' * 300 + "1" + "}" * 300,
    "text": '"text"',
    "list": "[1, [2]]",
    "table": '{"a": {"b": 1}}',
    "null": "null",
    "true": "true",
    "negative": "-1",
    "huge": "18446744073709551616",
    "fraction": "0.1",
    "twice": '1, "schema": 1',
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_hostile_value_of_any_key(tmp_path: Path, kind: str, name: str) -> None:
    for key, good in MANIFESTS[kind].items():
        fits = (name == "text" and isinstance(good, str)) or (name == "table" and key == "shared")
        fits |= name == "fraction" and key == "floor"
        if fits:
            continue
        text = json.dumps({**MANIFESTS[kind], key: "HERE"}).replace('"HERE"', HOSTILE[name])
        with pytest.raises(FileFormatError):
            OPENERS[kind](write(tmp_path / "a.parquet", text))


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "1", "null", '"schema"', "{", '{"schema": "a", "schema": "b"}', "\x00"]
)
def test_what_is_no_table(tmp_path: Path, text: str) -> None:
    with pytest.raises(FileFormatError):
        open_sealed(write(tmp_path / "a.parquet", text), ANNOTATION)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(st.characters(codec=None, categories=None), max_size=8)
    | st.sampled_from(["aurora", "bbb", "2" * 64, "binary", "regression", "0.1.0"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def fuzzed(draw: st.DrawFn) -> tuple[str, str]:
    """A kind, and its manifest with values replaced, removed or added anywhere."""
    kind = draw(st.sampled_from(sorted(MANIFESTS)))
    manifest = copy.deepcopy(MANIFESTS[kind])
    for _ in range(draw(st.integers(1, 3))):
        table = at(manifest, draw(st.sampled_from(tables(manifest))))
        key = draw(st.sampled_from([*sorted(table, key=str), "new"]))
        if draw(st.booleans()) or key not in table:
            table[key] = draw(PLAIN)
        else:
            del table[key]
    text = json.dumps(manifest)
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.text(max_size=3)) + text[place:]
    return kind, text


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(one=fuzzed())
def test_fuzzed_files(one: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """An error of our own that names the file, or a manifest as declared."""
    kind, text = one
    path = write(tmp_path_factory.getbasetemp() / "fuzzed.parquet", text)
    with contextlib.suppress(FluidError):
        assert set(open_sealed(path, kind).manifest) <= set(MANIFESTS[kind])
        OPENERS[kind](path)


def read(one: tuple[str, str]) -> None:
    """What opening a file does with its manifest."""
    kind, text = one
    with contextlib.suppress(FileFormatError, ValueError):
        values = parse_json(text.encode("utf-8", "surrogatepass"), "a.parquet")
        if isinstance(values, dict) and values.get("schema") == kind:
            check_manifest(values)
            assert set(values) <= set(MANIFESTS[kind])
            json.dumps(values, allow_nan=False).encode()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(one=fuzzed())
def test_fuzzed_manifests(one: tuple[str, str]) -> None:
    read(one)


@pytest.mark.long
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(one=fuzzed())
def test_many_fuzzed_manifests(one: tuple[str, str]) -> None:
    read(one)


def test_two_thousand_tasks_with_rules_are_read(tmp_path: Path, monkeypatch: Any) -> None:
    """Manifest, footer and columns stay within what is read."""
    tasks = [
        Task(
            f"CHEMBL{number}_active", "binary", unit="nM", source=f"CHEMBL{number}", scale="p",
            low=3.0, high=11.0, threshold=6.0, max_spread=1.0, quorum=25, weight=0.5,
        )
        for number in range(2000)
    ]  # fmt: skip
    monkeypatch.setattr("tests.exchange.test_manifests.TASKS", tasks)
    manifest = MANIFESTS[ANNOTATION] | {"tasks": [task.to_dict() for task in tasks]}
    del manifest["noise"]
    found = open_annotation(write(tmp_path / "a.parquet", json.dumps(manifest)))
    assert list(found.tasks) == tasks
