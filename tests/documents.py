"""The documents' fenced blocks, and a shell session that runs the commands of a page in order."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ports

from mpest.runtimes import Program

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "boards/*/README.md")
    for path in ROOT.glob(pattern)
)
# README's; a session puts those of this computer and of its server in their place.
ADDRESS = "192.168.1.10"
FINGERPRINT = "5f0c1d8e7ab2349651e0cd8b7fa3126495de80b17c2f4a6390d5be812c47fa36"


@dataclass(frozen=True)
class Block:
    document: str
    line: int
    language: str
    text: str
    file: str
    """Its name, where the line before it ends in `NAME`: or names one file and ends in a colon."""


def blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text()
    found = []
    for match in re.finditer(r"(?m)^( *)```(\w*)\n((?:.*\n)*?) *```$", text):
        before = text[: match.start()].rstrip()
        paragraph = before.rpartition("\n\n")[2]
        names = re.findall(r"`([\w.]+\.(?:conf|json|py|toml))`", paragraph)
        file = names[-1] if names and before.endswith(":") else ""
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(document, line, match[2], match[3], file))
    return found


def block(document: str, words: str) -> str:
    """The text of the one block that holds these words."""
    (found,) = [one.text for one in blocks(document) if words in one.text]
    return found


def commands(text: str) -> list[str]:
    """The commands of a shell block, each on one line and without its comment."""
    lines = text.replace("\\\n", " ").splitlines()
    return [
        re.sub(r"\s+", " ", line.partition("  #")[0]).strip() for line in lines if line.strip()
    ]


def same(shown: str, came: str) -> bool:
    """Whether output is as a document shows it, but for times, serials, addresses and sizes.

    A line of ... stands for any number of lines.
    """
    patterns = [
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(plain(line)) + r"\n"
        for line in shown.splitlines()
    ]
    return re.fullmatch("".join(patterns), plain(came.rstrip("\n") + "\n")) is not None


def plain(text: str) -> str:
    for varies, sign in (
        (r"\b[0-9a-f]{16,}\b", "HEX"),
        (r"\b\d{4}-\d\d-\d\d\b", "DATE"),
        (r"(?<=://)[\w.]+:\d+", "ADDRESS"),
        (r"\b\d{10}\b", "TIME"),
        (r" *\b[\d.]+(?= (?:ms|s|B)\b)", " N"),
        (r"MicroPython \S+ \(\w+\)", "MicroPython"),
    ):
        text = re.sub(varies, sign, text)
    return text


def own_address() -> str:
    """Of this computer in its network; loopback where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        address: str = sock.getsockname()[0]
        return address


# What runs until it is stopped, and what it says when it is ready.
LASTING = {
    "server": (r"mpest serve (?!.*--fault help)", "Stop with Ctrl-C"),
    "broker": (r"mosquitto -c", "running"),
    "board": (r"micropython main\.py", "renew in"),
}
_PRELUDE = """
set -eu
declare -A running
stop() { if [ -n "${running[$1]:-}" ]; then kill ${running[$1]}; wait ${running[$1]} || true; fi; }
trap 'for number in "${running[@]}"; do kill $number || true; done' EXIT
lasting() { # NAME READY COMMAND...
    name=$1 ready=$2; shift 2
    stop "$name"
    : >"$name.log"
    "$@" </dev/null >"$name.log" 2>&1 &
    running[$name]=$!
    for _ in $(seq 300); do
        if grep -q "$ready" "$name.log"; then break; fi
        if ! kill -0 ${running[$name]} 2>/dev/null; then
            cat "$name.log"
            number=${running[$name]}; unset "running[$name]"
            wait "$number"; return
        fi
        sleep 0.1
    done
    cat "$name.log"
    grep -q "$ready" "$name.log"
}
"""


class Session:
    """Runs the commands of documents as a reader would: one after the other, in one folder.

    The unix port of MicroPython and the board UNIX are in the board's place.
    elsewhere: whether a command is not for here; the others are run.
    """

    def __init__(
        self, folder: Path, micropython: Program, elsewhere: Callable[[str], object]
    ) -> None:
        self._folder = folder
        self._elsewhere = elsewhere
        self._micropython = micropython
        self._start = ""
        for name in ("firmware", "boards", "tests"):
            (folder / name).symlink_to(ROOT / name)
        (folder / ".venv").symlink_to(sys.prefix)
        tools = folder / "tools"
        tools.mkdir()
        program = tools / "micropython"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, micropython.argv))} "$@"\n')
        program.chmod(0o755)
        self._changes = [
            (r"192\.168\.1\.10", own_address()),
            (r"\b8443\b", str(ports.reserve(""))),
            (r"\b8883\b", str(ports.reserve(""))),
            (r"--board \S+ --port /\S+", "--board UNIX --port board"),
            (r" --firmware \S+", ""),
            (r"^\.venv/bin/mpremote connect \S+ repl$", "cd board && micropython main.py"),
            (r"/srv/est", "board"),
            (r"^listener", ("user root\n" if os.getuid() == 0 else "") + "listener"),
            (r"^make ", f"make --no-print-directory -C {ROOT} "),
        ]

    def _here(self, text: str) -> str:
        for usual, ours in self._changes:
            text = re.sub(usual, ours, text, flags=re.MULTILINE)
        return text

    def _line(self, command: str) -> str:
        if self._elsewhere(command):
            return ""
        line = self._here(command)
        for name, (pattern, ready) in LASTING.items():
            if re.search(pattern, line):
                line = f"lasting {name} {shlex.quote(ready)} bash -c {shlex.quote(_last(line))}"
        if "main.py" in line:
            self._start = line
        # A board starts anew when it was installed on.
        return f"{line}\n{self._start}" if "mpest flash" in line else line

    def run(self, documents: Sequence[str]) -> dict[Block, str]:
        """What the last command before them printed, for blocks of output.

        Raises AssertionError if a command fails.
        """
        script = [_PRELUDE]
        shown = {}
        output = "none.out"
        for one in (found for name in documents for found in blocks(name)):
            if one.language == "sh":
                for command in commands(one.text):
                    if line := self._line(command):
                        output = f"{len(script)}.out"
                        script.append(f"echo {shlex.quote(f'{one.document}: {command}')} >&2")
                        script.append(f"{{ {line}\n}} </dev/null >{output} 2>&1")
            elif one.file:
                script.append(f"cat >{one.file} <<'END'\n{self._here(one.text)}END")
                script.append(
                    f"if grep -q {FINGERPRINT} {one.file}; then sed -i s/{FINGERPRINT}/"
                    f"$(sed -n 's/^SHA-256 //p' server.log)/ {one.file}; fi"
                )
            elif one.language == "text":
                shown[one] = output
        shell = subprocess.Popen(
            ["bash", "-c", "\n".join(script)],
            cwd=self._folder,
            env={
                **os.environ,
                **self._micropython.env,
                "PATH": f"{self._folder}/tools:{sys.prefix}/bin:{os.environ['PATH']}:/usr/sbin",
            },
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, steps = shell.communicate(timeout=280)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
        if shell.returncode:
            written = max(self._folder.glob("*.out"), key=lambda path: path.stat().st_mtime)
            raise AssertionError(f"{steps}\n{written.read_text()[-3000:]}")
        return {one: (self._folder / name).read_text() for one, name in shown.items()}


def _last(line: str) -> str:
    """The line, with its last command in place of the shell, so that a signal reaches it."""
    before, and_then, last = line.rpartition("&& ")
    return f"{before}{and_then}exec {last}"
