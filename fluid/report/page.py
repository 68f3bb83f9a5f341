"""Sections as one web page that needs nothing else: no scripts, no other resources."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from fluid.base.show import shown
from fluid.report.sections import Section

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1d2630; background: #fff; margin: 2.5rem auto;
  max-width: 72rem; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; border-bottom: 2px solid #2f6f73;
  padding-bottom: .2rem; }
p { margin: .3rem 0 .6rem; color: #48545f; }
div { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .32rem .7rem .32rem 0;
  border-bottom: 1px solid #dde3e6; overflow-wrap: break-word; }
th { color: #48545f; font-weight: 600; min-width: 5.5rem; }
tr.wrong td, tr.wrong th { color: #a3121f; font-weight: 600; }
h2.wrong { color: #a3121f; border-color: #a3121f; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
@media print { body { margin: 0; font-size: 11px; } }
"""
# Tells the browser to fetch nothing and to run nothing.
_SECURITY = "default-src 'none'; style-src 'unsafe-inline'"
# Characters of a text; a file can state names of any length.
_LONGEST = 1000
_ALARMS = ("WRONG", "NOT PASSED", "unsigned draft")


def web_page(title: str, sections: Sequence[Section]) -> str:
    """A complete HTML document.

    Every text becomes a text node of a tree, so that markup in a name is shown and has no effect.

    Parameters
    ----------
    title
        Title of the page.
    sections
        The sections it shows.
    """
    page = ElementTree.Element("html", lang="en")
    head = ElementTree.SubElement(page, "head")
    ElementTree.SubElement(head, "meta", charset="utf-8")
    policy = {"http-equiv": "Content-Security-Policy", "content": _SECURITY}
    ElementTree.SubElement(head, "meta", policy)
    ElementTree.SubElement(head, "title").text = _text(title)
    ElementTree.SubElement(head, "style").text = _STYLE
    body = ElementTree.SubElement(page, "body")
    ElementTree.SubElement(body, "h1").text = _text(title)
    for section in sections:
        _add(body, section)
    return (
        "<!DOCTYPE html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"
    )


def _add(body: ElementTree.Element, section: Section) -> None:
    heading = ElementTree.SubElement(body, "h2")
    heading.text = _text(section.title)
    if _alarming(section.title):
        heading.set("class", "wrong")
    if section.note:
        ElementTree.SubElement(body, "p").text = _text(section.note)
    table = ElementTree.SubElement(ElementTree.SubElement(body, "div"), "table")
    if section.header:
        line = ElementTree.SubElement(ElementTree.SubElement(table, "thead"), "tr")
        for name in section.header:
            ElementTree.SubElement(line, "th", scope="col").text = _text(name)
    rows = ElementTree.SubElement(table, "tbody")
    for cells in section.rows:
        line = ElementTree.SubElement(rows, "tr")
        if any(_alarming(cell) for cell in cells):
            line.set("class", "wrong")
        for number, cell in enumerate(cells):
            if not section.header and number == 0:
                entry = ElementTree.SubElement(line, "th", scope="row")
            else:
                entry = ElementTree.SubElement(line, "td")
                if _is_number(cell):
                    entry.set("class", "number")
            entry.text = _text(cell)


def _text(value: str) -> str:
    return shown(value, _LONGEST)


def _alarming(text: str) -> bool:
    return any(word in text for word in _ALARMS)


def _is_number(cell: str) -> bool:
    # Longer ones are digests that happen to hold no letter.
    return bool(cell) and len(cell) < 16 and cell.replace(".", "").strip("-+%,").isdigit()
