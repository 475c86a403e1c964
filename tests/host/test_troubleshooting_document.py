"""docs/troubleshooting.md has a cure for each message of the device, or it is known to need none.

A message is a text in the code that a person may see: that of an error of est.errors, and what the
modules in _TEXTS put together. `…` stands for what differs, in the page as here.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from test_agent_document import table, words

from mpest import shipped

PAGE = (Path(__file__).parents[2] / "docs/troubleshooting.md").read_text()
FIRMWARE = shipped.folder("firmware")
FILES = [
    *sorted((FIRMWARE / "est").glob("*.py")),
    *(FIRMWARE / name for name in ("bringup.py", "configuration.py", "main.py", "ntp.py")),
]
# All they say is a message, whatever is done with it; elsewhere what makes an error.
_TEXTS = {
    *(
        "advice",
        "alerts",
        "configuration",
        "duty",
        "main",
        "proof",
        "reasons",
        "refusal",
        "witness",
    ),
}
_ERRORS = {
    node.name
    for node in ast.parse((FIRMWARE / "est/errors.py").read_text()).body
    if isinstance(node, ast.ClassDef)
} | {"CertificateRefused", "DerError", "MemoryError", "kind", "usage_error"}

# Texts by the reason for which nobody has to act.
NO_ACT = {
    "the agent goes on, or tries again": [
        "the clock is not set anew: …",
        "is for other settings",
        "ended by the clock",
        "is refused",
        "the watchdog ended what ran before: app.py waits for the agent",
        "the clock is wrong: what is due is judged by the server's",
        "the server said to wait",
        "config.new.json: …",
        "… in … s",
    ],
    "somebody asked for it": [
        "the identity was erased meanwhile: what was asked for is forgotten",
    ],
    "est would have to call itself wrongly": ["only cacerts before the server is verified"],
    "another message follows": ["fullcmc: …"],
    "no message, but looked for in those of TLS, in files, or one of a list": [
        "wrong version",
        "trusted CA",
        "an IPv6 address",
        "…PRIVATE KEY",
    ],
}
NO_ACT_EVENTS = {"bootstrap", "ordered", "answered", "candidate", "proven", "renewed", "trust"} | {
    "revoked"
}


def texts(node: ast.AST, constants: dict[str, str]) -> list[str]:
    """The texts that an expression may be; none where it is no text."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.Name(id=name) if name in constants:
            return [constants[name]]
        case ast.BoolOp(values=[one, other]) | ast.IfExp(body=one, orelse=other):
            return texts(one, constants) + texts(other, constants)
        case ast.BinOp(op=ast.Mod(), left=left):
            return texts(left, constants)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            begins, ends = texts(left, constants), texts(right, constants)
            if begins or ends:
                return [begin + end for begin in begins or ["%s"] for end in ends or ["%s"]]
    return []


def names(node: ast.AST) -> set[str]:
    """The last part of each name in an expression."""
    return {
        part.id if isinstance(part, ast.Name) else part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Name | ast.Attribute)
    }


def shown(text: str) -> str:
    """A format as the page writes it."""
    return re.sub(r"%\d*[a-z](-%\d*[a-z])*", "…", text).strip()


def is_documentation(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def said(node: ast.AST, constants: dict[str, str]) -> Iterator[str]:
    """Every text below `node` that is more than a word, outside of docstrings and log lines."""
    if is_documentation(node):
        return
    match node:
        case ast.Call(func=ast.Attribute(attr="log")):
            return
    found = texts(node, constants) if isinstance(node, ast.expr) else []
    if found:
        yield from (text for text in found if " " in text.strip())
        return
    for child in ast.iter_child_nodes(node):
        yield from said(child, constants)


def is_text(message: str) -> bool:
    """Whether it says something of its own."""
    return len(re.sub(r"…|\W", "", message)) >= 3


def messages(source: str, whole: bool = False) -> set[str]:
    """What the errors made in `source` say, or with `whole` all that it does."""
    tree = ast.parse(source)
    constants = {}
    for node in tree.body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)], value=ast.Call(args=[ast.Constant(value=str(text))])
            ):
                constants[name] = text
    found = list(said(tree, constants)) if whole else []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=function, args=[first, *_]) if names(function) & _ERRORS:
                found += texts(first, constants)
    return set(filter(is_text, map(shown, found)))


MESSAGES = {
    message for path in FILES for message in messages(path.read_text(), path.stem in _TEXTS)
}
EVENTS, TABLES = PAGE.split("\n## The settings\n")
LISTED = [
    text
    for cell in re.findall(r"^\| (`.*?`) \|", TABLES, re.MULTILINE)
    for text in re.findall(r"`([^`]+)`", cell)
]

UNNEEDED = [text for group in NO_ACT.values() for text in group]


def covers(pattern: str, message: str) -> bool:
    return bool(re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), message))


def test_each_message_has_a_cure_or_needs_none() -> None:
    known = LISTED + UNNEEDED
    unknown = [message for message in MESSAGES if not any(covers(text, message) for text in known)]
    assert unknown == []


def test_nothing_is_listed_that_nobody_says() -> None:
    for text in LISTED + UNNEEDED:
        assert is_text(text)
        assert any(covers(text, message) for message in MESSAGES), text


def test_each_event_has_a_cure_or_needs_none() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", EVENTS, re.MULTILINE))
    assert not listed & NO_ACT_EVENTS
    told = {words(row[0])[0] for row in table("Events", "event")}
    assert listed | NO_ACT_EVENTS == told


def test_how_messages_are_found() -> None:
    source = """
_TEXT = const("of a constant")
def f():
    "not a docstring"
    agent.log("a note of no weight")
    raise UsageError("%d of them" % 3)
    raise Refused(_TEXT, status)
    raise (Closed if a else PeerError)(reason or "%s: nobody" % name)
    return "returned " + value
"""
    errors = {"… of them", "of a constant", "…: nobody"}
    assert messages(source) == errors
    assert messages(source, whole=True) == errors | {"returned …"}
