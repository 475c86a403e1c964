"""Rules for the whole code: the maps of docs/architecture.md, and what a board's heap keeps."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import mpest
from mpest import shipped

EST = shipped.folder("firmware") / "est"
HOST = Path(mpest.__file__).parent
# `parts` asks est.reasons what lacked, `comb` looks for tables; the others import no part of est.
LOOKS_AT_IMPORT_ERRORS = ("parts", "comb", "entropy", "posix", "retry", "schedule")
PAGE = (Path(__file__).parents[2] / "docs/architecture.md").read_text()


def rows(section: str) -> list[str]:
    """The first cells of the tables in a section of the page, top to bottom."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def upwards(order: list[str], imports: dict[str, set[str]]) -> list[str]:
    """Which imports do not lead to a later one of `order`."""
    place = {name: at for at, name in enumerate(order)}
    return [
        f"{name} imports {other}, which does not stand below it"
        for name in order
        for other in sorted(imports[name])
        if place[other] <= place[name]
    ]


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


def rooms() -> dict[str, set[str]]:
    """{room of the host tools: the rooms it imports, and "est" if it does}."""
    found: dict[str, set[str]] = {}
    for path in HOST.rglob("*.py"):
        inner = path.relative_to(HOST).with_suffix("").parts
        if inner[:2] in (("emulator", "port"), ("sim", "standins"), ("station", "device")):
            continue  # runs in MicroPython's place, or in it
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=imports):
                    names |= {alias.name for alias in imports}
                case ast.ImportFrom(module=str(module), names=imports):
                    names |= {module} | {f"{module}.{alias.name}" for alias in imports}
        found.setdefault(inner[0], set()).update(names)
    found.pop("__init__")
    tops = {f"mpest.{room}": room for room in found} | {"est": "est"}
    for room, names in found.items():
        heads = {".".join(name.split(".")[:2]) for name in names} | {
            name.split(".")[0] for name in names
        }
        found[room] = {tops[head] for head in heads & tops.keys()} - {room}
    return found


def test_every_module_of_est_is_on_the_map_once() -> None:
    assert sorted(rows("The map of est")) == sorted(path.stem for path in EST.glob("*.py"))


def test_imports_of_est_lead_down() -> None:
    imports = {
        name.removeprefix("est."): {other.removeprefix("est.") for other in others - {name}}
        for name, others in arrows().items()
    }
    assert upwards(rows("The map of est"), imports) == []


def test_rooms_of_the_host_tools() -> None:
    imports = rooms()
    order = rows("The map of the host tools")
    assert sorted(order) == sorted(imports)
    assert {room for room, others in imports.items() if "est" in others} == {"sim", "station"}
    assert upwards([*order, "est"], imports | {"est": set()}) == []


def test_an_import_that_leads_up_is_found() -> None:
    assert upwards(["a", "b"], {"a": {"b"}, "b": set()}) == []
    assert upwards(["a", "b"], {"a": set(), "b": {"a"}}) == [
        "b imports a, which does not stand below it"
    ]


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


def test_what_a_part_raises_is_not_taken_for_its_absence() -> None:
    """Beside the import of what may be absent stands no call: it may lack what it imports."""

    def imports_alone(statements: list[ast.stmt]) -> bool:
        return all(
            isinstance(statement, ast.Import | ast.ImportFrom)
            or (isinstance(statement, ast.If) and imports_alone(statement.body + statement.orelse))
            for statement in statements
        )

    def passes_over(handler: ast.ExceptHandler) -> bool:
        catches = isinstance(handler.type, ast.Name) and handler.type.id == "ImportError"
        return catches and not any(isinstance(node, ast.Raise) for node in ast.walk(handler))

    found = [
        f"{path.stem}:{node.lineno}"
        for path in EST.glob("*.py")
        if path.stem not in LOOKS_AT_IMPORT_ERRORS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Try) and any(map(passes_over, node.handlers))
        if not imports_alone(node.body)
    ]
    assert not found
