"""Where this user's machine keeps what must outlive a project's folders."""

from __future__ import annotations

import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)


def state_folder(name: str) -> Path | None:
    """The folder ``$XDG_STATE_HOME/fluid/<name>``, owner-only, made if needed.

    Without that variable it is ``~/.local/state/fluid/<name>``.

    Parameters
    ----------
    name
        What it is for.

    Returns
    -------
    Path or None
        None, with a warning, if this user has no home or nothing can be written there.
    """
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        # The specification has a relative path ignored.
        base = given if given.is_absolute() else Path.home() / ".local" / "state"
        folder = base / "fluid" / name
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except (OSError, RuntimeError) as error:
        logger.warning("there is no state folder (%s); set XDG_STATE_HOME to one", error)
        return None
    return folder
