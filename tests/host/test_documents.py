"""What the documents say to do is done, and what they show is what comes."""

import ast
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from documents import ADDRESS, DOCUMENTS, ROOT, Session, block, blocks, commands, same

from mpest import boards
from mpest.cli import main
from mpest.flash import application
from mpest.runtimes import Program

Find = Callable[[str], Program]

# Commands that no test of this file runs, and why.
ELSEWHERE = {
    r"apt install .*": "they install Debian packages",
    r"make (test|emulated|bench|heap|size)\b.*": "they take minutes; CI runs them, or their parts",
    r"\.venv/bin/python -m mpest\.emulator .*": "it runs until Ctrl-C; tests/emulated starts them",
    r"\.venv/bin/mpremote connect \S+ mip install .*": "it needs a board and the network",
}
# Pages whose commands go on where those of another ended.
AFTER = {name: ["README.md"] for name in ("docs/use.md", "boards/UNIX/README.md")}
WITH_COMMANDS = [name for name in DOCUMENTS if any(one.language == "sh" for one in blocks(name))]

pytestmark = pytest.mark.timeout(300)


def elsewhere(command: str) -> bool:
    return any(re.fullmatch(pattern, command) for pattern in ELSEWHERE)


def need(program: str, package: str) -> None:
    if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
        return
    reason = f"needs {program} (Debian: apt install {package})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.mark.parametrize(
    ("document", "runtime"),
    [
        *((name, "micropython") for name in WITH_COMMANDS),
        ("docs/use.md", "micropython-picow-like"),
    ],
)
def test_commands_and_their_output(
    document: str, runtime: str, tmp_path: Path, program: Find
) -> None:
    """With `runtime` as the board's MicroPython."""
    pages = [*AFTER.get(document, ()), document]
    text = "".join(one.text for name in pages for one in blocks(name))
    if "mosquitto" in text:
        need("mosquitto", "mosquitto")
        need("mosquitto_sub", "mosquitto-clients")
    # As the board has it after `mip install umqtt.simple`.
    shutil.copytree(ROOT / "tests/doubles/umqtt", tmp_path / "board/umqtt")
    # What a page's reader has: settings and a program of their own.
    shutil.copy(ROOT / "examples/config.json", tmp_path)
    (tmp_path / "app.py").write_text("async def main(identity):\n    pass\n")
    session = Session(tmp_path, program(runtime), elsewhere)
    came = session.run(pages)
    wrong = [
        f"{one.document}:{one.line} shows\n{one.text}\nand there came\n{output}"
        for one, output in came.items()
        if not same(one.text, output)
    ]
    assert not wrong, "\n".join(wrong)


def test_commands_for_elsewhere_are_there() -> None:
    found = [
        command
        for name in WITH_COMMANDS
        for one in blocks(name)
        for command in (commands(one.text) if one.language == "sh" else ())
    ]
    for pattern in ELSEWHERE:
        assert any(re.fullmatch(pattern, command) for command in found), pattern


