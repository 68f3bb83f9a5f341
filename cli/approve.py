"""Commands that let an annotation leave, and list those that left: approve, ledger."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fluid.cli.console import command, emit, pairs, table
from fluid.cli.inspect import show_disclosure
from fluid.cli.options import FederationOfRound, Json
from fluid.cli.outputs import is_sealed, output_file

if TYPE_CHECKING:
    from fluid.partner.release.ledger_file import Entry


@command
def approve(
    draft: Annotated[Path, typer.Argument(help="An annotation that `fluid annotate` wrote.")],
    key: Annotated[Path, typer.Option(help="The partner's private key.")],
    teacher: Annotated[Path, typer.Option(help="Folder of the teacher that made the draft.")],
    federation: FederationOfRound = None,
    audit: Annotated[
        Path | None,
        typer.Option(help="Result of `fluid audit`, to show, and to enter in the ledger."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The signed file; by default it replaces the draft."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; refuse a failed audit.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a draft gives away, and sign it. The coordinator takes signed files only.

    The approval is entered in the teacher's ledger. What a key signed for is noted beside it and
    in the user's state folder, by the public key. That detects a teacher's folder restored from a
    backup, and adds up the releases of all folders.

    \b
    Example:
        fluid approve aurora/annotation.parquet --key keys/aurora.key --teacher aurora/teacher
    """
    from fluid.base.errors import FluidError
    from fluid.exchange.annotation import SCHEMA as ANNOTATION
    from fluid.exchange.annotation import open_annotation
    from fluid.partner.release.approve import approve as sign
    from fluid.partner.release.approve import load_audit
    from fluid.partner.teacher.folder import FEDERATION_FILE
    from fluid.report.inspect import inspect_path

    annotation = open_annotation(draft)
    found = inspect_path(
        draft, federation or teacher / FEDERATION_FILE, teacher=teacher, audit=audit
    )
    # In --json standard output is for the result alone.
    print(show_disclosure(found), file=sys.stderr if as_json else sys.stdout, flush=True)
    report = load_audit(audit, annotation) if audit is not None else None
    failed = report is not None and not report.passed
    if yes and failed:
        raise FluidError(f"{audit}: the audit did not pass; approve by hand, without --yes")
    if not yes and not _agreed(draft, failed):
        raise FluidError(f"{draft}: not approved; nothing was signed")
    target = output or draft
    given = [item for item in (draft, key, teacher, federation, audit) if item is not None]
    # By default the output replaces the draft, wherever that is.
    inputs = [item for item in given if output is not None or item not in (draft, teacher)]
    with output_file(target, inputs, "annotation", is_sealed(ANNOTATION)):
        approval = sign(
            draft,
            teacher,
            key,
            federation=federation,
            audit=report,
            output=output,
            digest=found["digest"],
        )

    def text() -> str:
        return "\n" + pairs(
            {
                "written": target,
                "digest": approval.digest,
                "signed": f"yes, with {approval.key}",
                "release": f"{approval.release:,}, entry {approval.entry:,} of the ledger",
            }
        )

    emit(as_json, {"path": str(target), **approval.to_dict()}, text)


def _agreed(draft: Path, failed: bool) -> bool:
    question = f"Sign {draft}, so that it may leave?"
    if failed:
        question = f"The audit did NOT pass. {question}"
    try:
        return bool(typer.confirm(question, err=True))
    except typer.Abort:
        return False


@command
def ledger(
    teacher: Annotated[Path, typer.Argument(help="A teacher's folder.")],
    key: Annotated[
        Path | None,
        typer.Option(help="The partner's private key: compare with what it has signed for."),
    ] = None,
    federation: Annotated[
        Path | None,
        typer.Option("--federation", "-f", help="Verify approvals with the registered key."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify the ledger of a teacher and show its entries.

    Every entry holds the hash of the one before, which detects any change. --key also detects
    entries cut off at the end, if they were there when that key signed last.

    \b
    Example:
        fluid ledger aurora/teacher --key keys/aurora.key
    """
    from fluid.exchange.federation import Federation
    from fluid.partner.release.approve import check_approvals
    from fluid.partner.release.key_checkpoint import open_checkpoint
    from fluid.partner.release.ledger import read_ledger

    book = read_ledger(teacher)
    check_approvals(book, Federation.load(federation) if federation is not None else None)
    if key is not None:
        open_checkpoint(key).check(book)
    value = {
        "ledger": book.name,
        "verified": True,
        "compared_with_key": key is not None,
        "releases": book.releases,
        "queries": book.queries,
        "cost": book.cost(),
        "head": book.head,
        "entries": [entry.to_dict() for entry in book.entries],
    }

    def text() -> str:
        shown: dict[str, object] = {
            "ledger": book.name,
            "verified": f"yes, {len(book.entries):,} entries"
            + ("" if key else "; --key checks that none is missing at the end"),
            "charged": f"{book.releases:,} releases, {book.queries:,} compounds",
            **{f"spent, {name}": f"{spent:g}" for name, spent in book.cost().items()},
            "head": book.head,
        }
        header = ["entry", "time", "what", "release", "compounds", "digest", "note"]
        return pairs(shown) + "\n\n" + table(header, [_row(entry) for entry in book.entries])

    emit(as_json, value, text)


def _row(entry: Entry) -> list[object]:
    values = entry.values
    digest = str(values.get("digest") or values.get("public_set") or "")
    return [
        entry.index,
        entry.time,
        entry.kind,
        values.get("release", ""),
        values.get("compounds", ""),
        digest[:12],
        _note(entry.kind, values),
    ]


def _note(kind: str, values: dict[str, Any]) -> str:
    if kind == "opened":
        return f"partner {values['partner']}"
    if kind == "query":
        again = "" if values["charged"] else "; made again, not charged"
        return f"{values['federation']}, round {values['round']}{again}"
    if kind == "approved":
        return str(values["key"]) + (f"; audit {values['verdict']}" if values.get("audit") else "")
    return f"model {values['model'][:12]}" if kind == "trained" else ""
