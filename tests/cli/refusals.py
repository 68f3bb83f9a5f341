"""What the tests of bad input ask of a command: one clear line, and nothing touched."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.cli_site import refused, run, snapshot


def misused(*arguments: object) -> str:
    """Run a command whose usage is wrong: exit code 2, and what stderr says."""
    outcome = run(*arguments)
    assert outcome.code == 2, outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    return outcome.stderr


def unharmed(folder: Path, *arguments: object) -> str:
    """Run a command that must be refused and must leave a folder as it was.

    A list of the rejects is all that may be left, if the message names it; it is removed here.
    """
    before = snapshot(folder)
    error = refused(*arguments)
    listed = re.search(r"\(all are listed in (.*)\)$", error)
    if listed:
        place = Path(listed[1])
        place.unlink()
        for made in place.parents:
            if made == folder or str(made) in before:
                break
            made.rmdir()
    assert snapshot(folder) == before
    return error


# Tables
