"""The description of an annotation as sections, which text and web page show alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Characters of a value that are shown: enough for all but lists of settings.
_LONGEST = 300
# What makes two attacks the same kind, and what is shown of each under which heading.
_KIND = ("task", "channel", "known", "export", "class")
_ATTACK_HEADINGS = {
    "task": "task",
    "channel": "channel",
    "known": "data known",
    "export": "export",
    "class": "class",
    "name": "attack",
    "auc": "ROC-AUC",
    "auc_low": "from",
    "auc_high": "to",
    "tpr_at_1": "TPR at 1% FPR",
    "tpr_at_01": "TPR at 0.1% FPR",
    "epsilon_low": "epsilon at least",
}
_AUDIT_HEADINGS = {
    "public_set": "public set",
    "base_student": "student",
    "threshold": "highest ROC-AUC allowed, own row",
    "threshold_neighbours": "highest ROC-AUC allowed, neighbours",
}


@dataclass(frozen=True)
class Section:
    """A heading and a table.

    Attributes
    ----------
    title, note
        The heading, and a sentence below it; empty for none.
    header
        Names of columns; empty for a list of names and values.
    rows
        Cells.
    """

    title: str
    note: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def annotation_sections(found: dict[str, Any]) -> list[Section]:
    """The sections of an annotation, from what `fluid.report.inspect.inspect_path` returns."""
    sections = [
        _head(found),
        _columns(found["columns"]),
        Section(
            "What is withheld, and why",
            "",
            ("what", "why"),
            [(item["what"], item["why"]) for item in found["withheld"]],
        ),
        _policy(found["policy"]),
        _budget(found["budget"]),
    ]
    if found.get("noise"):
        sections.append(_noise(found["noise"]))
    if found["shared"]:
        shared = [(str(name), _text(value)) for name, value in found["shared"].items()]
        sections.append(Section("Shared in addition to the labels", "", ("what", "value"), shared))
    if "audit" in found:
        sections += _audit(found["audit"])
    if "problem" in found:
        problem = [("problem", _text(found["problem"]))]
        sections.append(Section("WRONG: this file will be refused", "", (), problem))
    manifest = [(str(name), _text(value)) for name, value in found["manifest"].items()]
    sections.append(Section("Manifest of the file", "", ("key", "value"), manifest))
    if found["first_rows"]:
        names = tuple(found["first_rows"][0])
        rows = [tuple(_text(row[name]) for name in names) for row in found["first_rows"]]
        sections.append(Section("First rows", "", names, rows))
    return sections


def _text(value: Any) -> str:
    if value is None:
        return ""
    if type(value) is int:
        return f"{value:,}"
    if value in ([], {}):
        return "nothing"
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + "..."


def _head(found: dict[str, Any]) -> Section:
    tasks = [
        f"{task['name']} ({task['kind']}{', ' + task['unit'] if task['unit'] else ''}): "
        f"{task['labelled']:,} labelled, {task['abstained']:,} abstained"
        for task in found["tasks"]
    ]
    rows = [
        ("file", str(found["path"])),
        ("partner", _text(found["partner"])),
        ("federation", f"{_text(found['federation'])}, round {_text(found['round'])}"),
        ("compounds", f"{found['rows']:,}, all of the public set"),
        *((f"task {number}", text) for number, text in enumerate(tasks, start=1)),
        *_base_student(found.get("base_student")),
        ("signed digest", str(found["digest"])),
        ("signature", str(found["signature"])),
    ]
    note = (
        "Predictions of a partner's model for public compounds. The file has the columns listed "
        "below and no others."
    )
    return Section("Annotation", note, (), rows)


def _base_student(digest: str | None) -> tuple[tuple[str, str], ...]:
    if not digest:
        return ()
    return (("student", f"regression labels start from the student {digest}"),)


def _columns(columns: Sequence[dict[str, Any]]) -> Section:
    rows = []
    for column in columns:
        there = f"{column['min']:g} to {column['max']:g}" if "min" in column else ""
        if column.get("not_finite"):
            there += f" WRONG: {column['not_finite']} not finite (NaN or infinite)"
        rows.append(
            (
                column["name"],
                column["unit"],
                column["allowed"],
                there,
                f"{column['distinct']:,}" if "distinct" in column else "",
                f"{column['missing_share']:.1%}",
                column["meaning"],
            )
        )
    header = ("column", "unit", "allowed", "found", "distinct", "missing", "meaning")
    return Section("All columns", "", header, rows)


def _policy(settings: Sequence[dict[str, Any]]) -> Section:
    compared = "federation" in settings[0]
    header = ("setting", "in force", *(("federation's",) if compared else ()), "meaning")
    rows = []
    for entry in settings:
        agreed: tuple[str, ...] = ()
        if compared:
            note = " (partner is stricter)" if entry.get("stricter") else ""
            agreed = (_text(entry.get("federation")) + note,)
        rows.append((entry["setting"], _text(entry["value"]), *agreed, entry["meaning"]))
    return Section("Disclosure policy", "", header, rows)


def _noise(noise: Any) -> Section:
    """The guarantee of the noise mechanism, as the file states it."""

    def part(name: str) -> dict[str, Any]:
        found = noise.get(name) if isinstance(noise, dict) else None
        return found if isinstance(found, dict) else {}

    def promise(cost: dict[str, Any]) -> str:
        return f"epsilon {_figure(cost.get('epsilon'))} at delta {_text(cost.get('delta'))}"

    release, settings = part("release"), part("settings")
    rows = [
        ("mechanism", _text(release.get("mechanism"))),
        ("protects", f"one {_text(release.get('unit'))}"),
        ("this release", promise(release)),
        ("all releases so far", promise(part("total"))),
        ("accounted by", _text(release.get("accountant"))),
        *((f"asked, {task}", _text(count)) for task, count in part("asked").items()),
        *(
            (f"answered at most, {task}", _text(count))
            for task, count in part("answered_at_most").items()
        ),
        *((str(name), _text(value)) for name, value in settings.items()),
    ]
    note = "Noise was added to the labels. Uncertainties are withheld; reliabilities are constant."
    return Section("Noise mechanism", note, (), rows)


def _budget(budget: dict[str, Any]) -> Section:
    rows = [
        ("release", f"{budget['release']:,} of at most {budget['max_releases']:,}"),
        (
            "compounds labelled",
            f"{budget['queries']:,} with this release, of at most {budget['max_queries']:,}",
        ),
        ("ledger", budget["ledger"]),
    ]
    if "entered" in budget:
        left = budget["max_releases"] - budget["releases_used"]
        rows += [
            ("releases so far", f"{budget['releases_used']:,} ({left:,} left)"),
            (
                "compounds so far",
                f"{budget['queries_used']:,} "
                f"({budget['max_queries'] - budget['queries_used']:,} left)",
            ),
            *((name, f"{value:g} spent") for name, value in budget["cost"].items()),
            (
                "this file",
                "is in the ledger" if budget["entered"] else "WRONG: is not in the ledger",
            ),
            *(("approved", f"{entry['time']}, {entry['key']}") for entry in budget["approved"]),
        ]
        note = f"The ledger was verified: {budget['ledger_entries']:,} entries."
    else:
        note = "As the file states it. Give the teacher's folder to verify the ledger."
    return Section("Budget", note, (), rows)


def _audit(audit: dict[str, Any]) -> list[Section]:
    verdict = audit.get("verdict")
    title = f"Audit: {verdict}" if verdict in ("pass", "undecided") else "Audit: NOT PASSED"
    head = [
        (_AUDIT_HEADINGS.get(name, str(name)), _text(value))
        for name, value in audit.items()
        if name != "schema" and not isinstance(value, dict | list)
    ]
    succeeded = [
        f"{one['channel']} (ROC-AUC up to {_figure(one.get('highest_auc'))})"
        for one in audit.get("channels") or []
        if isinstance(one, dict) and one.get("above_chance") and "channel" in one
    ]
    note = ""
    if succeeded:
        note = (
            "An attacker does better than chance at guessing whether a compound is in the private "
            f"data, from: {', '.join(succeeded)}. The verdict says whether the policy allows that."
        )
    sections = [Section(title, note, (), head)]
    attacks = audit.get("attacks") or []
    strongest = _strongest(attacks)
    if strongest:
        known = [name for name in _ATTACK_HEADINGS if any(name in attack for attack in strongest)]
        names = known or list(strongest[0])
        rows = [tuple(_figure(attack.get(name)) for name in names) for attack in strongest]
        note = f"{len(attacks):,} in all. The table shows the strongest of each kind."
        header = tuple(_ATTACK_HEADINGS.get(name, str(name)) for name in names)
        sections.append(Section("Attacks tried", note, header, rows))
    return sections


def _strongest(attacks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The attack with the highest AUC of each kind."""
    best: dict[str, dict[str, Any]] = {}
    for attack in attacks:
        kind = repr([attack.get(name) for name in _KIND])
        if kind not in best or _auc(attack) > _auc(best[kind]):
            best[kind] = attack
    return list(best.values())


def _auc(attack: dict[str, Any]) -> float:
    value = attack.get("auc")
    return float(value) if isinstance(value, int | float) else -1.0


def _figure(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else _text(value)
