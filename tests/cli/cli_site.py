"""A small federation on disk, the commands run in process, and what a refusal looks like."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from fluid.cli.main import app
from typer.testing import CliRunner

from fluid.exchange.annotation import SCHEMA as ANNOTATION
from fluid.exchange.sealed import open_sealed, write_sealed
from fluid.exchange.signing import load_private_key, sign_digest

DATA = Path(__file__).parents[2] / "data"
PARTNERS = ("aurora", "draco", "eridanus")
TASKS = ("bbb:binary:BBB-,BBB+", "logbb:regression:log10(brain/blood):-4:4")
QUICK = ("--folds", "3", "--repeats", "1", "--jobs", "1")
# Without typer's entry point: the same code as the console script, with this interpreter.
FLUID = (sys.executable, "-c", "from fluid.cli.main import app; app()")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind on its streams."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one line that says what was wrong."""
        lines = self.stderr.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        assert len(errors) == 1, self.stderr
        assert lines[-1] == errors[0], self.stderr
        assert "Traceback" not in self.stderr
        return errors[0]


def run(*arguments: object) -> Outcome:
    """Run a command in this process; an exception that it does not catch is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def done(*arguments: object) -> Outcome:
    """Run a command that must succeed."""
    outcome = run(*arguments)
    assert outcome.code == 0, outcome.stderr
    return outcome


def refused(*arguments: object) -> str:
    """Run a command that must fail with one clear line, which is returned."""
    outcome = run(*arguments)
    assert outcome.code == 1, (outcome.code, outcome.stdout, outcome.stderr)
    assert outcome.stdout == ""
    error = outcome.error
    assert len(error) < 2500
    assert error.isprintable()
    return error


def spawn(*arguments: object, **options: Any) -> Outcome:
    """Run a command as a process of its own."""
    command = [*FLUID, *(str(argument) for argument in arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    return Outcome(ended.returncode, ended.stdout, ended.stderr)


def snapshot(*paths: Path) -> dict[str, str]:
    """Digest of every file below some paths, hidden ones too; folders by their name."""
    found = {}
    for path in paths:
        for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
            if item.is_file():
                found[str(item)] = hashlib.sha256(item.read_bytes()).hexdigest()
            elif item.is_dir():
                found[str(item)] = "folder"
    return found


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file that a command wrote."""
    csv.field_size_limit(1 << 24)
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def first_lines(source: Path, target: Path, count: int) -> Path:
    """The header and the first rows of a table, byte for byte."""
    target.write_bytes(b"".join(source.read_bytes().splitlines(keepends=True)[: count + 1]))
    return target


