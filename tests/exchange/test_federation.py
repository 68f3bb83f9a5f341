"""The federation file: what it accepts, and what its protocol digest covers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fluid.base.errors import FederationError, MismatchError
from fluid.chem.chemistry import Chemistry
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import StandardizerSpec
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.signing import generate_keys
from fluid.exchange.template import federation_text, parse_task_option, register_partner
from fluid.learn.task import Task


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "federation.toml"
    tasks = [parse_task_option("bbb:binary:BBB-,BBB+"), parse_task_option("logbb:regression:log")]
    file.write_text(federation_text("trial", tasks), encoding="utf-8")
    return file


def test_the_template_reads_back(path: Path) -> None:
    federation = load_federation(path)
    assert federation.name == "trial"
    assert federation.round == 1
    assert [task.name for task in federation.tasks] == ["bbb", "logbb"]
    assert federation.tasks[0].classes == ("BBB-", "BBB+")
    assert federation.tasks[1].unit == "log"
    assert federation.chemistry == Chemistry.here(StandardizerSpec(), FeatureSpec())
    assert federation.policy == DisclosurePolicy()
    federation.chemistry.check("the template")


def test_a_partner_joins_without_changing_the_protocol(path: Path, tmp_path: Path) -> None:
    before = load_federation(path)
    _, key = generate_keys("aurora", tmp_path)
    register_partner(path, "aurora", key)
    register_partner(path, "aurora", key)
    after = load_federation(path)
    assert after.protocol == before.protocol
    assert list(after.partners) == ["aurora"]
    assert "# How structures are standardised" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_registering_only_adds_to_the_file(
    path: Path, tmp_path: Path, mark: bytes, end: bytes
) -> None:
    before = mark + path.read_bytes().replace(b"\n", end) + b"# mine" + end + b"#\ttoo"
    path.write_bytes(before)
    _, key = generate_keys("aurora", tmp_path)
    register_partner(path, "aurora", key)
    after = path.read_bytes()
    text = key.read_bytes().strip()
    added = end.join([b"", b"", b"[partners.aurora]", b'public_key = "' + text + b'"', b""])
    assert after == before + added
    assert list(load_federation(path).partners) == ["aurora"]


def test_a_file_that_cannot_be_added_to_is_left_as_it_is(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    before = text.replace("round = 1\n", "round = 1\npartners = {}\n")
    path.write_text(before, encoding="utf-8")
    _, key = generate_keys("aurora", tmp_path)
    with pytest.raises(FederationError, match=r"'aurora' cannot be added at the end .* by hand"):
        register_partner(path, "aurora", key)
    assert path.read_text(encoding="utf-8") == before


def test_another_key_for_a_registered_partner_is_refused(path: Path, tmp_path: Path) -> None:
    _, first = generate_keys("aurora", tmp_path / "a")
    _, second = generate_keys("aurora", tmp_path / "b")
    register_partner(path, "aurora", first)
    with pytest.raises(FederationError, match="another key"):
        register_partner(path, "aurora", second)


def _changed(federation: Federation, what: str) -> Federation:
    chemistry = federation.chemistry
    turned = Task("bbb", "binary", classes=("BBB+", "BBB-"))
    changes = {
        "tasks": {"tasks": federation.tasks[:1]},
        "class": {"tasks": (turned, *federation.tasks[1:])},
        "standardizer": {
            "chemistry": dataclasses.replace(
                chemistry, standardizer=StandardizerSpec(stereo="keep")
            )
        },
        "fingerprint": {
            "chemistry": dataclasses.replace(chemistry, features=FeatureSpec(bits=1024))
        },
        "rdkit": {"chemistry": dataclasses.replace(chemistry, rdkit="1999.01.1")},
        "policy": {"policy": DisclosurePolicy(probability_step=0.1)},
    }
    return dataclasses.replace(federation, **changes[what])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "what", ["tasks", "class", "standardizer", "fingerprint", "rdkit", "policy"]
)
def test_the_protocol_covers(path: Path, what: str) -> None:
    federation = load_federation(path)
    assert _changed(federation, what).protocol != federation.protocol


def test_another_chemistry_is_refused(path: Path) -> None:
    chemistry = load_federation(path).chemistry
    elsewhere = dataclasses.replace(chemistry, reference="0" * 64, rdkit="1999.01.1")
    with pytest.raises(MismatchError, match=r"computes other structures .* install RDKit 1999"):
        elsewhere.check("federation 'trial'")
    edited = dataclasses.replace(chemistry, standardizer=StandardizerSpec(stereo="keep"))
    with pytest.raises(MismatchError, match="were edited"):
        edited.check("federation 'trial'")


@pytest.mark.parametrize("step", [0.06, 0.15, 0.3])
def test_steps_that_do_not_make_one_are_refused(step: float) -> None:
    with pytest.raises(ValueError, match="policy probability_step"):
        DisclosurePolicy(probability_step=step)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "trial"', 'name = "a/b"', "federation name 'a/b'"),
        ("round = 1", "round = 0", "round = 0"),
        ("round = 1", 'round = "1"', "round = '1': a whole number is needed"),
        ("radius = 2", "radius = 9", "features radius = 9"),
        ("radius = 2", "radios = 2", "unknown key 'radios'"),
        ("bits = 2048", "bits = 100", "features bits = 100"),
        ('stereo = "remove"', 'stereo = "maybe"', "standardizer stereo = 'maybe'"),
        ("probability_step = 0.01", "probability_step = 0.9", "policy probability_step = 0.9"),
        ("share = []", 'share = ["everything"]', "'everything' is not one of"),
        ('kind = "binary"', 'kind = "ternary"', "kind 'ternary'"),
        ('name = "logbb"', 'name = "BBB"', "task 'bbb' occurs twice"),
        ("[features]", "[features", "not valid TOML"),
        ("fluid.federation/1", "fluid.federation/9", "this version reads"),
    ],
)
def test_a_bad_file_is_one_clear_line(path: Path, old: str, new: str, message: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(FederationError) as caught:
        load_federation(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
