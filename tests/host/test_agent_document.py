"""docs/agent.md names what the agent has: events, states, records, and what examples use."""

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from mpest import shipped
from mpest.flash import application
from mpest.sim import cpython

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/agent.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT + (ROOT / "README.md").read_text(), re.DOTALL)
MODULES = sorted((shipped.folder("firmware") / "est").glob("*.py"))

cpython.install()


def table(section: str, head: str) -> list[list[str]]:
    """Cells of the rows of the table in `section` whose first column is headed `head`."""
    text = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = text.split(f"\n| {head} |", 1)[1].splitlines()[2:]
    rows = takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def words(cell: str) -> list[str]:
    """What stands in backquotes."""
    return re.findall(r"`(\w+)`", cell)


def calls(name: str) -> Iterator[ast.Call]:
    """Calls in est of a method or function of that name."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr=found)) if found == name:
                    yield node


def constants(node: ast.expr) -> set[str]:
    return {
        found.value
        for found in ast.walk(node)
        if isinstance(found, ast.Constant) and isinstance(found.value, str)
    }


def test_events() -> None:
    told: dict[str, set[str]] = {}
    for call in calls("tell"):
        if call.keywords:  # the other `tell`, of est.rollover, takes a log
            for name in constants(call.args[0]):
                told.setdefault(name, set()).update(str(one.arg) for one in call.keywords)
    assert told == {words(row[0])[0]: set(words(row[1])) for row in table("Events", "event")}


def test_states() -> None:
    described = {row[0] for row in table("An order and its states", "state")}
    kept = set()
    for call in calls("keep"):
        kept |= constants(call.args[1])
    assert kept == {"made", "waiting", "answered"}
    # A candidate is in memory, and what is aside in a record of its own.
    assert described == kept | {"candidate", "aside"}
    drawing = (ROOT / "docs/agent.svg").read_text()
    assert described <= set(re.findall(r">([\w ]+)</text>", drawing))


def test_records() -> None:
    saved = set()
    for call in calls("save"):
        if len(call.args) == 2:
            saved |= constants(call.args[0])
    described = {words(row[0])[0] for row in table("Records", "record")}
    assert saved == described
    assert described == set(application.RECORDS) - {"pending"}  # of 0.1


def test_status() -> None:
    from est.parts import Known

    described = [name for row in table("In your program", "key") for name in words(row[0])]
    assert set(described) == set(Known(None).status())


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_name_what_there_is(example: str, tmp_path: Path) -> None:
    from est.agent import Agent
    from est.store import Store

    agent = Agent(Store(str(tmp_path)), "https://est.example")
    known = {"agent": agent, "agent.known": agent.known}
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in known:
            assert hasattr(known[ast.unparse(node.value)], node.attr), ast.unparse(node)


def test_what_the_agent_takes() -> None:
    from est.agent import Agent

    named = set(re.findall(r"Agent\((?:\.\.\., )?(\w+)=", TEXT))
    assert named
    assert named <= set(inspect.signature(Agent).parameters)
