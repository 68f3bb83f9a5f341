"""Approve: sign a draft, and enter that into the ledger."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fluid.base.errors import FileFormatError, LedgerError, MismatchError, SignatureError
from fluid.base.files import canonical_json, read_json, sha256_file, sha256_hex
from fluid.exchange.annotation import AnnotationFile, open_annotation
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.sealed import sign_sealed
from fluid.exchange.signing import (
    encode_public_key,
    load_private_key,
    sign_digest,
    verify_digest,
)
from fluid.exchange.strictness import looser_than
from fluid.partner.release.key_checkpoint import open_checkpoint
from fluid.partner.release.ledger import Ledger, open_ledger
from fluid.partner.release.ledger_file import APPROVED, FINISHED, Entry
from fluid.partner.teacher_folder import FEDERATION_FILE

AUDIT_SCHEMA = "fluid.audit/1"
_CONTEXT = b"fluid ledger approval 1\n"
_PASSED = ("pass", "undecided")
_HEX = re.compile(r"([0-9a-f]{2})+")


@dataclass(frozen=True)
class Audit:
    """What ``fluid audit`` found.

    Attributes
    ----------
    path, digest
        The file, and its SHA-256.
    verdict
        ``"pass"``, ``"undecided"`` if an interval reaches above a threshold, ``"fail"``.
    values
        All that it says.
    """

    path: Path
    digest: str
    verdict: str
    values: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether nothing surely exceeded its threshold."""
        return self.verdict in _PASSED


@dataclass(frozen=True)
class Approval:
    """What was approved.

    Attributes
    ----------
    digest, partner, round
        Of the annotation.
    release, entry
        Its number, and the index of the ledger's entry on it.
    key
        Public half of the key that signed.
    """

    digest: str
    partner: str
    round: int
    release: int
    entry: int
    key: str

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "digest": self.digest,
            "partner": self.partner,
            "round": self.round,
            "release": self.release,
            "ledger_entry": self.entry,
            "key": self.key,
            "signed": True,
        }


def load_audit(path: Path, draft: AnnotationFile) -> Audit:
    """Read the result of an audit.

    Raises
    ------
    FluidError
        If it is none, or of another annotation.
    """
    values = read_json(path)
    if not isinstance(values, dict) or values.get("schema") != AUDIT_SCHEMA:
        raise FileFormatError(f"{path}: is no '{AUDIT_SCHEMA}' file")
    attacks = values.get("attacks", [])
    verdict = values.get("verdict")
    if (
        not isinstance(verdict, str)
        or not isinstance(attacks, list)
        or not all(isinstance(attack, dict) for attack in attacks)
    ):
        raise FileFormatError(f"{path}: 'verdict' must be text, 'attacks' a list of tables")
    audited = values.get("annotation", "no digest")
    if audited != draft.sealed.digest:
        raise MismatchError(
            f"{path}: is an audit of annotation {str(audited)[:12]}..., but "
            f"{draft.sealed.path} is {draft.sealed.digest[:12]}..."
        )
    return Audit(path, sha256_file(path), verdict, values)


def load_signing_key(path: Path, federation: Federation, partner: str) -> Ed25519PrivateKey:
    """A partner's private key, which must be the registered one if one is registered.

    Raises
    ------
    SignatureError
        If it is not, or cannot be read.
    """
    key = load_private_key(path)
    registered = federation.partners.get(partner)
    if registered is not None and registered != encode_public_key(key.public_key()):
        raise SignatureError(
            f"{path}: is not the key that federation '{federation.name}' has registered "
            f"for partner '{partner}'"
        )
    return key


