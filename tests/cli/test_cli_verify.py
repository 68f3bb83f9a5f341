"""What the coordinator signs, who asks for it, and the lineage from federation file to student."""

from __future__ import annotations

import json
import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fluid.exchange.coordinator import MODEL_SIGNATURE, REPORT_SIGNATURE
from fluid.exchange.federation import load_federation
from fluid.exchange.sealed import open_sealed, sign_sealed
from fluid.exchange.signing import load_private_key, sign_digest
from fluid.report.verify import BROKEN, Places, verify
from tests.cli.cli_site import PARTNERS, Site, done, refused, run

FILES = (
    "federation.toml",
    "public.parquet",
    *(f"{partner}/annotation.parquet" for partner in PARTNERS),
    "round1/federated.parquet",
    "round1/report.json",
    "round1/report.sig",
    "round1/student/model.json",
    "round1/student/model.sig",
    "round1/student/arrays.npz",
    "round1/student/library.parquet",
)


@pytest.fixture(scope="module")
def signed(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The round of `site` once more, in a federation that names the coordinator's key."""
    folder = tmp_path_factory.mktemp("signed") / "all"
    shutil.copytree(site.folder, folder)
    copy = Site(folder)
    done("keygen", "coordinator", "-o", folder / "keys", "--federation", copy.federation)
    key = load_private_key(copy.key("coordinator"))
    digest = open_sealed(copy.public, None).digest
    sign_sealed(copy.public, copy.public, digest, partial(sign_digest, key))
    shutil.rmtree(folder / "round1")
    done(*copy.distill(folder / "round1"), "--key", copy.key("coordinator"))
    return copy


@pytest.fixture
def own(signed: Site, tmp_path: Path) -> Site:
    """A copy that a test may change."""
    shutil.copytree(signed.folder, tmp_path / "own")
    return Site(tmp_path / "own")


def test_the_key_is_no_part_of_the_protocol(site: Site, signed: Site) -> None:
    before, after = load_federation(site.federation), load_federation(signed.federation)
    assert before.protocol == after.protocol
    assert (before.coordinator, after.coordinator[:8]) == ("", "ed25519:")
    again = done("register", signed.folder / "keys" / "coordinator.pub", "-f", signed.federation)
    assert "the coordinator is registered" in again.stdout
    assert load_federation(signed.federation) == after


def test_the_coordinator_is_no_partner(site: Site, own: Site, tmp_path: Path) -> None:
    assert "the name is the coordinator's" in refused(
        *site.train(tmp_path / "t"), "--partner", "coordinator"
    )
    copied = tmp_path / "coordinator.pub"
    copied.write_bytes((own.folder / "keys" / "aurora.pub").read_bytes())
    text = own.federation.read_text()
    error = refused("register", copied, "-f", own.federation)
    assert "the coordinator is registered with another key" in error
    own.federation.write_text(text[: text.index("[coordinator]")])
    assert "is the key of partner 'aurora'" in refused("register", copied, "-f", own.federation)
    key = (own.folder / "keys" / "aurora.pub").read_text().strip()
    own.federation.write_text(own.federation.read_text() + f'[coordinator]\npublic_key = "{key}"\n')
    error = refused("inspect", own.federation)
    assert "the coordinator and partner 'aurora' have the same public key" in error


def test_distill_signs_with_the_named_key_alone(site: Site, signed: Site, tmp_path: Path) -> None:
    output = tmp_path / "round"
    assert "sign with --key" in refused(*signed.distill(output))
    error = refused(*signed.distill(output), "--key", signed.key("aurora"))
    assert "is not the key that federation 'trial' names as the coordinator's" in error
    error = refused(*site.distill(output), "--key", signed.key("coordinator"))
    assert "names no key of the coordinator" in error
    assert not output.exists()
    table = signed.public_table
    assert "sign with --key" in refused(*signed.prepare(tmp_path / "p.parquet", table))


def test_what_the_digests_say_does_not_depend_on_the_signature(site: Site, signed: Site) -> None:
    for name in ("public.parquet", "round1/federated.parquet"):
        one = open_sealed(site.folder / name, None)
        two = open_sealed(signed.folder / name, None)
        assert (one.digest, one.signature) == (two.digest, None)
        assert two.signature is not None


def test_partners_ask_for_the_signature(site: Site, own: Site, tmp_path: Path) -> None:
    """Files without it, or of another coordinator, are refused before anything is done."""
    label = own.annotate(tmp_path / "a.parquet", "--federation", own.federation)
    done(*label)
    label[label.index(own.public)] = site.public
    assert f"{site.public}: is not signed by the coordinator" in refused(*label)
    # Without the key in the partner's federation file, nobody could tell whose signature it is.
    error = refused(*site.annotate(tmp_path / "b.parquet")[:2], own.public, "-o",
                    tmp_path / "b.parquet", "--key", site.key("aurora"))  # fmt: skip
    assert "is signed, but federation 'trial' names no key of the coordinator" in error
    done(*own.blend(tmp_path / "h"))
    for option, path in (("--federated", site.federated), ("--student", site.student)):
        error = refused(*own.blend(tmp_path / "h"), option, path)
        assert "is not signed by the coordinator" in error
    other = load_private_key(own.key("aurora"))
    digest = open_sealed(own.federated, None).digest
    sign_sealed(own.federated, own.federated, digest, partial(sign_digest, other))
    error = refused(*own.blend(tmp_path / "h"))
    assert "the signature is not of the key that federation 'trial' names as the coord" in error
    outcome = run("inspect", own.federated, "-f", own.federation)
    assert outcome.code == 1
    assert "the signature is not of the key" in outcome.error


def test_a_student_predicts_only_if_it_is_signed(site: Site, signed: Site, tmp_path: Path) -> None:
    output = tmp_path / "p.csv"
    done(*signed.predict(output), "--federation", signed.federation)
    arguments = [*site.predict(tmp_path / "q.csv"), "--federation", signed.federation]
    assert "is not signed by the coordinator" in refused(*arguments)
    assert not (tmp_path / "q.csv").exists()
    error = refused("predict", signed.hybrid("aurora"), signed.external, "-o", output,
                    "-f", signed.federation)  # fmt: skip
    assert "holds a hybrid, but a student is needed" in error


def damage(folder: Path, name: str) -> None:
    """Change a student's folder in one of the ways that must be noticed."""
    model = folder / "model.json"
    if name == "unknown file":
        (folder / "notes.txt").write_text("x")
    elif name == "hidden file":
        (folder / ".hidden").write_text("x")
    elif name == "link":
        (folder / "link").symlink_to(model)
    elif name == "no signature":
        (folder / "model.sig").unlink()
    elif name == "long signature":
        (folder / "model.sig").write_text((folder / "model.sig").read_text() + "\n")
    elif name == "capital signature":
        (folder / "model.sig").write_text((folder / "model.sig").read_text().upper())
    elif name == "missing file":
        (folder / "arrays.npz").unlink()
    else:
        values = json.loads(model.read_text())
        values["files"]["../report.json"] = "0" * 64
        model.write_text(json.dumps(values))


CHANGES = {
    "unknown file": "is not listed in model.json",
    "hidden file": "is not listed in model.json",
    "link": "is not an ordinary file",
    "no signature": "is not signed by the coordinator",
    "long signature": "is not a signature",
    "capital signature": "is not a signature",
    "missing file": "which is missing",
    "another list": "is not the coordinator's of this file",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_students_folder_is_what_was_signed(own: Site, tmp_path: Path, name: str) -> None:
    damage(own.student, name)
    assert CHANGES[name] in refused(*own.blend(tmp_path / "h"))
    outcome = run("verify", own.folder / "round1")
    assert outcome.code == 1
    assert CHANGES[name] in outcome.error


def test_an_unsigned_students_folder_holds_no_other_files(site: Site, tmp_path: Path) -> None:
    student = tmp_path / "student"
    shutil.copytree(site.student, student)
    done(*site.blend(tmp_path / "h", "--student", student))
    (student / "model.sig").write_text("0" * 128 + "\n")
    assert "names no key of the coordinator" in refused(
        *site.blend(tmp_path / "h", "--student", student)
    )
    (student / "model.sig").rename(student / "x")
    assert "is not listed" in refused(*site.blend(tmp_path / "h", "--student", student))


def test_the_whole_lineage_holds(signed: Site) -> None:
    shown = done("verify", signed.folder / "round1").stdout
    for name in ("federation", "report", "federated set", "student", "public set", *PARTNERS):
        assert name in shown
    assert shown.count("holds") == 6 + len(PARTNERS)
    value = json.loads(done("verify", signed.folder, "--json").stdout)
    assert value["holds"] is True
    assert {link["status"] for link in value["links"]} == {"holds"}
    assert "hybrid" not in shown


def test_an_unsigned_lineage_holds_by_its_digests(site: Site) -> None:
    assert "no signature" in done("verify", site.folder / "round1").stdout


def test_a_hybrid_names_its_student(own: Site) -> None:
    done(*own.blend(own.hybrid("aurora")))
    links = verify(own.hybrid("aurora"))
    assert [links[1].what, links[-1].status] == ["hybrid", "holds"]
    assert any(link.what == "student" for link in links)
    path = own.hybrid("aurora") / "own" / "arrays.npz"
    path.write_bytes(path.read_bytes() + b"x")
    assert verify(own.hybrid("aurora"))[-1].status == BROKEN


def test_a_partner_has_no_annotation_of_others(own: Site, tmp_path: Path) -> None:
    elsewhere = tmp_path / "mine.parquet"
    own.annotation("aurora").rename(elsewhere)
    for partner in PARTNERS[1:]:
        own.annotation(partner).unlink()
    options = ("verify", own.folder / "round1", "--annotation", elsewhere)
    assert run(*options).code == 1
    shown = done(*options, "--partner", "aurora").stdout
    assert shown.count("not at hand") == len(PARTNERS) - 1
    links = verify(own.folder / "round1", Places(annotations=[elsewhere], partner="draco"))
    assert "no file states the digest" in links[-1].problem


def change(rng: random.Random, content: bytes) -> bytes:
    """The same bytes but for one."""
    changed = bytearray(content)
    changed[rng.randrange(len(content))] ^= rng.randrange(1, 256)
    return bytes(changed)


def found_after(site: Site, name: str, number: int) -> int:
    """How many single-byte changes of a file break the lineage."""
    path, rng = site.folder / name, random.Random(name)
    content, found = path.read_bytes(), 0
    for _ in range(number):
        path.write_bytes(change(rng, content))
        found += verify(site.folder / "round1")[-1].status == BROKEN
    path.write_bytes(content)
    return found


def test_single_byte_changes_are_found(own: Site) -> None:
    assert {name: found_after(own, name, 12) for name in FILES} == dict.fromkeys(FILES, 12)
    assert verify(own.folder / "round1")[-1].status != BROKEN


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_many_single_byte_changes_are_found(own: Site, name: str) -> None:
    assert found_after(own, name, 300) == 300


def test_the_command_shows_what_is_broken(own: Site) -> None:
    content = own.public.read_bytes()
    own.public.write_bytes(change(random.Random(1), content))
    outcome = run("verify", own.folder / "round1")
    assert outcome.code == 1
    assert "BROKEN" in outcome.stdout.splitlines()[-1]
    assert "public" in outcome.error
    found = run("verify", own.folder / "round1", "--json")
    value: dict[str, Any] = json.loads(found.stdout)
    assert (found.code, value["holds"]) == (1, False)
    assert value["links"][-1]["problem"] in outcome.error
    own.public.unlink()
    assert "no file states the digest" in run("verify", own.folder / "round1").error


def test_a_report_or_a_student_of_another_round_is_found(own: Site) -> None:
    """Signed by the coordinator, but not of this round."""
    key = load_private_key(own.key("coordinator"))
    report = own.folder / "round1" / "report.json"
    values = json.loads(report.read_text())
    values["annotations"]["aurora"] = "0" * 64
    report.write_text(json.dumps(values))
    REPORT_SIGNATURE.sign(report, key)
    links = verify(own.folder / "round1")
    assert (links[-1].what, links[-1].status) == ("federated set", BROKEN)
    model = own.student / "model.json"
    model.write_text(model.read_text() + " ")
    REPORT_SIGNATURE.sign(model, key)
    shutil.move(own.student / "report.sig", own.student / "model.sig")
    error = refused(*own.blend(own.folder / "h"))
    assert "is not the coordinator's of this file" in error
    MODEL_SIGNATURE.sign(model, key)
    done(*own.blend(own.folder / "h"))


def test_what_cannot_be_verified(site: Site, tmp_path: Path) -> None:
    assert "no such folder" in refused("verify", tmp_path / "none")
    assert "holds neither a round nor a hybrid" in refused("verify", tmp_path)
    error = refused("verify", site.teacher("aurora"))
    assert "is a teacher without its round" in error
    outcome = run("verify", site.folder / "round1", "-f", site.table("aurora"))
    assert outcome.code == 1
    assert "error: " in outcome.stderr


def test_a_partner_who_joins_later_does_not_break_earlier_rounds(own: Site, tmp_path: Path) -> None:
    """If the file of then is kept; the coordinator has signed its digest."""
    before = own.federation.read_bytes()
    done("keygen", "late", "-o", own.folder / "keys", "--federation", own.federation)
    outcome = run("verify", own.folder / "round1")
    assert outcome.code == 1
    assert "put the file of then beside it" in outcome.error
    (own.folder / "federation-1.toml").write_bytes(before)
    assert "federation-1.toml" in done("verify", own.folder / "round1").stdout
    # Of another coordinator it would not do.
    other = before.replace(b'name = "trial"', b'name = "other"')
    (own.folder / "federation-1.toml").write_bytes(other)
    assert run("verify", own.folder / "round1").code == 1


@pytest.mark.parametrize("text", ["[]", "{", '{"schema": "fluid.report/2"}', '{"a": 1e999}'])
def test_a_report_that_is_none(site: Site, tmp_path: Path, text: str) -> None:
    shutil.copytree(site.folder / "round1", tmp_path / "all" / "round1")
    (tmp_path / "all" / "round1" / "report.json").write_text(text)
    outcome = run("verify", tmp_path / "all" / "round1", "-f", site.federation)
    assert outcome.code == 1
    assert "report.json" in outcome.error


@pytest.mark.long
def test_the_lineage_of_a_residual_round(own: Site) -> None:
    corrected = [own.folder / partner / "corrected.parquet" for partner in PARTNERS]
    for partner, path in zip(PARTNERS, corrected, strict=True):
        done("annotate", own.teacher(partner), own.public, "-f", own.federation, "--key",
             own.key(partner), "--student", own.student, "-o", path, "--jobs", 1)  # fmt: skip
    report = own.folder / "round1" / "report.json"
    signing = ("--key", own.key("coordinator"), "--former", report)
    done(*own.distill(own.folder / "round2", corrected), "--student", own.student, *signing)
    links = verify(own.folder / "round2")
    assert [link.what for link in links].count("student") == 2
    assert links[-1].status == "holds"
    report.write_bytes(change(random.Random(2), report.read_bytes()))
    assert verify(own.folder / "round2")[-1].status == BROKEN
    error = refused(*own.distill(own.folder / "round3", corrected), "--student", own.student,
                    *signing)  # fmt: skip
    assert "is not the coordinator's of this file" in error
