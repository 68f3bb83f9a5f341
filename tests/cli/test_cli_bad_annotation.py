"""Annotations that lie, are damaged, or belong elsewhere: the coordinator refuses every one."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fluid.base.errors import FileFormatError
from fluid.exchange.annotation import SCHEMA as ANNOTATION
from fluid.exchange.federated_set import open_federated
from fluid.exchange.sealed import open_sealed, write_sealed
from tests.cli.cli_site import Site, done, refused, run, snapshot

# A text whose bytes are not UTF-8.
BROKEN_TEXT = pa.StringArray.from_buffers(
    1, pa.py_buffer(np.array([0, 3], np.int32)), pa.py_buffer(b"\xff\xfeA")
)


def refuse(site: Site, folder: Path, *annotations: Path, **given: Path) -> str:
    """Distill must say one clear line and leave nothing behind."""
    before = snapshot(folder)
    error = refused(*site.distill(folder / "new" / "round", annotations, **given))
    assert snapshot(folder) == before
    return error


@pytest.mark.long
def test_every_byte_of_a_signed_annotation_counts(site: Site, tmp_path: Path) -> None:
    content = site.annotation("aurora").read_bytes()
    size = len(content)
    footer = int.from_bytes(content[-8:-4], "little")
    random.seed(20)
    positions = {0, 3, 4, size - 1, size - 4, size - 5, size - 8, size - 9, size - 8 - footer}
    positions |= set(random.sample(range(size), 16))
    positions |= set(random.sample(range(size - 8 - footer, size), 16))
    seal = content.index(b"FLUIDSEAL1:")
    positions |= {seal, seal + 11, seal + 40, seal + 75, seal + 76, seal + 120, seal + 203}
    path = tmp_path / "annotation.parquet"
    flips = [(position, 1 << random.randrange(8)) for position in sorted(positions)]
    # A signature's letters as capitals are the same number, but not the same bytes.
    letter = next(n for n in range(seal + 76, seal + 204) if content[n : n + 1] in b"abcdef")
    for position, mask in [*flips, (letter, 0x20)]:
        flipped = bytearray(content)
        flipped[position] ^= mask
        path.write_bytes(bytes(flipped))
        assert str(path) in refuse(site, tmp_path, path), (position, mask)
    assert len(flips) >= 40


@pytest.mark.parametrize("size", [0, 3, 11, 12, 200, -1, -8, -9, -300])
def test_a_truncated_annotation_is_refused(site: Site, tmp_path: Path, size: int) -> None:
    content = site.annotation("aurora").read_bytes()
    path = tmp_path / "a.parquet"
    path.write_bytes(content[:size])
    assert str(path) in refuse(site, tmp_path, path)


def test_bytes_behind_the_end_are_refused(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(site.annotation("aurora").read_bytes() + b"PAR1")
    assert str(path) in refuse(site, tmp_path, path)


STATEMENTS: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "unsigned": ({}, None, "is an unsigned draft; partner 'aurora' must sign it"),
    "another key": ({}, "draco", "not of the key registered for partner 'aurora'"),
    "another name": ({"partner": "draco"}, "aurora", "not of the key registered .* 'draco'"),
    "unknown": ({"partner": "zeta"}, "aurora", "'zeta' is not registered .*: aurora, draco, erid"),
    "path": ({"partner": "../\x1b[31m\n"}, "aurora", r"partner = .*: a letter or digit"),
    "no name": ({"partner": None}, "aurora", "partner = None: text is needed"),
    "public set": ({"public_set": "0" * 64}, "aurora", "public set is '0+...', but '.*' is expect"),
    "round": ({"round": 2}, "aurora", "round is '2', but '1' is expected"),
    "no round": ({"round": None}, "aurora", "round = None: a whole number is needed"),
    "federation": ({"federation": "other"}, "aurora", "federation is 'other', but 'trial' is exp"),
    "protocol": ({"protocol": "0" * 64}, "aurora", "protocol is '0+...', but '.*' is expected"),
    "policy": ({"policy": {}}, "aurora", "the manifest: 'policy.abstain_below' is missing"),
    "policy is text": ({"policy": "none"}, "aurora", "policy = 'none': a table is needed"),
    "no ledger": ({"ledger": None}, "aurora", "ledger = None: a table is needed"),
    "no release": (
        {"ledger": {"ledger": "0" * 32, "number": 0, "queries": 1}}, "aurora", "ledger.number = 0",
    ),
    "many compounds": (
        {"ledger": {"ledger": "0" * 32, "number": 1, "queries": 10**8}},
        "aurora", "is 100000000 compounds labelled, but max_queries = 10000000 of its disclosure",
    ),
    "count": ({"n_compounds": 3}, "aurora", "number of compounds is '3', but '1.*' is expected"),
    "schema": ({"schema": "fluid.annotation/1"}, "aurora", "older format 'fluid.annotation/1', th"),
    "no tasks": ({"tasks": []}, "aurora", "'tasks' names no task"),
    "tasks are text": ({"tasks": "bbb"}, "aurora", "tasks = 'bbb': a list is needed"),
    "tasks are numbers": ({"tasks": [1, [2]]}, "aurora", "'tasks' must be a table"),
    "huge bound": (
        {"tasks": [{"name": "a", "kind": "regression", "low": -(10**400)}]},
        "aurora", "the manifest: is not readable JSON",
    ),
    "training size": (
        {"shared": {"training_size": {"bbb": 64, "logbb": 64}}},
        "aurora", "but the policy allows nothing",
    ),
    "anything shared": ({"shared": {"table": "all of it"}}, "aurora", "the policy allows nothing"),
    "shared is a list": ({"shared": [1]}, "aurora", r"shared = \[1\]: a table is needed"),
}  # fmt: skip


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_false_statement_is_refused(site: Site, tmp_path: Path, name: str) -> None:
    changes, signer, message = STATEMENTS[name]
    path = site.forge(tmp_path / "a.parquet", None, changes, signer)
    others = [site.annotation("draco"), site.annotation("eridanus")]
    error = refuse(site, tmp_path, others[0], path, others[1])
    assert error.startswith(f"error: {path}: ")
    assert re.search(message, error), error


def _permuted(site: Site) -> pa.Table:
    content = site.content()
    return content.take(pa.array(np.random.default_rng(0).permutation(content.num_rows)))


def _broken_key(site: Site) -> pa.Table:
    content = site.content()
    keys = pa.chunked_array([BROKEN_TEXT, content["inchikey"].combine_chunks().slice(1)])
    return content.set_column(0, content.schema.field(0), keys)


def _doubles(site: Site) -> pa.Table:
    content = site.content()
    fields = [f if f.name == "inchikey" else pa.field(f.name, pa.float64()) for f in content.schema]
    return content.cast(pa.schema(fields))


def _unlabelled(site: Site) -> pa.Table:
    """A row with an uncertainty and nothing else in one task."""
    content = site.content_with("bbb.uncertainty", 3, 0.25)
    for name in ("bbb.prediction", "bbb.reliability"):
        values = content[name].to_pylist()
        values[3] = None
        column = pa.array(values, type=pa.float32())
        content = content.set_column(content.schema.get_field_index(name), name, column)
    return content


CONTENTS: dict[str, tuple[Callable[[Site], pa.Table], str]] = {
    "NaN": (lambda s: s.content_with("bbb.prediction", 3, float("nan")),
            "row 4, column 'bbb.prediction': nan is not a finite number"),
    "infinite": (lambda s: s.content_with("logbb.uncertainty", 3, float("inf")),
                 "row 4, column 'logbb.uncertainty': inf is not a finite number"),
    "above": (lambda s: s.content_with("bbb.prediction", 5, 1.5),
              "row 6, column 'bbb.prediction': 1.5; allowed are 0.01 to 0.99"),
    "certain": (lambda s: s.content_with("bbb.prediction", 0, 0.0),
                "row 1, column 'bbb.prediction': 0; allowed are 0.01 to 0.99"),
    "out of range": (lambda s: s.content_with("logbb.prediction", 9, 4.5),
                     "row 10, column 'logbb.prediction': 4.5; allowed are -4 to 4"),
    "negative spread": (lambda s: s.content_with("bbb.uncertainty", 3, -0.1),
                        "row 4, column 'bbb.uncertainty': -0.1; allowed are 0 to 0.5"),
    "reliability": (lambda s: s.content_with("bbb.reliability", 3, 1.02),
                    "row 4, column 'bbb.reliability': 1.02; allowed are 0 to 1"),
    "too fine": (lambda s: s.content_with("bbb.prediction", 3, 0.123),
                 "row 4, column 'bbb.prediction': 0.123; allowed are multiples of 0.01"),
    "too fine number": (lambda s: s.content_with("logbb.prediction", 3, 0.1234),
                        "row 4, column 'logbb.prediction': 0.1234; allowed are multiples of 0.01"),
    "too fine trust": (lambda s: s.content_with("logbb.reliability", 3, 0.03),
                       "row 4, column 'logbb.reliability': 0.03; allowed are multiples of 0.02"),
    "off the step": (lambda s: s.content_with("bbb.prediction", 3, 0.1200001),
                     "row 4, column 'bbb.prediction': 0.1200001; allowed are multiples of 0.01"),
    "a negative zero": (lambda s: s.content_with("logbb.prediction", 3, -0.0),
                        "row 4, column 'logbb.prediction': -0; allowed are multiples of 0.01"),
    "wide": (lambda s: s.content_with("bbb.uncertainty", 3, 0.51),
             "row 4, column 'bbb.uncertainty': 0.51; allowed are 0 to 0.5"),
    "wide number": (lambda s: s.content_with("logbb.uncertainty", 3, 4.01),
                    "row 4, column 'logbb.uncertainty': 4.01; allowed are 0 to 4"),
    "half a label": (lambda s: s.content_with("bbb.reliability", 3, None),
                     "row 4, column 'bbb.reliability': nan; prediction and reliability must be"),
    "no label": (_unlabelled, "row 4, column 'bbb.uncertainty': 0.25; nothing may be given where"),
    "misordered": (lambda s: s.content().select(["inchikey", *s.content().column_names[:0:-1]]),
                   "column 2 is 'logbb.reliability', but 'bbb.prediction' is expected there"),
    "another compound": (lambda s: s.content_with("inchikey", 7, "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"),
                         "row 8, column 'inchikey': LFQSCWFLJHTTHZ-UHFFFAOYSA-N, but the public"),
    "a column more": (lambda s: s.content().append_column("secret", s.content()["bbb.prediction"]),
                      "unexpected column 'secret'"),
    "a column less": (lambda s: s.content().drop_columns(["bbb.uncertainty"]),
                      "column 'bbb.uncertainty' is missing"),
    "other types": (_doubles, "column 'bbb.prediction' is of type double, but float is needed"),
    "rows missing": (lambda s: s.content().slice(0, s.content().num_rows - 5), "rows, but the pub"),
    "rows twice": (lambda s: pa.concat_tables([s.content(), s.content().slice(0, 3)]),
                   "rows, but the public set has"),
    "no rows": (lambda s: s.content().slice(0, 0), "holds 0 rows, but the public set has"),
    "permuted": (_permuted, "row 1, column 'inchikey': "),
    "no text": (_broken_key, "cannot be decoded"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENTS)
def test_false_content_under_a_good_signature_is_refused(
    site: Site, tmp_path: Path, name: str
) -> None:
    make, message = CONTENTS[name]
    path = site.forge(tmp_path / "a.parquet", make(site))
    error = refuse(site, tmp_path, site.annotation("draco"), path)
    assert error.startswith(f"error: {path}: ")
    assert message in error


def test_what_is_forged_without_a_lie_is_admitted(site: Site, tmp_path: Path) -> None:
    """The refusals above are for the one thing that was changed."""
    path = site.forge(tmp_path / "a.parquet")
    done(*site.distill(tmp_path / "round", [path, site.annotation("draco")]))


def test_one_annotation_a_partner(site: Site, tmp_path: Path) -> None:
    mine = site.annotation("aurora")
    copy = Path(shutil.copy(mine, tmp_path / "copy.parquet"))
    for other in (mine, copy):
        error = refuse(site, tmp_path, mine, site.annotation("draco"), other)
        assert f"{other}: partner 'aurora' has sent {mine} already" in error


def _of_draco(site: Site, path: Path, table: pa.Table | None = None) -> Path:
    """What aurora labelled, stated and signed by draco."""
    return site.forge(path, table, {"partner": "draco"}, "draco")


def test_labels_of_another_partner_are_refused(site: Site, tmp_path: Path) -> None:
    mine = site.annotation("aurora")
    whole = _of_draco(site, tmp_path / "whole.parquet")
    # With reliabilities of his own, and another task: one task is enough.
    content = site.content()
    trust = pa.array([0.98] * content.num_rows, type=pa.float32())
    values = pa.array(np.arange(content.num_rows) % 99 / 100, type=pa.float32())
    for name, column in (("bbb.reliability", trust), ("logbb.prediction", values)):
        content = content.set_column(content.schema.get_field_index(name), name, column)
    part = _of_draco(site, tmp_path / "part.parquet", content)
    for path in (whole, part):
        error = refuse(site, tmp_path, mine, path, site.annotation("eridanus"))
        assert f"{path}: task 'bbb': partner 'draco' has sent the labels of partner" in error
        assert f"'aurora' ({mine}); one of them signed what the other made" in error


def test_little_said_alike_is_no_copy(site: Site, tmp_path: Path) -> None:
    """A partner without a model of a task, or one that says always the same."""
    content = site.content()
    size = content.num_rows
    nothing = pa.nulls(size, pa.float32())
    same = pa.array([0.5] * size, type=pa.float32())
    for name in content.column_names[1:]:
        column = nothing if name.startswith("logbb") else same
        content = content.set_column(content.schema.get_field_index(name), name, column)
    one = site.forge(tmp_path / "one.parquet", content)
    two = _of_draco(site, tmp_path / "two.parquet", content)
    done(*site.distill(tmp_path / "round", [one, two, site.annotation("eridanus")]))


def test_files_of_another_kind(site: Site, tmp_path: Path) -> None:
    wrong = {
        site.public: "is a 'fluid.public/1' file, but a 'fluid.annotation/2' file is needed",
        site.federated: "is a 'fluid.federated/2' file, but a 'fluid.annotation/2' file is needed",
        site.table("aurora"): "is not a Parquet file, or is truncated",
        site.student / "library.parquet": "carries no seal; it was not written by fluid",
        site.folder: "no such file, it is a folder",
        tmp_path / "none.parquet": "no such file",
    }
    for path, message in wrong.items():
        assert f"{path}: {message}" in refuse(site, tmp_path, path)
    for path, message in wrong.items():
        if path not in (site.public, site.federated):
            error = refuse(site, tmp_path, site.annotation("aurora"), public=path)
            assert f"{path}: {message}" in error
    error = refuse(site, tmp_path, site.annotation("aurora"), public=site.annotation("draco"))
    assert "is a 'fluid.annotation/2' file, but a 'fluid.public/1' file is needed" in error


@pytest.fixture(scope="module")
def other_public(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good public set of the same federation, but not the one that was annotated."""
    path = tmp_path_factory.mktemp("other") / "public.parquet"
    done(*site.prepare(path, site.external))
    return path


