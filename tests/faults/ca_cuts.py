"""A server that is cut off at each file operation of its first start and of a rollover.

A process starts a server, shows its CA, issues a certificate and revokes it; `strace` records what
it does to its folder (recorded.py). Each cut, a kill or the power, must leave a folder that a
server opens, with all that had been shown by then.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import line
import recorded
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mpest.exits import CliError
from mpest.server import ServerConfig, crl, running_server
from mpest.server.authority import Authority
from mpest.server.database import Database

CHAINS = (1, 2, 4)
# JSON; other programs that are run on the way write too.
_SHOWN = re.compile(r'^(?:\d+ +)?write\(1<.*?>, "(\\x7b\\x22(?:\\x[0-9a-f]{2})+)"')


def run(chains: Sequence[int] = CHAINS) -> dict[str, Any]:
    """Cut everywhere.

    Returns counts, and as `problems` a list of texts, empty where all is well.
    """
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for chain_length in chains:
        for rollover in (False, True):
            with tempfile.TemporaryDirectory(dir=line.MEMORY) as name:
                case = _Case(Path(name).resolve(), chain_length, rollover)
                case.run()
            counts.update(case.counts)
            problems += [f"chain of {chain_length}, {problem}" for problem in case.problems]
    return {**counts, "problems": problems}


class _Case:
    """A chain, and what of it has been shown so far."""

    def __init__(self, folder: Path, chain_length: int, rollover: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._folder = folder
        self._chain_length = chain_length
        self._rollover = rollover
        self._roots: list[str] = []
        self._issued: set[int] = set()
        self._revoked: set[int] = set()

    def run(self) -> None:
        root = self._folder / "root"
        root.mkdir()
        command = [sys.executable, __file__, root / "ca", str(self._chain_length)]
        if self._rollover:
            out = _output(command)
            for told in out.splitlines():
                self._show(json.loads(told))
            command.append("rollover")
        disk = recorded.Disk(root)
        log = self._folder / "log"
        recorder = recorded.prefix(log, threads=True)
        _output([*recorder, *command])
        last: dict[str, Any] = {}
        for number, call in enumerate(recorded.calls(log.read_text())):
            if match := _SHOWN.match(call):
                self._show(json.loads(bytes.fromhex(match[1].replace("\\x", ""))))
                last.clear()  # the same may now be too little
            disk.do(call)
            for when in ("kill", "fsync", "journal"):
                contents = disk.holds(when)
                if contents != last.get(when):
                    last[when] = contents
                    self._cut(when, contents, f"{when} after call {number}, {call[:60]}")

    def _show(self, shown: dict[str, Any]) -> None:
        if "root" in shown:
            self._roots.append(shown["root"])
        self._issued |= {shown[name] for name in ("issued", "revoked") if name in shown}
        self._revoked |= {shown["revoked"]} if "revoked" in shown else set()

    def _cut(self, when: str, contents: dict[str, bytes | None], text: str) -> None:
        self.counts[when] += 1
        with tempfile.TemporaryDirectory(dir=line.MEMORY) as name:
            recorded.write(Path(name, "root"), contents)
            directory = Path(name, "root/ca")
            directory.mkdir(exist_ok=True)
            try:
                problem = self._judge(directory)
            except (CliError, OSError) as error:
                problem = str(error)
        if problem:
            self.problems.append(f"{'rollover' if self._rollover else 'start'}, {text}: {problem}")

    def _judge(self, directory: Path) -> str | None:
        authority = Authority.open(directory, self._chain_length)
        roots = [authority.root.certificate]
        if authority.rollover:
            roots.append(authority.rollover.old.certificate)
        if self._roots:
            known = [root.fingerprint(hashes.SHA256()).hex() for root in roots]
            # The one that was shown last, or its successor.
            if self._roots[-1] not in known:
                return "the root is another"
            if len(self._roots) > 1 and self._roots[-1] != known[0]:
                return "the old root is back"
        database = Database(directory / "est.db")
        try:
            if not self._issued <= {int(row.serial, 16) for row in database.issued()}:
                return "a certificate is not on record"
            if not self._revoked <= {int(row.serial, 16) for row, _ in database.revoked()}:
                return "a certificate is not revoked any more"
            crl.publish(authority, database, directory / "crl.pem")
        finally:
            database.close()
        return None


def _output(command: Sequence[str | Path]) -> bytes:
    done = subprocess.run(command, check=True, env=line.environment(), stdout=subprocess.PIPE)
    return done.stdout


def _serve(directory: Path, chain_length: int, rollover: bool) -> None:
    """What is recorded."""

    def show(**shown: object) -> None:
        os.write(1, json.dumps(shown).encode() + b"\n")

    config = ServerConfig(directory=directory, chain_length=chain_length, rollover=rollover)
    with running_server(config) as server:
        show(root=server.fingerprint)
        for name in ("one", "two"):
            pem, _ = server.new_identity(name)
            serial = x509.load_pem_x509_certificate(pem).serial_number
            show(issued=serial)
        server.revoke(serial)
        show(revoked=serial)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]), "rollover" in sys.argv)
