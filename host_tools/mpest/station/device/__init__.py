"""What the station runs on boards: texts that are sent, not modules that are imported.

Each begins with `common`, and has nothing but the device's own modules. What a board answers is
public: no key, password or one-time password is ever printed.
"""

import ast
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def text(name: str) -> str:
    """The device code of `common` and a file of this folder, short: it travels in each call."""
    tree = ast.parse("".join((_FOLDER / f"{part}.py").read_text() for part in ("common", name)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            kept = [statement for statement in node.body if not _is_docstring(statement)]
            node.body = kept or [ast.Pass()]
    return "\n".join(map(_less_indented, ast.unparse(tree).splitlines()))


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _less_indented(line: str) -> str:
    text = line.lstrip(" ")
    return " " * ((len(line) - len(text)) // 4) + text


_ONLY = """
import binascii
try:
    import machine
    unique = binascii.hexlify(machine.unique_id()).decode()
except (ImportError, AttributeError):
    unique = open("/unique_id").read()
if unique != {expected!r}:
    raise ValueError({other!r} + unique)
"""
OTHER = "mpest-other "


def only(unique_id: str) -> str:
    """Code that ends what follows on any other board: a ValueError of OTHER and its number."""
    return _ONLY.format(expected=unique_id, other=OTHER)