def options(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def known_options(command: click.Command, words: list[str] | None = None) -> set[str]:
    """Of a command, and of those in it: all, or those that `words` name."""
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            known |= known_options(inner) if words is None or name in words else set()
    return known


def command_of(name: str) -> click.Command | None:
    return main.get_command(click.Context(main), name)  # type: ignore[attr-defined, no-any-return]


def lines_of(document: str) -> list[str]:
    """Commands of blocks, and those that stand in backquotes within the text."""
    text = (ROOT / document).read_text()
    inline = re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", re.sub(r"(?ms)^```.*?^```", "", text))
    fenced = [
        line for one in blocks(document) if one.language == "sh" for line in commands(one.text)
    ]
    return [" ".join(line.split()) for line in inline + fenced]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_options_are_known(document: str) -> None:
    """Of every `mpest NAME`, run here or not."""
    for line in lines_of(document):
        found = re.match(r"(?:\S*/)?mpest (\w+)(.*)", line)
        if not found:
            continue
        command = command_of(found[1])
        assert command, f"{document}: {line}"
        known = known_options(command, found[2].split())
        wanted = options(found[2].split())
        assert wanted <= known | {"--help"}, f"{document}: {line}"


def test_options_in_the_text_are_known() -> None:
    """Every `--option` that stands in backquotes is one of a command."""
    known = {"--memory"}  # of mpest.emulator
    for name in main.list_commands(click.Context(main)):  # type: ignore[attr-defined]
        command = command_of(name)
        assert command
        known |= known_options(command)
    for document in DOCUMENTS:
        for line in lines_of(document):
            if line.startswith("--"):
                assert line.split()[0] in known, f"{document}: {line}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_targets_are_there(document: str) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    for line in lines_of(document):
        if found := re.match(r"make ([a-z-]+)", line):
            assert found[1] in targets, f"{document}: {line}"


def test_flash_of_a_board() -> None:
    """Every `mpest flash` with the board that it names, by the command's own parser."""
    parsed = 0
    for document in DOCUMENTS:
        for line in lines_of(document):
            if found := re.search(r"\bmpest flash (--board .*)", line):
                words = shlex.split(found[1].partition(" && ")[0])
                context = click.Context(command_of("flash"))
                values, rest, _ = context.command.make_parser(context).parse_args(words)
                assert rest == [], line
                boards.load(values["name"])
                parsed += 1
    assert parsed


def test_settings_of_the_readme(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(block("README.md", '"ssid"'))
    files, missing = application.settings(boards.load("RPI_PICO_W"), config)
    assert ADDRESS.encode() in files[0].data and not missing


def claimed() -> list[tuple[str, str]]:
    """What tests take of the documents: (document, words)."""
    found = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "block":
                values = [one.value for one in node.args if isinstance(one, ast.Constant)]
                if len(values) == 2:
                    found.append((values[0], values[1]))
    return found


def test_every_block_is_run() -> None:
    """As a command, as a file for commands, as output of these, or by a test that takes it."""
    taken = claimed()
    for name, words in taken:
        block(name, words)
    left = []
    for name in DOCUMENTS:
        printed = False
        for one in blocks(name):
            printed |= one.language == "sh"
            run = one.language == "sh" or (printed and one.language == "text")
            run |= bool(name in WITH_COMMANDS and one.file)
            if not run and not any(words in one.text for page, words in taken if page == name):
                left.append(f"{name}:{one.line} {one.language}")
    assert left == []


def anchors(text: str) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.*)", re.sub(r"(?ms)^```.*?^```", "", text))
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        to = (path.parent / file) if file else path
        assert to.exists(), f"{document}: {target}"
        assert not anchor or anchor in anchors(to.read_text()), f"{document}: {target}"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_costs_of_the_readme_are_those_measured() -> None:
    readme, measured = ((ROOT / name).read_text() for name in ("README.md", "docs/measured.md"))
    rows = {line.split(" | ")[0]: line.strip("| ").split(" | ") for line in measured.splitlines()}
    column = rows["| installed as"].index("renew")
    heap = rows["| .mpy, the whole, packed"][column]  # as `mpest flash` installs it
    blocks_of_4 = int(rows["| `mpest flash`, all that it installs"][-1]) // 4
    assert f"Heap to renew {heap} KiB, flash {blocks_of_4} blocks of 4 KiB" in readme
    (time,) = re.findall(r"an enrolment (\d+) ms", readme)
    assert f"({time} ms to " in measured


def test_same_sees_a_difference() -> None:
    shown = "a 12 ms\n...\nPOST simpleenroll 200\n"
    assert same(shown, "a 9 ms\nx\ny\nPOST simpleenroll 200\n")
    assert same(shown, "a 9 ms\nPOST simpleenroll 200")
    assert not same(shown, "a 9 ms\nPOST simpleenroll 202\n")
    assert not same(shown, "b 9 ms\nPOST simpleenroll 200\n")
