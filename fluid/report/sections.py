"""The description of an annotation as sections, which text and web page show alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_LONGEST = 300
# What tells attacks apart, and what is shown of each.
_KIND = ("task", "channel", "known", "export", "class")
_OF_ATTACKS = (
    "task", "channel", "known", "export", "class", "name", "auc", "auc_low", "auc_high",
    "tpr_at_1", "tpr_at_01", "epsilon_low",
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A heading and a table.

    Attributes
    ----------
    title, note
        What it is about, and a sentence below; empty for none.
    header
        Names of columns; empty for names and values below one another.
    rows
        Cells.
    """

    title: str
    note: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def annotation_sections(found: dict[str, Any]) -> list[Section]:
    """The sections of what `fluid.report.inspect.inspect_path` says of an annotation."""
    sections = [
        _head(found),
        _columns(found["columns"]),
        Section(
            "What is withheld, and why", "", ("what", "why"),
            [(item["what"], item["why"]) for item in found["withheld"]],
        ),
        _policy(found["policy"]),
        _budget(found["budget"]),
    ]  # fmt: skip
    if found.get("noise"):
        sections.append(_noise(found["noise"]))
    if found["shared"]:
        sections.append(
            Section(
                "Stated besides the labels", "", ("what", "value"),
                [(str(name), _text(value)) for name, value in found["shared"].items()],
            )
        )  # fmt: skip
    if "audit" in found:
        sections += _audit(found["audit"])
    if found["footer"]:
        sections.append(
            Section(
                "WRONG: the file's footer holds more than fluid writes", "", ("name", "value"),
                [(str(name), _text(value)) for name, value in found["footer"].items()],
            )
        )  # fmt: skip
    manifest = [(str(name), _text(value)) for name, value in found["manifest"].items()]
    sections.append(Section("The file says of itself", "", ("key", "value"), manifest))
    if found["first_rows"]:
        names = tuple(found["first_rows"][0])
        rows = [tuple(_text(row[name]) for name in names) for row in found["first_rows"]]
        sections.append(Section("Its first rows", "", names, rows))
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
        f"{task['labelled']:,} labelled, {task['silent']:,} silent"
        for task in found["tasks"]
    ]
    rows = [
        ("file", str(found["path"])),
        ("partner", _text(found["partner"])),
        ("federation", f"{_text(found['federation'])}, round {_text(found['round'])}"),
        ("compounds", f"{found['rows']:,}, all of the public set"),
        *((f"task {number}", text) for number, text in enumerate(tasks, start=1)),
        *(_corrects(found["base_student"]) if found.get("base_student") else ()),
        ("digest that is signed", str(found["digest"])),
        ("signature", str(found["signature"])),
    ]
    note = (
        "Predictions of a partner's model for public compounds. The file has the columns listed "
        "below and no others."
    )
    return Section("Annotation", note, (), rows)


def _corrects(digest: str) -> tuple[tuple[str, str], ...]:
    return (("corrects the numbers of", f"the student with model.json of digest {digest}"),)


def _columns(columns: Sequence[dict[str, Any]]) -> Section:
    rows = []
    for column in columns:
        there = f"{column['min']:g} to {column['max']:g}" if "min" in column else ""
        if column.get("not_finite"):
            there += f" WRONG: {column['not_finite']} not finite (nan or inf)"
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
    header = ("column", "unit", "allowed", "found", "different", "null", "meaning")
    return Section("Columns, all of them", "", header, rows)


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
    """What a mechanism promises of these labels, as the file states it."""

    def part(name: str) -> dict[str, Any]:
        found = noise.get(name) if isinstance(noise, dict) else None
        return found if isinstance(found, dict) else {}

    def promise(cost: dict[str, Any]) -> str:
        return f"epsilon {_figure(cost.get('epsilon'))} at delta {_text(cost.get('delta'))}"

    release, settings = part("release"), part("settings")
    rows = [
        ("mechanism", _text(release.get("mechanism"))),
        ("protected", f"one {_text(release.get('unit'))}"),
        ("this release", promise(release)),
        ("with all before it", promise(part("total"))),
        ("accounted by", _text(release.get("accountant"))),
        *((f"asked, {task}", _text(count)) for task, count in part("asked").items()),
        *(
            (f"answered at most, {task}", _text(count))
            for task, count in part("answered_at_most").items()
        ),
        *((str(name), _text(value)) for name, value in settings.items()),
    ]
    note = "Labels have passed noise; uncertainties are withheld, reliabilities a constant."
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
            ("releases until now", f"{budget['releases_used']:,} ({left:,} left)"),
            (
                "compounds until now",
                f"{budget['queries_used']:,} "
                f"({budget['max_queries'] - budget['queries_used']:,} left)",
            ),
            *((name, f"{value:g} spent") for name, value in budget["cost"].items()),
            (
                "this file",
                "is in the ledger" if budget["entered"] else "WRONG: is not in this ledger",
            ),
            *(("approved", f"{entry['time']}, {entry['key']}") for entry in budget["approved"]),
        ]
        note = f"The ledger was verified: {budget['ledger_entries']:,} entries."
    else:
        note = "As the file states it; with the teacher's folder at hand the ledger is verified."
    return Section("Budget", note, (), rows)


def _audit(audit: dict[str, Any]) -> list[Section]:
    verdict = audit.get("verdict")
    title = f"Audit: {verdict}" if verdict in ("pass", "undecided") else "Audit: NOT PASSED"
    head = [
        (str(name), _text(value))
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
            "Whether a compound was in the private data can be told better than by chance from: "
            f"{', '.join(succeeded)}. The verdict says whether the federation's policy allows that."
        )
    sections = [Section(title, note, (), head)]
    attacks = audit.get("attacks") or []
    strongest = _strongest(attacks)
    if strongest:
        known = [name for name in _OF_ATTACKS if any(name in attack for attack in strongest)]
        names = tuple(known or map(str, strongest[0]))
        rows = [tuple(_figure(attack.get(name)) for name in names) for attack in strongest]
        note = f"{len(attacks):,} in all; of each kind the one with the highest AUC."
        sections.append(Section("Attacks tried", note, names, rows))
    return sections


def _strongest(attacks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each kind of attack the one with the highest AUC."""
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
