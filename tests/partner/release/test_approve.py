"""Approval: what was made by this teacher is signed and entered; older copies are recognised."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fluid.base.errors import FluidError, LedgerError, MismatchError, SignatureError
from fluid.exchange.annotation import open_annotation
from fluid.exchange.federation import load_federation
from fluid.exchange.signing import generate_keys, verify_digest
from fluid.partner.release.approve import approve, check_approvals, load_audit
from fluid.partner.release.key_checkpoint import open_checkpoint
from fluid.partner.release.ledger import read_ledger
from fluid.partner.release.ledger_file import APPROVED, LEDGER_FILE, QUERY
from fluid.partner.teacher.labeler import TeacherLabeler
from tests.partner.release.partner_home import Home


def test_two_steps_give_the_file_of_one_step(home: Home) -> None:
    draft = home.draft()
    assert open_annotation(draft).sealed.signature is None
    signed = home.folder / "signed.parquet"
    approval = approve(draft, home.teacher, home.key, output=signed)
    assert open_annotation(draft).sealed.signature is None
    again = home.folder / "again.parquet"
    assert home.annotate(again, 0, home.key).signed
    assert again.read_bytes() == signed.read_bytes()
    approve(draft, home.teacher, home.key)
    assert draft.read_bytes() == signed.read_bytes()
    annotation = open_annotation(signed)
    assert annotation.sealed.signature is not None
    federation = load_federation(home.federation)
    digest = bytes.fromhex(annotation.sealed.digest)
    assert verify_digest(federation.public_key("aurora"), digest, annotation.sealed.signature)
    ledger = read_ledger(home.teacher)
    assert ledger.releases == 1
    assert len(ledger.of(QUERY)) == 2
    (entry,) = ledger.of(APPROVED)
    assert entry.index == approval.entry
    assert entry.values["digest"] == annotation.sealed.digest
    check_approvals(ledger, federation)


def test_the_query_past_the_budget_is_refused_before_any_label(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.draft(0)
    home.draft(1)
    asked = []
    monkeypatch.setattr(TeacherLabeler, "label", lambda *arguments: asked.append(arguments))
    with pytest.raises(LedgerError, match=r"release 3, but max_releases = 2 of the policy"):
        home.draft(2)
    assert not asked
    assert not (home.folder / "draft-2.parquet").exists()


def test_a_partners_own_cap_and_steps_are_in_force_and_stated(home: Home) -> None:
    own = home.folder / "partner.toml"
    own.write_text("[policy]\nreliability_step = 0.04\nabstain_below = 0.04\nmax_releases = 1\n")
    output = home.folder / "own.parquet"
    summary = home.annotate(output, 0, home.key, policy=own)
    stated = open_annotation(output)
    assert stated.policy == summary.policy
    assert stated.policy.reliability_levels == 26
    assert stated.release.to_dict() == {**summary.release.to_dict(), "number": 1}
    found = pq.read_table(output)
    plain = home.folder / "plain.parquet"
    home.annotate(plain, 0, None)
    loose = pq.read_table(plain)
    for task in ("bbb", "logbb"):
        mine, theirs = (table[f"{task}.reliability"].to_pylist() for table in (found, loose))
        assert all(value is None or value >= 0.04 - 1e-6 for value in mine)
        assert 0 < sum(value is not None for value in mine) < len(theirs)
        predicted = found[f"{task}.prediction"].to_pylist()
        assert [value is None for value in predicted] == [value is None for value in mine]
    with pytest.raises(LedgerError, match="max_releases = 1"):
        home.annotate(output, 1, None, policy=own)


def test_a_folder_restored_from_a_backup_is_recognised(home: Home, tmp_path: Path) -> None:
    approve(home.draft(0), home.teacher, home.key)
    before = tmp_path / "copy"
    shutil.copytree(home.teacher, before)
    approve(home.draft(1), home.teacher, home.key)
    shutil.rmtree(home.teacher)
    shutil.copytree(before, home.teacher)
    # The copy has one release left, as far as it knows; its draft cannot be approved.
    draft = home.draft(2)
    with pytest.raises(LedgerError, match="the teacher's folder was restored from a backup"):
        approve(draft, home.teacher, home.key)
    assert open_annotation(draft).sealed.signature is None
    # In one step it is told before any work.
    with pytest.raises(LedgerError, match="restored from a backup"):
        home.annotate(home.folder / "x.parquet", 2, home.key)
    assert not (home.folder / "x.parquet").exists()


@pytest.mark.parametrize("damage", ["removed", "emptied", "cut"])
def test_a_ledger_that_was_removed_or_cut_is_recognised(home: Home, damage: str) -> None:
    approve(home.draft(0), home.teacher, home.key)
    path = home.teacher / LEDGER_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "emptied" else b"".join(lines[:-1]))
    draft = home.draft(1)
    with pytest.raises(LedgerError, match=r"its ledger was changed"):
        approve(draft, home.teacher, home.key)
    with pytest.raises(LedgerError, match="restored from a backup"):
        open_checkpoint(home.key).check(read_ledger(home.teacher))


def test_a_new_folder_is_no_new_budget(home: Home) -> None:
    for number in range(2):
        approve(home.draft(number), home.teacher, home.key)
    other = home.folder / "other"
    home.train(other)
    assert (other / "fold.key").read_text() != (home.teacher / "fold.key").read_text()
    draft = home.draft(0, other)
    with pytest.raises(LedgerError, match=r"with the 1 other teachers' folders .* release 3"):
        approve(draft, other, home.key)
    with pytest.raises(LedgerError, match="release 4, but max_releases = 2"):
        home.annotate(home.folder / "x.parquet", 1, home.key, other)


@pytest.mark.long
def test_training_again_keeps_ledger_and_budget(home: Home) -> None:
    approve(home.draft(0), home.teacher, home.key)
    home.train(home.teacher, seed=3)
    draft = home.draft(0)
    # The model is another, so that its labels are another answer.
    assert open_annotation(draft).release.number == 2
    approve(draft, home.teacher, home.key)
    home.train(home.teacher, seed=4)
    with pytest.raises(LedgerError, match="max_releases = 2"):
        home.draft(0)


def test_what_this_teacher_did_not_make_is_not_approved(home: Home) -> None:
    other = home.folder / "other"
    home.train(other)
    draft = home.draft(0, other)
    with pytest.raises(LedgerError, match=r"no such file; .* was not made by this teacher"):
        approve(draft, home.teacher, home.key)
    home.draft(1)
    with pytest.raises(LedgerError, match=r"has no entry that .*draft-0\.parquet was made"):
        approve(draft, home.teacher, home.key)
    _, public = generate_keys("stranger", home.folder / "keys")
    with pytest.raises(SignatureError, match="is not the key that federation"):
        approve(draft, other, public.with_suffix(".key"))
    with pytest.raises(MismatchError, match="was changed after it was shown"):
        approve(draft, other, home.key, digest="0" * 64)
    text = home.federation.read_text().replace("round = 1", "round = 2")
    later = home.folder / "later.toml"
    later.write_text(text)
    with pytest.raises(MismatchError, match="round is 1, but 2 is that of the federation file"):
        approve(draft, other, home.key, federation=later)


def test_an_approval_is_signed_with_all_before_it(home: Home) -> None:
    approve(home.draft(0), home.teacher, home.key)
    ledger = read_ledger(home.teacher)
    check_approvals(ledger, load_federation(home.federation))
    (entry,) = ledger.of(APPROVED)
    entry.values["audit"] = "0" * 64
    with pytest.raises(LedgerError, match=f"line {entry.index + 1}: the signature is wrong"):
        check_approvals(ledger)
    text = home.federation.read_text()
    generate_keys("other", home.folder / "keys")
    other = (home.folder / "keys" / "other.pub").read_text().strip()
    mine = load_federation(home.federation).public_key("aurora")
    swapped = home.folder / "swapped.toml"
    swapped.write_text(text.replace(mine, other))
    with pytest.raises(LedgerError, match="approved by another key than the one registered"):
        check_approvals(read_ledger(home.teacher), load_federation(swapped))


def test_an_audit_is_of_this_draft_and_entered_by_its_digest(home: Home) -> None:
    draft = home.draft(0)
    annotation = open_annotation(draft)
    path = home.folder / "audit.json"
    value = {"schema": "fluid.audit/1", "verdict": "pass", "attacks": [{"name": "lira"}]}
    path.write_text(json.dumps(value | {"annotation": annotation.sealed.digest}))
    audit = load_audit(path, annotation)
    assert audit.passed
    approve(draft, home.teacher, home.key, audit=audit)
    (entry,) = read_ledger(home.teacher).of(APPROVED)
    assert entry.values["audit"] == audit.digest
    for wrong, message in (
        (value, "is an audit of annotation no digest"),
        (value | {"annotation": "0" * 64}, "is an audit of annotation 000000000000"),
        (value | {"schema": "fluid.audit/2"}, "is not a 'fluid.audit/1' file"),
        (value | {"verdict": None}, "'verdict' must be text"),
        ([], "is not a 'fluid.audit/1' file"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(FluidError, match=message):
            load_audit(path, annotation)
