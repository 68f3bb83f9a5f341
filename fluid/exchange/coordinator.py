"""The coordinator's key: what it signs, and the check that partners make of it.

Sealed files carry the signature in their seal. ``model.json`` of a student and ``report.json`` of
a round have it in a file beside them, 128 hexadecimal digits; ``model.json`` holds the digests of
every other file of the student's folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fluid.base.errors import FileFormatError, FluidError, SignatureError
from fluid.base.files import sha256_file, write_text
from fluid.exchange.federation import Federation
from fluid.exchange.sealed import SealedFile
from fluid.exchange.signing import encode_public_key, load_private_key, sign_digest, verify_digest
from fluid.learn.model_file import MODEL_FILE, load_card, read_head

_LENGTH = 129


@dataclass(frozen=True)
class Detached:
    """A kind of file that is signed by a file beside it.

    Attributes
    ----------
    name
        Of the file with the signature.
    context
        Says what is signed, so that a signature of one kind is none of another.
    """

    name: str
    context: bytes

    def sign(self, path: Path, key: Ed25519PrivateKey) -> None:
        """Sign a file; the signature is written beside it."""
        signature = sign_digest(key, bytes.fromhex(sha256_file(path)), self.context)
        write_text(path.with_name(self.name), signature.hex() + "\n")

    def check(self, path: Path, federation: Federation) -> None:
        """Check that the coordinator has signed a file, if the federation names its key.

        Raises
        ------
        FluidError
            If the file is missing, or its signature is missing, damaged or of another key; without
            a key, if there is a signature, which nobody can check.
        """
        beside = path.with_name(self.name)
        if not path.is_file():
            raise FileFormatError(f"{path}: no such file")
        if not federation.coordinator:
            if beside.exists():
                raise SignatureError(f"{beside}: {_no_key(federation)}")
            return
        if not beside.is_file():
            raise SignatureError(f"{path}: is not signed by the coordinator: {beside} is missing")
        try:
            with beside.open("rb") as handle:
                text = handle.read(_LENGTH + 1)
            signature = bytes.fromhex(text.decode("ascii"))
        except (OSError, ValueError) as error:
            raise SignatureError(f"{beside}: is not a signature") from error
        if text != f"{signature.hex()}\n".encode() or len(text) != _LENGTH:
            raise SignatureError(f"{beside}: is not a signature")
        digest = bytes.fromhex(sha256_file(path))
        if not verify_digest(federation.coordinator, digest, signature, self.context):
            raise SignatureError(
                f"{path}: the signature in {beside.name} is not the coordinator's of this file"
            )


MODEL_SIGNATURE = Detached("model.sig", b"fluid model 1\n")
REPORT_SIGNATURE = Detached("report.sig", b"fluid report 1\n")


def _no_key(federation: Federation) -> str:
    return (
        f"is signed, but federation '{federation.name}' names no key of the coordinator; give the "
        "federation file of this round"
    )


def coordinator_signer(federation: Federation, key: Path | str | None) -> Ed25519PrivateKey | None:
    """The coordinator's private key; None where a federation names no public one.

    Raises
    ------
    SignatureError
        If the federation names a key and none is given, or another one, or the reverse.
    """
    if key is None:
        if federation.coordinator:
            raise SignatureError(
                f"federation '{federation.name}' names the key of a coordinator: sign with --key"
            )
        return None
    found = load_private_key(Path(key))
    if not federation.coordinator:
        raise SignatureError(
            f"{key}: federation '{federation.name}' names no key of the coordinator; register its "
            "public half first: fluid register coordinator.pub"
        )
    if encode_public_key(found.public_key()) != federation.coordinator:
        raise SignatureError(
            f"{key}: is not the key that federation '{federation.name}' names as the coordinator's"
        )
    return found


def check_signed_by_coordinator(sealed: SealedFile, federation: Federation) -> None:
    """Check the seal of what comes from the coordinator.

    Raises
    ------
    SignatureError
        If the federation names the coordinator's key and the signature is missing or of another;
        if it names none and there is a signature.
    """
    if not federation.coordinator:
        if sealed.signature is not None:
            raise SignatureError(f"{sealed.path}: {_no_key(federation)}")
        return
    if sealed.signature is None:
        raise SignatureError(f"{sealed.path}: is not signed by the coordinator")
    if not verify_digest(federation.coordinator, bytes.fromhex(sealed.digest), sealed.signature):
        raise SignatureError(
            f"{sealed.path}: the signature is not of the key that federation "
            f"'{federation.name}' names as the coordinator's"
        )


def check_student_folder(folder: Path, federation: Federation) -> None:
    """Check signature and files of a student's folder, before anything but its card is read.

    Raises
    ------
    FluidError
        If the signature is not the coordinator's, or the folder holds a file that ``model.json``
        does not list, lacks one, or holds another content.
    """
    kind = load_card(folder).kind
    if kind != "student":
        raise FileFormatError(f"{folder}: holds a {kind}, but a student is needed")
    MODEL_SIGNATURE.check(folder / MODEL_FILE, federation)
    check_folder_files(folder, {MODEL_FILE, MODEL_SIGNATURE.name})


def check_folder_files(folder: Path, beside: set[str]) -> list[str]:
    """Check every file of a model folder against the digests in its ``model.json``.

    Parameters
    ----------
    folder
        Of a trained model.
    beside
        Names that need no digest.

    Returns
    -------
    list of str
        The files that were checked.

    Raises
    ------
    FileFormatError
        At the first file that is missing, changed, or not listed.
    """
    listed = read_head(folder)[0].get("files")
    if not isinstance(listed, dict):
        raise FileFormatError(f"{folder / MODEL_FILE}: 'files' must be a table")
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    for name, path in found.items():
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise FileFormatError(f"{path}: is not an ordinary file")
        if path.is_file() and name not in listed and name not in beside:
            raise FileFormatError(f"{path}: is not listed in {MODEL_FILE}")
    for name, digest in sorted(listed.items()):
        if name not in found or not found[name].is_file():
            raise FileFormatError(f"{folder / MODEL_FILE}: lists '{name[:80]}', which is missing")
        if sha256_file(found[name]) != digest:
            raise FileFormatError(
                f"{found[name]}: does not match its digest; it was changed or damaged"
            )
    return sorted(listed)


def describe_coordinator_signature(sealed: SealedFile, federation: Federation | None) -> str:
    """A sealed file's signature in words; begins with "WRONG" if it does not hold."""
    signed = sealed.signature is not None
    return _described(signed, federation, partial(check_signed_by_coordinator, sealed))


def describe_student_signature(folder: Path, federation: Federation | None) -> str:
    """The same of a student's folder."""
    signed = (folder / MODEL_SIGNATURE.name).exists()
    return _described(signed, federation, partial(check_student_folder, folder))


def _described(
    signed: bool, federation: Federation | None, check: Callable[[Federation], None]
) -> str:
    if federation is None:
        return "signed; give --federation to verify the key" if signed else "unsigned"
    try:
        check(federation)
    except FluidError as error:
        return f"WRONG: {error}"
    return "valid, of the coordinator's key" if signed else "unsigned, as agreed"
