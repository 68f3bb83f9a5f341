"""A teacher's folder: which files stand beside the model, and the secret of its folds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fluid.base.errors import FileFormatError, FluidError
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.strictness import looser_than
from fluid.learn.consortium_folds import is_consortium_key
from fluid.learn.folds import SECRET_BYTES
from fluid.learn.model import TrainedModel
from fluid.learn.storage import load_trained

SECRET_FILE = "fold.key"
FEDERATION_FILE = "federation.toml"


def loosened(folder: Path, federation: Federation) -> str | None:
    """What a federation's policy allows that the one a teacher was trained under does not.

    A federation file comes from the coordinator, and whoever is told to train again should know
    what the new file gives away.

    Returns
    -------
    str or None
        The first looser setting; None if there is none, or no earlier federation can be read.
    """
    try:
        before = load_federation(folder / FEDERATION_FILE)
    except FluidError:
        return None
    return looser_than(before.policy, federation.policy)


@dataclass(frozen=True)
class TeacherFolder:
    """A teacher's folder that was opened.

    Attributes
    ----------
    path
        The folder.
    model
        The teacher.
    secret
        The secret of its folds, 32 bytes.
    """

    path: Path
    model: TrainedModel
    secret: bytes

    @classmethod
    def open(cls, path: Path) -> TeacherFolder:
        """Load a teacher and its secret.

        Raises
        ------
        FluidError
            If the folder holds no teacher or no secret.
        """
        return cls(path, load_trained(path, "teacher"), read_secret(path / SECRET_FILE))

    @property
    def partner(self) -> str:
        """Name of the partner whose teacher it is."""
        return self.model.card.name


def read_secret(path: Path) -> bytes:
    """Read the secret of the folds.

    Raises
    ------
    FileFormatError
        If the file is missing or holds no secret. The message does not show its content.
    """
    try:
        text = path.read_text(encoding="ascii").strip()
        if is_consortium_key(text):
            raise FileFormatError(
                f"{path}: is a consortium key, which other partners know; a teacher's folds need a "
                "secret of its own"
            )
        secret = bytes.fromhex(text)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot read the secret ({error.strerror})") from error
    except ValueError as error:
        raise FileFormatError(f"{path}: holds no secret of hexadecimal digits") from error
    if len(secret) != SECRET_BYTES:
        raise FileFormatError(f"{path}: holds {len(secret)} bytes, a secret has {SECRET_BYTES}")
    return secret