@dataclass(frozen=True)
class Site:
    """Where everything of a finished round lies. Tests read it and write elsewhere."""

    folder: Path

    @property
    def federation(self) -> Path:
        return self.folder / "federation.toml"

    @property
    def public(self) -> Path:
        return self.folder / "public.parquet"

    @property
    def public_table(self) -> Path:
        return self.folder / "public.csv"

    @property
    def external(self) -> Path:
        return self.folder / "external.csv"

    @property
    def federated(self) -> Path:
        return self.folder / "round1" / "federated.parquet"

    @property
    def student(self) -> Path:
        return self.folder / "round1" / "student"

    @property
    def annotations(self) -> list[Path]:
        return [self.annotation(partner) for partner in PARTNERS]

    def table(self, partner: str) -> Path:
        return self.folder / f"{partner}.csv"

    def teacher(self, partner: str) -> Path:
        return self.folder / partner / "teacher"

    def hybrid(self, partner: str) -> Path:
        return self.folder / partner / "hybrid"

    def annotation(self, partner: str) -> Path:
        return self.folder / partner / "annotation.parquet"

    def key(self, partner: str) -> Path:
        return self.folder / "keys" / f"{partner}.key"

    # The commands with everything in order; what is given comes last and wins.

    def train(self, output: Path, table: Path | None = None, *more: object) -> list[object]:
        return [
            "train-teacher", table or self.table("aurora"), "--federation", self.federation,
            "--partner", "aurora", "-o", output, *QUICK, *more,
        ]  # fmt: skip

    def prepare(self, output: Path, table: Path | None = None, *more: object) -> list[object]:
        return [
            "prepare-public", table or self.public_table, "--federation", self.federation,
            "-o", output, "--jobs", 1, *more,
        ]  # fmt: skip

    def annotate(self, output: Path, *more: object, teacher: Path | None = None) -> list[object]:
        return [
            "annotate", teacher or self.teacher("aurora"), self.public,
            "--key", self.key("aurora"), "-o", output, "--jobs", 1, *more,
        ]  # fmt: skip

    def distill(
        self,
        output: Path,
        annotations: Sequence[Path] | None = None,
        public: Path | None = None,
        federation: Path | None = None,
    ) -> list[object]:
        return [
            "distill", *(self.annotations if annotations is None else annotations),
            "--public", public or self.public, "--federation", federation or self.federation,
            "-o", output, "--jobs", 1,
        ]  # fmt: skip

    def blend(self, output: Path, *more: object) -> list[object]:
        return [
            "train-hybrid", self.table("aurora"), "--federated", self.federated,
            "--student", self.student, "--federation", self.federation, "-o", output,
            "--folds", 3, "--jobs", 1, *more,
        ]  # fmt: skip

    def predict(self, output: Path, table: Path | None = None, *more: object) -> list[object]:
        return [
            "predict", self.student, table or self.external, "-o", output, "--jobs", 1, *more
        ]  # fmt: skip

    def evaluate(self, table: Path | None = None, *more: object) -> list[object]:
        return [
            "evaluate", self.student, "--data", table or self.external, "--draws", 100,
            "--jobs", 1, *more,
        ]  # fmt: skip

    def forge(
        self,
        path: Path,
        table: pa.Table | None = None,
        changes: dict[str, Any] | None = None,
        signer: str | None = "aurora",
    ) -> Path:
        """Aurora's annotation with other content or statements, sealed and signed all the same."""
        sealed = open_sealed(self.annotation("aurora"), ANNOTATION)
        content = table if table is not None else self.content()
        manifest = {**sealed.manifest, **(changes or {})}
        sign = partial(sign_digest, load_private_key(self.key(signer))) if signer else None
        batches = iter(content.to_batches())
        write_sealed(path, content.schema, batches, lambda count: manifest, sign)
        return path

    def content(self) -> pa.Table:
        """The rows of aurora's annotation."""
        sealed = open_sealed(self.annotation("aurora"), ANNOTATION)
        return pa.Table.from_batches(list(sealed.batches()))

    def content_with(self, column: str, row: int, value: object) -> pa.Table:
        """The rows of aurora's annotation with one value replaced."""
        content = self.content()
        position = content.schema.get_field_index(column)
        values = content[column].to_pylist()
        values[row] = value
        field = content.schema.field(position)
        return content.set_column(position, field, pa.array(values, type=field.type))


def build_site(folder: Path) -> Site:
    """Run a whole round of three partners, by the commands."""
    site = Site(folder)
    tasks = [part for task in TASKS for part in ("--task", task)]
    # Without descriptors: half the time, and no bad input depends on them.
    features = ("--descriptors", "none")
    done("init-federation", "--name", "trial", *tasks, *features, "-o", site.federation)
    for partner in PARTNERS:
        done("keygen", partner, "-o", folder / "keys", "--federation", site.federation)
    first_lines(DATA / "public.csv", site.public_table, 180)
    first_lines(DATA / "external.csv", site.external, 60)
    done(*site.prepare(site.public))
    for partner, rows in zip(PARTNERS, (140, 130, 110), strict=True):
        table = first_lines(DATA / "partners" / f"{partner}.csv", site.table(partner), rows)
        done(
            "train-teacher", table, "--federation", site.federation, "--partner", partner,
            "-o", site.teacher(partner), *QUICK,
        )  # fmt: skip
        done(
            "annotate", site.teacher(partner), site.public, "--key", site.key(partner),
            "-o", site.annotation(partner), "--jobs", 1,
        )  # fmt: skip
    done(*site.distill(folder / "round1"))
    done(*site.blend(site.hybrid("aurora")))
    return site
