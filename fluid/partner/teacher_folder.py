"""What stands in a teacher's folder beside the model, and the secret of its folds."""

from __future__ import annotations

from pathlib import Path

from fluid.base.errors import FileFormatError
from fluid.learn.folds import SECRET_BYTES

SECRET_FILE = "fold.key"
FEDERATION_FILE = "federation.toml"
REJECTS_FILE = "rejects.csv"


def read_secret(path: Path) -> bytes:
    """Read the secret of the folds.

    Raises
    ------
    FileFormatError
        If the file is missing or holds no secret. What it holds is not shown.
    """
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise FileFormatError(f"{path}: cannot read the secret ({error.strerror})") from error
    except ValueError as error:
        raise FileFormatError(f"{path}: holds no secret of hexadecimal digits") from error
    if len(secret) != SECRET_BYTES:
        raise FileFormatError(f"{path}: holds {len(secret)} bytes, a secret has {SECRET_BYTES}")
    return secret
