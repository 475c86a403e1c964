"""Rules for the whole device package: which way imports run, and what the heap keeps."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

from mpest import shipped

EST = shipped.folder("firmware") / "est"


def imported(source: str) -> Iterator[str]:
    """Full names of what `source` imports, inside functions too, and of what may be modules."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.ImportFrom():
                raise ValueError("relative imports are not followed")
            case ast.Constant(value=str(name)) if name.startswith("est."):
                yield name  # for __import__, here or in a function that is given it


def arrows() -> dict[str, set[str]]:
    """{module of est: those it imports}. Names that est.comb puts together are not followed."""
    paths = {f"est.{path.stem}": path for path in EST.glob("*.py")}
    return {name: paths.keys() & imported(path.read_text()) for name, path in paths.items()}


def test_no_import_circles() -> None:
    try:
        TopologicalSorter(arrows()).prepare()
    except CycleError as error:
        pytest.fail("a circle of imports: " + " <- ".join(error.args[1]))


def test_every_form_of_import_is_followed() -> None:
    source = """
import est.a
from est import b as other
def function():
    from est.c import name
    load("est.d")
"""
    assert {"est.a", "est.b", "est.c", "est.d"} <= set(imported(source))
    assert "est.csrtemplate" in arrows()["est.csrattrs"]


def test_no_text_is_made_of_single_characters() -> None:
    """MicroPython keeps each of them for good: a text is made from octets."""

    def makes(node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id == "chr"

    found = [
        path.name
        for path in EST.glob("*.py")
        if any(map(makes, ast.walk(ast.parse(path.read_text()))))
    ]
    assert not found