def approve(
    draft: Path,
    teacher: Path,
    key_path: Path,
    federation_path: Path | None = None,
    audit: Audit | None = None,
    output: Path | None = None,
    digest: str | None = None,
) -> Approval:
    """Sign a draft and enter that into the ledger of the teacher that made it.

    Parameters
    ----------
    draft
        An annotation; one that is signed already is approved again.
    teacher
        The teacher's folder, with its ledger.
    key_path
        The partner's private key. The last entry of the ledger is noted beside it.
    federation_path
        The federation file of this round, if it is another than at training.
    audit
        What an audit of the draft found; its digest is entered.
    output
        Where the signed file is to appear; by default it takes the draft's place.
    digest
        What was shown to whoever approves; another content is refused.

    Raises
    ------
    FluidError
        If draft, teacher, federation and key do not belong together, the ledger was changed or
        brought back from a copy, or the draft is not in it.
    """
    annotation = open_annotation(draft)
    if digest is not None and annotation.sealed.digest != digest:
        raise MismatchError(f"{draft}: was changed after it was shown")
    federation = load_federation(federation_path or teacher / FEDERATION_FILE)
    _check_contract(annotation, federation)
    key = load_signing_key(key_path, federation, annotation.partner)
    with open_ledger(teacher, key_path.parent) as ledger:
        _check_entered(ledger, annotation)
        checkpoint = open_checkpoint(key_path)
        checkpoint.check(ledger)
        checkpoint.check_budget(ledger, annotation.release, federation.name, annotation.policy)
        entry = _enter(ledger, annotation, key, audit)
        checkpoint.keep(ledger, federation.name)
    target = output or draft
    sign_sealed(draft, target, annotation.sealed.digest, lambda found: sign_digest(key, found))
    return Approval(
        annotation.sealed.digest, annotation.partner, federation.round, annotation.release.number,
        entry.index, str(entry.values["key"]),
    )  # fmt: skip


def _check_contract(annotation: AnnotationFile, federation: Federation) -> None:
    manifest, path = annotation.sealed.manifest, annotation.sealed.path
    for name in ("federation", "round", "protocol"):
        wanted = federation.name if name == "federation" else getattr(federation, name)
        if manifest.get(name) != wanted:
            raise MismatchError(
                f"{path}: {name} is {str(manifest.get(name))[:12]}, but {str(wanted)[:12]} is that "
                "of the federation file"
            )
    problem = looser_than(federation.policy, annotation.policy)
    problem = problem or annotation.release.over_budget(annotation.policy)
    if problem:
        raise MismatchError(f"{path}: {problem}")


def _check_entered(ledger: Ledger, annotation: AnnotationFile) -> None:
    path, release = annotation.sealed.path, annotation.release
    if not ledger.entries:
        raise LedgerError(f"{ledger.path}: no such file; {path} was not made by this teacher")
    if ledger.entries[0].values["partner"] != annotation.partner:
        raise MismatchError(
            f"{path}: is of partner '{annotation.partner}', but the teacher is of "
            f"'{ledger.entries[0].values['partner']}'"
        )
    made = ledger.of(FINISHED, digest=annotation.sealed.digest, release=release.number)
    if release.ledger != ledger.name or not made:
        raise LedgerError(
            f"{ledger.path}: has no entry that {path} was made; if that run was cut off at its "
            "end, annotate again, which costs nothing"
        )


def _enter(
    ledger: Ledger, annotation: AnnotationFile, key: Ed25519PrivateKey, audit: Audit | None
) -> Entry:
    """The entry on an approval; the same approval is not entered twice."""
    values: dict[str, Any] = {
        "release": annotation.release.number,
        "digest": annotation.sealed.digest,
        "key": encode_public_key(key.public_key()),
        "audit": None if audit is None else audit.digest,
        "verdict": None if audit is None else audit.verdict[:80],
    }
    before = ledger.of(APPROVED, **values)
    if before:
        return before[-1]
    statement = _statement(ledger.head, values)
    return ledger.append(APPROVED, **values, signature=sign_digest(key, statement, _CONTEXT).hex())


def _statement(previous: str, values: dict[str, Any]) -> bytes:
    """What the key signs of an approval: with it all that the ledger said before."""
    return bytes.fromhex(sha256_hex(canonical_json({"previous": previous} | values)))


def check_approvals(ledger: Ledger, federation: Federation | None = None) -> None:
    """Verify the signatures of the approvals in a ledger.

    Raises
    ------
    LedgerError
        If one is not of the key it states, or that is not the registered one.
    """
    partner = str(ledger.entries[0].values["partner"]) if ledger.entries else ""
    registered = federation.partners.get(partner) if federation else None
    for entry in ledger.of(APPROVED):
        values = dict(entry.values)
        text = values.pop("signature")
        signature = bytes.fromhex(text) if _HEX.fullmatch(text) else b""
        statement = _statement(entry.previous, values)
        if not verify_digest(values["key"], statement, signature, _CONTEXT):
            raise LedgerError(f"{ledger.path}: line {entry.index + 1}: the signature is wrong")
        if registered is not None and values["key"] != registered:
            raise LedgerError(
                f"{ledger.path}: line {entry.index + 1}: approved by another key than the one "
                f"registered for partner '{partner}'"
            )
