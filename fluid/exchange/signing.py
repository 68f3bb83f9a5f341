"""Ed25519 keys (RFC 8032): a partner signs, the coordinator knows the public half."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fluid.base.errors import FluidError, SignatureError
from fluid.base.files import write_text

_CONTEXT = b"fluid sealed file 1\n"


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Let one process at a time change files in a folder, by a lock on the folder itself."""
    if os.name != "posix":
        yield
        return
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise FluidError(f"{folder}: cannot be opened ({error.strerror})") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def generate_keys(name: str, folder: Path) -> tuple[Path, Path]:
    """Make a key pair as ``name.key`` (owner-only) and ``name.pub`` in a folder.

    Returns
    -------
    tuple of Path
        The private and the public file.

    Raises
    ------
    FluidError
        If one of the files exists: a key is never overwritten.
    """
    private_path, public_path = folder / f"{name}.key", folder / f"{name}.pub"
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FluidError(f"{folder}: cannot make this folder ({error.strerror})") from error
    with locked_folder(folder):
        for path in (private_path, public_path):
            if path.exists():
                raise FluidError(f"{path}: exists; a key is never overwritten, remove it first")
        write_text(private_path, pem.decode("ascii"), mode=0o600)
        try:
            write_text(public_path, encode_public_key(key.public_key()) + "\n")
        except OSError:
            private_path.unlink()
            raise
    return private_path, public_path


def encode_public_key(key: Ed25519PublicKey) -> str:
    """A public key as text: ``ed25519:`` and 44 characters of base64."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return "ed25519:" + base64.b64encode(raw).decode("ascii")


def decode_public_key(text: str) -> Ed25519PublicKey:
    """The inverse of `encode_public_key`.

    Raises
    ------
    SignatureError
        If the text is not such a key.
    """
    kind, _, body = text.strip().partition(":")
    try:
        if kind != "ed25519":
            raise ValueError("unknown kind")
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(body, validate=True))
    except ValueError as error:
        shown = "a private key" if "PRIVATE" in text else f"'{text.strip()[:60]}'"
        raise SignatureError(
            f"{shown} is not a public key; expected 'ed25519:' and base64"
        ) from error


def read_public_key(path: Path) -> str:
    """The text of a ``.pub`` file, checked; messages never show a private key."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise FluidError(f"{path}: cannot be read as a public key ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise FluidError(f"{path}: is not a public key; expected 'ed25519:' and base64") from error
    if "PRIVATE" in text:
        raise SignatureError(f"{path}: is a private key, which stays with its owner; give the .pub")
    try:
        return encode_public_key(decode_public_key(text))
    except SignatureError as error:
        raise SignatureError(f"{path}: {error}") from error


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key.

    Raises
    ------
    SignatureError
        If the file is missing or holds no Ed25519 key, or if others may read it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SignatureError(f"{path}: cannot read the private key ({error.strerror})") from error
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SignatureError(f"{path}: holds no private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{path}: is not an Ed25519 key")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise SignatureError(
            f"{path}: others may read this private key; make it owner-only with chmod 600"
        )
    return key


def sign_digest(key: Ed25519PrivateKey, digest: bytes, context: bytes = _CONTEXT) -> bytes:
    """Signature of a digest, 64 bytes; `context` says what it is a digest of."""
    return key.sign(context + digest)


def verify_digest(
    public_key: str, digest: bytes, signature: bytes, context: bytes = _CONTEXT
) -> bool:
    """Whether `signature` is that key's signature of `digest`."""
    try:
        decode_public_key(public_key).verify(signature, context + digest)
    except InvalidSignature:
        return False
    return True
