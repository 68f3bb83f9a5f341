"""What all commands share: errors in one line, results to stdout, progress to stderr."""

from __future__ import annotations

import functools
import io
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any, ParamSpec

import typer

from fluid.base.errors import FluidError
from fluid.chem.readers import printable

Params = ParamSpec("Params")

# Seconds between two lines of progress.
_EVERY = 5.0
# Characters of an error message; a file can put any amount of text into one.
_LONGEST = 2000


def command(function: Callable[Params, None]) -> Callable[Params, None]:
    """Turn library errors into one line on stderr and exit code 1."""

    @functools.wraps(function)
    def run(*args: Params.args, **kwargs: Params.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except FluidError as error:
            _fail(str(error))
        except MemoryError:
            _fail("not enough memory; give smaller tables or fewer --jobs")
        except BrokenExecutor:
            _fail("a worker process was killed, perhaps because memory ran out; try fewer --jobs")
        except UnicodeEncodeError as error:
            shown = error.object[max(0, error.start - 40) : error.end + 40]
            _fail(f"'{printable(shown)}' cannot be written as UTF-8; allowed is UTF-8 text")
        except OSError as error:
            _fail(f"{error.filename or 'input or output'}: {error.strerror or error}")

    return run


def _fail(message: str) -> None:
    line = printable(" ".join(message.split()))
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
    print("error: " + line, file=sys.stderr)
    raise SystemExit(1)


def set_up_logging(verbose: bool) -> None:
    """Send the library's log to stderr: warnings, or with ``--verbose`` everything."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s: %(message)s",
        force=True,
    )
    logging.captureWarnings(True)


class Progress:
    """Prints to stderr how far a command is and how fast it goes, at most every few seconds.

    Parameters
    ----------
    what
        What is counted, such as ``"compounds"``.
    total
        How many there are, if that is known.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self.what = what
        self.total = total
        self.last, self.done = time.monotonic(), 0

    def __call__(self, done: int) -> None:
        """Report a count."""
        now = time.monotonic()
        if now - self.last >= _EVERY:
            # Since the last line: rows that an interrupted run had finished would inflate the rate.
            # One stage counts after the other, each from 0.
            rate = (done - (self.done if done > self.done else 0)) / (now - self.last)
            self.last, self.done = now, done
            whole = "" if self.total is None else f" of {self.total:,}"
            print(f"{done:,}{whole} {self.what}, {rate:,.0f} a second", file=sys.stderr, flush=True)


def stage(name: str) -> None:
    """Print the current stage to stderr."""
    print(name, file=sys.stderr, flush=True)


def emit(as_json: bool, value: Any, text: Callable[[], str]) -> None:
    """Print a result: as JSON for machines, or as `text` for people."""
    if as_json:
        shown = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        try:
            shown.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            shown = json.dumps(value, indent=2, allow_nan=False)
    else:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A name or unit that the terminal cannot encode must not fail the command.
            sys.stdout.reconfigure(errors="backslashreplace")
        shown = "\n".join(printable(line) for line in text().split("\n"))
    try:
        print(shown, flush=True)
    except BrokenPipeError:
        # The reader of our output has closed it (`fluid ... | head`): not our error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Plain text with aligned columns; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [
        max(len(name), *(len(row[i]) for row in cells)) if cells else len(name)
        for i, name in enumerate(header)
    ]
    numeric = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        parts = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, cells)])


def _is_number(cell: str) -> bool:
    return bool(cell) and (cell[0].isdigit() or cell[0] in "+-." or cell == "")


def pairs(values: dict[str, object]) -> str:
    """Names and values below one another."""
    width = max(len(name) for name in values)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in values.items())


def parse_labels(options: Sequence[str]) -> dict[str, str]:
    """``TASK=COLUMN`` options as a mapping; wrong usage exits 2."""
    labels: dict[str, str] = {}
    for option in options:
        task, sign, column = option.partition("=")
        if not sign or not task or not column:
            raise typer.BadParameter(f"'{option}' is not of the form TASK=COLUMN")
        if task in labels:
            raise typer.BadParameter(f"'{option}': the task has column '{labels[task]}' already")
        labels[task] = column
    return labels
