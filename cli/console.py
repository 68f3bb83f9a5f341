"""What all commands share: errors in one line, results to stdout, progress to stderr."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TextIO, cast

import typer

from fluid.base.errors import FluidError
from fluid.base.show import shown, shown_json, shown_lines

Params = ParamSpec("Params")

# Seconds between two lines of progress.
_EVERY = 5.0
# Characters of a message, of one quoted name in it, and of a cell of a table; a file can put any
# amount of text into one.
_LONGEST = 2000
_LONGEST_QUOTE = 200
_LONGEST_CELL = 500
_LONGEST_VALUE = 1000
_BLANKS = re.compile("[\x00-\x20\x7f]+")
_QUOTED = re.compile("'([^']*)'")


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
            text = error.object[max(0, error.start - 40) : error.end + 40]
            _fail(f"'{text}' cannot be written as UTF-8; allowed is UTF-8 text")
        except OSError as error:
            _fail(f"{error.filename or 'input or output'}: {error.strerror or error}")

    return run


def _fail(message: str) -> None:
    print("error: " + one_line(message), file=sys.stderr)
    raise SystemExit(1)


def one_line(message: str) -> str:
    """A message as one visible line; long names in it, and all of it, are cut in the middle."""
    line = " ".join(_BLANKS.split(message)).strip()
    quotes = _QUOTED.sub(lambda found: f"'{shown(found[1], _LONGEST_QUOTE)}'", line)
    return shown(quotes, _LONGEST)


class _OneLine(logging.Formatter):
    """A record as one line, whatever its arguments hold."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname}: {one_line(record.getMessage())}"


class _Guarded:
    """A stream on which nothing invisible is written but line ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(shown_lines(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Escape control and format characters on stdout and stderr, whoever writes them."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _Guarded(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def set_up_logging(verbose: bool) -> None:
    """Send the library's log to stderr: warnings, or with ``--verbose`` everything."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(handlers=[handler], level=level, force=True)
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
        content = shown_json(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
        try:
            content.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            content = json.dumps(value, indent=2, allow_nan=False)
    else:
        if hasattr(sys.stdout, "reconfigure"):
            # A name or unit that the terminal cannot encode must not fail the command.
            sys.stdout.reconfigure(errors="backslashreplace")
        content = text()
    try:
        print(content, flush=True)
    except BrokenPipeError:
        # The reader of our output has closed it (`fluid ... | head`): not our error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Plain text with aligned columns; numbers to the right."""
    header = [shown(name, _LONGEST_CELL) for name in header]
    cells = [[shown(cell, _LONGEST_CELL) for cell in row] for row in rows]
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


def pairs(values: dict[str, object], limit: int | None = _LONGEST_VALUE) -> str:
    """Names and values below one another, each on one line; values cut at `limit` characters."""
    return aligned([(name, value) for name, value in values.items()], limit)


def aligned(rows: Sequence[Sequence[object]], limit: int | None = _LONGEST_VALUE) -> str:
    """`pairs` of names that may occur twice."""
    lines = [(shown(name, _LONGEST_CELL), shown(value, limit)) for name, value in rows]
    width = max((len(name) for name, _ in lines), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in lines)


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
