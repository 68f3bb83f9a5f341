"""Write docs/api.md from the docstrings of the public names: `python docs/build_api.py [FILE]`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from docstring_parser import Docstring, DocstringStyle, parse

import fluid

PAGE = Path(__file__).parent / "api.md"
ORDER = (
    "load", "Model", "Federation", "PublicSet", "prepare_public", "train_teacher", "annotate",
    "approve", "distill", "EarlierRounds", "train_hybrid", "RoundFiles", "evaluate",
    "simulate", "Run", "FluidError",
)  # fmt: skip
HEAD = """# Python API

`import fluid` loads nothing heavy; each name is imported when it is first used. The commands call
these functions. Whatever goes wrong raises a `fluid.FluidError` whose message is one sentence.
Paths may be strings. This page is made from the docstrings by `make docs`.
"""


def signature(name: str, thing: Any) -> str:
    """A call with its parameters, one line each if it is long; types are left to the text."""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(thing).parameters.values()
        if parameter.name != "self"
    ]
    shown = str(inspect.Signature(parameters))
    if len(name) + len(shown) > 90:
        inside = [str(parameter) for parameter in parameters]
        first_option = next((i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY), None)
        if first_option is not None:
            inside.insert(first_option, "*")
        shown = "(\n    " + ",\n    ".join(inside) + ",\n)"
    # A default that is a function would show its address.
    return re.sub(r"<function \S+ at 0x[0-9a-f]+>", "...", f"{name}{shown}")


def prose(doc: Docstring) -> Iterator[str]:
    """Summary and description."""
    for text in (doc.short_description, doc.long_description):
        if text:
            yield text + "\n"


def listed(title: str, entries: Iterable[tuple[str, str | None]]) -> Iterator[str]:
    """A bold title and a list; nothing if there are no entries."""
    lines = [f"- `{name}`: {' '.join((text or '').split())}" for name, text in entries]
    if lines:
        yield f"**{title}**\n"
        yield "\n".join(lines) + "\n"


def described(name: str, thing: Any, level: int) -> Iterator[str]:
    """One function, class or method."""
    doc = parse(inspect.getdoc(thing) or "", style=DocstringStyle.NUMPYDOC)
    yield f"{'#' * level} `{name}`\n"
    if callable(thing) and not (inspect.isclass(thing) and issubclass(thing, Exception)):
        yield f"```python\n{signature(name, thing)}\n```\n"
    yield from prose(doc)
    attributes = [p for p in doc.params if p.args[0] == "attribute"]
    yield from listed(
        "Parameters", [(p.arg_name, p.description) for p in doc.params if p not in attributes]
    )
    yield from listed("Attributes", [(p.arg_name, p.description) for p in attributes])
    if doc.returns:
        text = " ".join((doc.returns.description or "").split())
        yield f"**Returns** `{doc.returns.type_name}`: {text}\n"
    yield from listed("Raises", [(r.type_name or "", r.description) for r in doc.raises])
    for example in doc.examples:
        text = "\n".join(part for part in (example.snippet, example.description) if part)
        yield f"```python\n{text}\n```\n"


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Public methods that the class defines itself."""
    for name, value in vars(kind).items():
        if name.startswith("_"):
            continue
        if isinstance(value, classmethod | staticmethod):
            yield name, getattr(kind, name)
        elif inspect.isfunction(value):
            yield name, value


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name in ORDER:
        thing = getattr(fluid, name)
        parts += described(f"fluid.{name}", thing, 2)
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            for method, value in methods(thing):
                parts += described(f"{name}.{method}", value, 3)
    return "\n".join(parts)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if sys.argv[1:] else PAGE
    target.write_text(page(), encoding="utf-8")
