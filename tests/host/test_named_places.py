"""What documents name by file and function is there: `firmware/est/agent.py::Agent.step`."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("docs/architecture.md", "CONTRIBUTING.md", "SECURITY.md")


def holds(file: Path, name: str) -> bool:
    """Whether the file defines a function, class or `Class.method` of that name."""
    body = ast.parse(file.read_text()).body
    for part in name.split("."):
        found = [
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == part
        ]
        if not found:
            return False
        body = found[0].body
    return True


def lost(text: str) -> list[str]:
    """What is named in `text` as a file, or a place in one, and is not there."""
    found = re.findall(r"`([\w./]+/[\w.]+\.\w+)(?:::([\w.]+))?`", text)
    return [
        f"{file}::{name}" if name else file
        for file, name in found
        if not (ROOT / file).is_file() or (name and not holds(ROOT / file, name))
    ]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_they_are_there(document: str) -> None:
    text = (ROOT / document).read_text()
    assert "`" in text
    assert lost(text) == []


def test_what_is_gone_is_found() -> None:
    assert lost("`firmware/est/agent.py::Agent.step`, `firmware/est/agent.py`") == []
    gone = ["firmware/est/agent.py::Agent.gone", "firmware/gone.py"]
    assert lost("`firmware/est/agent.py::Agent.gone` and `firmware/gone.py`") == gone
