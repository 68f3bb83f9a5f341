"""Approve: sign a draft, and enter the approval in the ledger."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fluid.base.errors import FileFormatError, LedgerError, MismatchError, SignatureError
from fluid.base.files import canonical_json, read_json, sha256_file, sha256_hex
from fluid.exchange.annotation import AnnotationFile, open_annotation
from fluid.exchange.federation import Federation
from fluid.exchange.sealed import sign_sealed
from fluid.exchange.signing import (
    encode_public_key,
    load_private_key,
    sign_digest,
    verify_digest,
)
from fluid.exchange.strictness import looser_than
from fluid.partner.release.key_checkpoint import checkpoint_folders, open_checkpoint
from fluid.partner.release.ledger import Ledger, open_ledger
from fluid.partner.release.ledger_file import APPROVED, FINISHED, Entry
from fluid.partner.teacher.folder import FEDERATION_FILE

AUDIT_SCHEMA = "fluid.audit/1"
_CONTEXT = b"fluid ledger approval 1\n"
_PASSED = ("pass", "undecided")
_HEX = re.compile(r"([0-9a-f]{2})+")


@dataclass(frozen=True)
class Audit:
    """The result of ``fluid audit``.

    Attributes
    ----------
    path, digest
        The file, and its SHA-256.
    verdict
        ``"pass"``, ``"undecided"`` if an interval reaches above a threshold, ``"fail"``.
    values
        The content of the file.
    """

    path: Path
    digest: str
    verdict: str
    values: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether no interval lies above its threshold."""
        return self.verdict in _PASSED


@dataclass(frozen=True)
class Approval:
    """An approval.

    Attributes
    ----------
    digest, partner, round
        Digest, partner and round of the annotation.
    release, entry
        Number of the release, and index of the approval's entry in the ledger.
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
        If the file is not an audit, or is an audit of another annotation.
    """
    values = read_json(path)
    if not isinstance(values, dict) or values.get("schema") != AUDIT_SCHEMA:
        raise FileFormatError(f"{path}: is not a '{AUDIT_SCHEMA}' file")
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
    draft: Path | str,
    teacher: Path | str,
    key: Path | str,
    *,
    federation: Federation | Path | str | None = None,
    audit: Audit | Path | str | None = None,
    output: Path | str | None = None,
    digest: str | None = None,
) -> Approval:
    """Sign a draft, and enter the approval in the ledger of the teacher that made it.

    Parameters
    ----------
    draft
        An annotation; one that is signed already is approved again.
    teacher
        The teacher's folder, with its ledger.
    key
        The partner's private key. The state of the ledger is noted beside it and in the user's
        state folder.
    federation
        The federation of this round, if it differs from the one used in training.
    audit
        The result of an audit of the draft; its digest is entered.
    output
        The signed file to write; by default it replaces the draft.
    digest
        Digest of the draft that was shown to whoever approves; other content is refused.

    Raises
    ------
    FluidError
        If draft, teacher, federation and key do not belong together, the ledger was changed or
        restored from a backup, or the draft is not in it.

    Examples
    --------
    >>> from fluid import annotate, approve
    >>> draft = annotate("borealis/teacher", "public.parquet", "borealis/draft.parquet")
    >>> approval = approve("borealis/draft.parquet", "borealis/teacher", "keys/borealis.key")
    >>> approval.digest == draft.digest
    True
    """
    draft, teacher, key = Path(draft), Path(teacher), Path(key)
    annotation = open_annotation(draft)
    if digest is not None and annotation.sealed.digest != digest:
        raise MismatchError(f"{draft}: was changed after it was shown")
    if audit is not None and not isinstance(audit, Audit):
        audit = load_audit(Path(audit), annotation)
    federation = Federation.load(federation or teacher / FEDERATION_FILE)
    _check_contract(annotation, federation)
    signer = load_signing_key(key, federation, annotation.partner)
    federation = replace(federation, own_policy=annotation.policy)
    with open_ledger(teacher, *checkpoint_folders(key)) as ledger:
        _check_entered(ledger, annotation)
        checkpoint = open_checkpoint(key)
        checkpoint.check(ledger)
        checkpoint.check_budget(ledger, annotation.release, federation)
        checkpoint.check_epsilon(ledger, federation)
        checkpoint.warn_of_elsewhere(federation)
        entry = _enter(ledger, annotation, signer, audit)
        checkpoint.keep(ledger, federation)
    target = draft if output is None else Path(output)
    sign_sealed(draft, target, annotation.sealed.digest, lambda found: sign_digest(signer, found))
    return Approval(
        annotation.sealed.digest,
        annotation.partner,
        federation.round,
        annotation.release.number,
        entry.index,
        str(entry.values["key"]),
    )


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
    """Enter an approval, unless the same is in the ledger; returns its entry."""
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
    """The bytes that the key signs: the approval, and with it all earlier entries of the ledger."""
    return bytes.fromhex(sha256_hex(canonical_json({"previous": previous} | values)))


def check_approvals(ledger: Ledger, federation: Federation | None = None) -> None:
    """Verify the signatures of the approvals in a ledger.

    Raises
    ------
    LedgerError
        If one was not made by the key it states, or that key is not the registered one.
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