CHANGES = {
    "round": ("round = 1", "round = 2", "round is '1', but '2' is expected"),
    "name": ('name = "trial"', 'name = "trail"', "federation is 'trial', but 'trail' is expected"),
    "policy": ("reliability_step = 0.02", "reliability_step = 0.05", "was prepared for protocol"),
    "range": ("low = -4.0", "low = -5.0", "was prepared for protocol"),
    "classes": ('"BBB-", "BBB+"', '"BBB+", "BBB-"', "was prepared for protocol"),
    "features": ("radius = 2", "radius = 3", "were edited after the reference set"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_contract_that_was_changed_afterwards(site: Site, tmp_path: Path, name: str) -> None:
    old, new, message = CHANGES[name]
    text = site.federation.read_text()
    assert old in text
    changed = tmp_path / "federation.toml"
    changed.write_text(text.replace(old, new))
    assert message in refuse(site, tmp_path, *site.annotations, federation=changed)


def test_another_public_set_or_a_key_that_was_replaced(
    site: Site, tmp_path: Path, other_public: Path
) -> None:
    error = refuse(site, tmp_path, *site.annotations, public=other_public)
    assert "public set is '" in error
    text = site.federation.read_text()
    keys = [line for line in text.splitlines() if line.startswith("public_key")]
    swapped = tmp_path / "federation.toml"
    swapped.write_text(text.replace(keys[0], "?").replace(keys[1], keys[0]).replace("?", keys[1]))
    error = refuse(site, tmp_path, *site.annotations, federation=swapped)
    assert "the signature is not of the key registered for partner 'aurora'" in error


def test_too_few_public_compounds(site: Site, tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    few.write_text("smiles\n" + "".join(f"{'C' * n}O\n" for n in range(1, 40)))
    done(*site.prepare(tmp_path / "few.parquet", few))
    annotate = site.annotate(tmp_path / "a.parquet")
    annotate[2] = tmp_path / "few.parquet"
    done(*annotate)
    error = refuse(site, tmp_path, tmp_path / "a.parquet", public=tmp_path / "few.parquet")
    assert error.startswith(f"error: {tmp_path / 'few.parquet'}: no task has pooled labels")


def test_inspect_shows_what_is_wrong_instead_of_failing(site: Site, tmp_path: Path) -> None:
    path = site.forge(tmp_path / "a.parquet", site.content_with("bbb.prediction", 3, float("nan")))
    for form in ((), ("--json",)):
        outcome = run("inspect", path, *form)
        assert outcome.code == 1
        assert "nan" in outcome.stdout
        assert "column 'bbb.prediction': nan is not a finite number" in outcome.error
    draft = site.forge(tmp_path / "b.parquet", signer=None)
    assert "unsigned draft" in done("inspect", draft, "-f", site.federation).stdout
    stolen = site.forge(tmp_path / "c.parquet", signer="draco")
    outcome = run("inspect", stolen, "-f", site.federation)
    assert outcome.code == 1
    assert "WRONG" in outcome.stdout
    assert "the signature is not of the registered key" in outcome.error
    assert "valid" in done("inspect", site.annotation("aurora"), "-f", site.federation).stdout
    broken = site.forge(tmp_path / "d.parquet", _broken_key(site))
    assert f"{broken}: cannot be decoded" in refused("inspect", broken)
    assert open_sealed(path, ANNOTATION).signature is not None


def test_a_manifest_with_nan_is_no_manifest(site: Site, tmp_path: Path) -> None:
    path = site.forge(tmp_path / "a.parquet", changes={"x": "what"})
    content = path.read_bytes().replace(b'"x":"what"', b'"x":   NaN')
    path.write_bytes(content)
    place = content.index(b"FLUIDSEAL1:") + 11
    blank = content[:place] + b"0" * 193 + content[place + 193 :]
    digest = hashlib.sha256(blank).hexdigest().encode()
    path.write_bytes(content[:place] + digest + content[place + 64 :])
    assert (
        f"{path}: the manifest: is not readable JSON (x = nan: a finite number is needed"
        in refused("inspect", path)
    )


# What comes back from the coordinator, or is handed round


def reseal(source: Path, path: Path, change: Callable[[pa.Table], pa.Table], **said: Any) -> Path:
    """An unsigned set with other content, whose digest is right."""
    sealed = open_sealed(source, None)
    content = change(pa.Table.from_batches(list(sealed.batches())))
    manifest = {**sealed.manifest, **said}
    write_sealed(path, content.schema, iter(content.to_batches()), lambda count: manifest)
    return path


def put(column: str, value: object, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    """Replace a column by one value in every row."""

    def change(table: pa.Table) -> pa.Table:
        values = pa.array([value] * table.num_rows, type=kind)
        return table.set_column(
            table.schema.get_field_index(column), pa.field(column, kind), values
        )

    return change


SETS: dict[str, tuple[Callable[[pa.Table], pa.Table], dict[str, Any], str]] = {
    "no labels": (lambda t: t.drop_columns(["bbb.label"]), {}, "column 'bbb.label' is missing"),
    "no counts": (lambda t: t.drop_columns(["counts"]), {}, "column 'counts' is missing"),
    "no teachers": (lambda t: t.drop_columns(["logbb.teachers"]), {}, "'logbb.teachers' is missin"),
    "text": (put("bbb.label", "yes", pa.string()), {},
             "column 'bbb.label' is of type string, but float is needed"),
    "bits": (put("fingerprint", bytes(8), pa.binary(8)), {},
             "column 'fingerprint' is of type fixed_size_binary[8], but fixed_size_binary[256]"),
    "other tasks": (lambda t: t, {"tasks": []}, "the manifest: 'tasks' names no task"),
    "tasks": (lambda t: t, {"tasks": 3}, "the manifest: tasks = 3: a list is needed"),
    "round": (lambda t: t, {"round": 2}, "round is '2', but '1' is expected"),
    "name": (lambda t: t, {"federation": "x"}, "federation is 'x', but 'trial' is expected"),
    "protocol": (lambda t: t, {"protocol": "0" * 64}, "was made under protocol 000000000000"),
    "content": (lambda t: t, {}, "was distilled from the federated set"),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_a_federated_set_that_is_not_what_it_says(site: Site, tmp_path: Path, name: str) -> None:
    change, said, message = SETS[name]
    more = {"software": {"fluid": "another"}} if name == "content" else said
    path = reseal(site.federated, tmp_path / "f.parquet", change, **more)
    error = refused(*site.blend(tmp_path / "h", "--federated", path))
    assert str(path) in error
    assert message in error
    assert not (tmp_path / "h").exists()


@pytest.mark.parametrize(
    ("column", "value", "kind", "message"),
    [
        ("bbb.label", float("nan"), pa.float32(), "nan; allowed are 0 to 1"),
        ("bbb.label", 1.2, pa.float32(), "1.2; allowed are 0 to 1"),
        ("logbb.label", float("inf"), pa.float32(), "inf; allowed are -4 to 4"),
        ("logbb.disagreement", -1.0, pa.float32(), "-1; allowed are 0 to 8"),
        ("bbb.reliability", None, pa.float32(), "nan; allowed are 0 to 1"),
        ("bbb.teachers", None, pa.uint16(), "nan; allowed are 0 to 65535"),
    ],
)
def test_pooled_values_out_of_range(
    site: Site, tmp_path: Path, column: str, value: object, kind: pa.DataType, message: str
) -> None:
    path = reseal(site.federated, tmp_path / "f.parquet", put(column, value, kind))
    with pytest.raises(FileFormatError) as caught:
        open_federated(path).load()
    assert str(caught.value) == f"{path}: row 1, column '{column}': {message}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["smiles"]), "column 'smiles' is missing"),
        (lambda t: t.slice(0, 0), "the public set holds no compounds"),
        (put("smiles", None, pa.string()), "column 'smiles' holds nulls"),
        (put("smiles", 1, pa.int64()), "column 'smiles' is of type int64"),
        (put("smiles", "C1CC", pa.string()), "smiles 'C1CC' cannot be used"),
        (put("inchikey", "x", pa.string()), "inchikey"),
        (put("fingerprint", bytes(8), pa.binary(8)), "is of type fixed_size_binary[8], but fixed_"),
        (put("counts", [], pa.list_(pa.uint8())), "'environments' and 'counts' differ in length"),
    ],
)
def test_a_public_set_that_is_not_what_it_says(
    site: Site, tmp_path: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    path = reseal(site.public, tmp_path / "p.parquet", change)
    arguments = site.annotate(tmp_path / "a.parquet")
    arguments[arguments.index(site.public)] = path
    error = refused(*arguments)
    assert error.startswith(f"error: {path}: ")
    assert message in error
    assert [item.name for item in tmp_path.iterdir()] == ["p.parquet"]
