"""Figures of the code's structure: `python -m benchmarks.structure [ROOT ...]`, a column each.

With a second root, such as a checkout of another version, both stand side by side.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MANY, TOO_MANY = 7, 9

Functions = ast.FunctionDef | ast.AsyncFunctionDef


def sources(root: Path, folder: str) -> dict[str, str]:
    """Text of every Python file of a folder, by its path under the root."""
    return {
        str(path.relative_to(root)): path.read_text(encoding="utf-8")
        for path in sorted((root / folder).rglob("*.py"))
    }


def parameters(function: Functions) -> int:
    """How many parameters a function has, `self` and `cls` aside."""
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def functions(files: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Every function's place and number of parameters."""
    for path, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Functions):
                yield f"{path}:{node.lineno} {node.name}", parameters(node)


def numeric_constants(files: dict[str, str]) -> list[str]:
    """Module-level names in capitals that hold numbers, or collections of nothing else."""
    found = []
    for path, text in files.items():
        for node in ast.parse(text).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign) and node.value is not None:
                targets = [node.target]
            for target in targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                capitals = [n.id for n in names if isinstance(n, ast.Name) and n.id.isupper()]
                if capitals and _is_numeric(node.value):  # type: ignore[attr-defined]
                    found += [f"{path}: {name}" for name in capitals]
    return found


def _is_numeric(node: ast.expr) -> bool:
    leaves = [n for n in ast.walk(node) if isinstance(n, ast.Constant)]
    kinds = {type(leaf.value) for leaf in leaves}
    return bool(leaves) and kinds <= {int, float}


def imports(path: str, text: str, modules: set[str]) -> set[str]:
    """Modules of the project that a module imports when it is imported."""
    found = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & modules) - {path}


def circles(files: dict[str, str]) -> list[list[str]]:
    """Groups of modules that import one another (strongly connected, two or more)."""
    names = {p.removesuffix(".py").removesuffix("/__init__").replace("/", "."): p for p in files}
    graph = {name: imports(name, files[path], set(names)) for name, path in names.items()}
    reached = {name: _reached(graph, name) for name in graph}
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in graph
        if name in reached[name]
    }
    return [list(group) for group in sorted(groups)]


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    todo = list(graph[start])
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += graph[one]
    return found


def statements(files: dict[str, str]) -> int:
    """Statements without docstrings: a length that no formatting changes."""
    count = 0
    for text in files.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.stmt):
                is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
                count += not is_text
    return count


def measure(root: Path) -> dict[str, list[str] | int]:
    """Figures of one checkout; a list where there is something to name."""
    library, commands = sources(root, "fluid"), sources(root, "cli")
    counted = list(functions(library))
    everything = library | commands | sources(root, "tests") | sources(root, "benchmarks")
    skips = [p for p, text in everything.items() for _ in range(text.count("# fmt: " + "skip"))]
    return {
        "lines in fluid/": sum(text.count("\n") for text in library.values()),
        "statements in fluid/": statements(library),
        "lines in cli/": sum(text.count("\n") for text in commands.values()),
        "files in fluid/": len(library),
        f"functions of more than {MANY} parameters": [f for f, n in counted if n > MANY],
        f"functions of more than {TOO_MANY} parameters": [f for f, n in counted if n > TOO_MANY],
        "formatter switched off": skips,
        "formatter switched off in fluid/ and cli/": [
            path for path in skips if path.startswith(("fluid/", "cli/"))
        ],
        "numeric module constants": numeric_constants(library),
        "circles of imports": [", ".join(group) for group in circles(library)],
    }


def main(roots: list[str]) -> None:
    """Print the figures of each root; of a single one also what they consist of."""
    columns = [measure(Path(root)) for root in roots or ["."]]
    for name in columns[0]:
        values = [column[name] for column in columns]
        counts = [value if isinstance(value, int) else len(value) for value in values]
        print(f"{name:<45}" + "".join(f"{count:>9,}" for count in counts))
    if len(columns) == 1:
        wide = columns[0][f"functions of more than {MANY} parameters"]
        assert isinstance(wide, list)
        print("\n" + "\n".join(wide))


if __name__ == "__main__":
    main(sys.argv[1:])
