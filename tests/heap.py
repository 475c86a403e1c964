"""The smallest heap in which a board bootstraps, enrols and renews over real TLS, to 1 KiB.

Measured on a MicroPython with the memory of a Pico W (mpest.toolchain.picow_like) under qemu-arm,
for each way to install the device code and for several chains of certificates; held against
budgets.toml.
"""

import bisect
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
from report import EST, ROOT, budgets, hold, over_budget, save, show
from rich.console import Console
from rich.progress import Progress

from mpest import packages
from mpest.exits import CliError
from mpest.runtimes import find
from mpest.server import CsrAttrsPolicy, ServerConfig, running_server
from mpest.toolchain import picow_like
from mpest.toolchain.mpy import compile_file

PROGRAMS = ROOT / "tests/heap_programs"
ARCH = "armv6m"  # a Pico W's
KIB = 1 << 10
SMALLEST, LARGEST = 16, 256  # KiB
ROOMY = 4 << 20  # bytes, where memory is not what is measured
SECONDS = 300  # of one run; an enrolment takes half a second, a hundred on a busy machine a minute
ROUNDS = 100
THRESHOLD = 2048  # bytes allocated between two collections; fewer take minutes
TRIES = 2  # that must all succeed: where objects come to lie is partly chance
SUBJECT, USER, PASSWORD = "CN=device-1,O=Example", "device-1", "correct horse"

# What the least install lacks for the phases below.
WITH_MINIMUM = tuple(
    f"est/{name}.py" for name in ("asn1", "auth", "bootstrap", "challenge", "names", "operations")
)
CHAINS = ((1, "P-256"), (2, "P-256"), (4, "P-256"), (2, "RSA-4096"))
BUDGETED = (2, "P-256")
# A connection of the application, such as one of MQTT, is held while the board renews. Any server
# will do; this one is the EST server.
HELD = """\
import socket
agent.identity()
port = int(settings.URL.split(":")[2].split("/")[0])
sock = socket.socket()
sock.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])
held = agent.known.context().wrap_socket(sock, server_hostname="127.0.0.1")
held.write(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
if not held.readline():
    raise OSError
agent.reenroll()
if not held.readline():
    raise OSError
"""
# What the board stored before, and what it then does.
PHASES = {
    "bootstrap": ("nothing", "agent.anchors()"),
    "connect": ("anchors", "agent.client().cacerts(); agent.client().csrattrs()"),
    "enrol": ("anchors", "agent.enroll()"),
    "renew": ("identity", "agent.reenroll()"),
    "whole": ("nothing", "agent.anchors(); agent.enroll(); agent.reenroll()"),
    "use": ("identity", HELD),
}
# What the least install does not have.
BEYOND_MINIMUM = ("use",)
PICO_W = picow_like.HEAP // KIB
# Frequent collections keep what stays together at one end of the heap (README.md).
APPLICATION = """\
import gc
gc.threshold(4096)
import settings
from est import auth
from est.agent import Agent
from est.store import Store
agent = Agent(
    Store(settings.STATE),
    settings.URL,
    subject=settings.SUBJECT,
    trust=settings.TRUST,
    credentials=auth.Password(settings.USER, settings.PASSWORD),
)
"""


@dataclass(frozen=True)
class Install:
    """One way to install the device code; MicroPython looks for it at `path`."""

    argv: tuple[str, ...]
    path: Path
    compiled: bool

    def run(self, heap, program, folder, **settings):
        """Run `program` (source text) in a heap of so many bytes; `folder` is its own."""
        settings = {"SUBJECT": SUBJECT, "USER": USER, "PASSWORD": PASSWORD, **settings}
        text = "".join(f"{name} = {value!r}\n" for name, value in settings.items())
        for name, source in (("settings", text), ("main", program)):
            path = folder / f"{name}.py"
            path.write_text(source)
            if self.compiled:
                path.with_suffix(".mpy").write_bytes(compile_file(path, ARCH))
                path.unlink()
        return subprocess.run(
            [*self.argv, "-X", f"heapsize={heap}", "-m", "main"],
            cwd=folder,
            env={**os.environ, "MICROPYPATH": f"{self.path}:.frozen"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )


def install(work):
    """{name: Install} of each way."""
    program = find("micropython-picow-like")
    built, frozen = str(picow_like.micropython()), str(picow_like.micropython(EST))
    with_est = tuple(frozen if part == built else part for part in program.argv)
    source, compiled = work / "source", work / "mpy"
    for folder in (source, compiled):
        (folder / "est").mkdir(parents=True)
    # Without p256_thumb, which takes 3 KiB more on a Pico W: the unix port keeps 32 bytes of every
    # load of machine code for good, other than the rp2 port.
    for part in packages.parts():
        path = EST.parent / part
        shutil.copy(path, source / "est")
        (compiled / "est" / f"{path.stem}.mpy").write_bytes(compile_file(path, ARCH))
    minimum = work / "minimum"
    (minimum / "est").mkdir(parents=True)
    for part in (*packages.parts("est-minimum"), *WITH_MINIMUM):
        name = Path(part).with_suffix(".mpy")
        shutil.copy(compiled / name, minimum / name)
    packed = work / "packed"
    for path, data in packages.packed(packages.parts(), ARCH).items():
        (packed / path).parent.mkdir(parents=True, exist_ok=True)
        (packed / path).write_bytes(data)
    return {
        "source": Install(program.argv, source, False),
        "minimum": Install(program.argv, minimum, True),
        "mpy": Install(program.argv, compiled, True),
        "packed": Install(program.argv, packed, True),
        "frozen": Install(with_est, Path(""), True),
    }


class Bench:
    """A server with one kind of chain, and what boards have stored that know it."""

    def __init__(self, server, work, board):
        self.server = server
        self._work = work
        self._states = {"nothing": work / "nothing"}
        self._states["nothing"].mkdir(parents=True)
        for name, steps in (("anchors", "agent.anchors()"), ("identity", "agent.enroll()")):
            done = self.run(board, ROOMY, APPLICATION + steps, "nothing", keep=work / name)
            if done.returncode:
                config = server.config
                print(
                    f"Left out: with a chain of {config.chain_length} and {config.root_key} "
                    f"there is no {name} ({_last_line(done)})",
                    file=sys.stderr,
                )
            else:
                self._states[name] = work / name

    def run(self, board, heap, program, state, *, keep=None, **settings):
        """Run on a board that has stored `state`; `keep` is for what it stores then."""
        with tempfile.TemporaryDirectory(dir=self._work) as folder:
            stored = Path(folder) / "state"
            shutil.copytree(self._states[state], stored)
            settings["STATE"] = str(stored)
            settings["URL"] = self.server.url
            settings["TRUST"] = bytes.fromhex(self.server.fingerprint)
            done = board.run(heap, program, Path(folder), **settings)
            if keep:
                shutil.copytree(stored, keep)
        return done

    def works(self, board, phase, kib, tries=TRIES):
        state, steps = PHASES[phase]
        program = APPLICATION + steps
        return not any(self.run(board, kib * KIB, program, state).returncode for _ in range(tries))

    def smallest(self, board, phase):
        """KiB, or None where it can't be done, or not in LARGEST."""
        if PHASES[phase][0] not in self._states:
            return None
        heaps = range(SMALLEST, LARGEST)
        at = bisect.bisect_left(heaps, True, key=lambda kib: self.works(board, phase, kib))
        return heaps[at] if at < len(heaps) else None

    def measure(self, board, name, state, **settings):
        """What the program tests/heap_programs/NAME.py prints."""
        program = (PROGRAMS / f"{name}.py").read_text()
        done = self.run(board, ROOMY, program, state, **settings)
        if done.returncode:
            raise CliError(f"{name}.py failed: {_last_line(done)}")
        return json.loads(done.stdout)


def _last_line(done):
    return done.stderr.strip().splitlines()[-1]


def smallest_heaps(installs, benches):
    """Rows, one for each install and chain."""

    def row(case):
        (length, root), name = case
        found = {}
        for phase in PHASES:
            has_it = name != "minimum" or phase not in BEYOND_MINIMUM
            found[phase] = (
                benches[length, root].smallest(installs[name], phase) if has_it else None
            )
            progress.advance(task)
        return {"install": name, "chain": length, "root": root, **found}

    cases = [(chain, name) for chain in benches for name in installs]
    console = Console(stderr=True)
    with (
        Progress(console=console, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(2) as pool,
    ):
        task = progress.add_task("Smallest heaps", total=len(cases) * len(PHASES))
        return list(pool.map(row, cases))


def left_for_the_application(rows):
    """Rows: what remains of a Pico W's heap in phase `use`, for each install and chain."""
    return [
        {
            **{name: row[name] for name in ("install", "chain", "root", "use")},
            "left": PICO_W - row["use"],
        }
        for row in rows
        if row.get("use")
    ]


def over_heap_budget(installs, bench, rows, budget):
    """Lines on the phases that need more heap than they may.

    Without `rows` each is tried once, and again if that fails: pieces may come to lie badly.
    """
    known = {row["install"]: row for row in rows if (row["chain"], row["root"]) == BUDGETED}
    for name, phases in budget.items():
        for phase, kib in phases.items():
            if known:
                needed = known[name][phase]
                if needed is None or needed > kib:
                    yield f"heap.{name}.{phase}: {needed} KiB are needed, the budget is {kib}"
            elif not any(bench.works(installs[name], phase, kib, tries=1) for _ in range(2)):
                yield f"heap.{name}.{phase}: more than the budget of {kib} KiB is needed"


def other_measurements(board, bench):
    """As budgets.toml names them, without the heap."""
    before = bench.server.handshakes
    everything = (
        APPLICATION + "agent.client().cacerts(); agent.client().csrattrs(); agent.enroll()"
    )
    done = bench.run(board, ROOMY, everything, "anchors")
    if done.returncode:
        raise CliError(f"the enrolment failed: {_last_line(done)}")
    handshakes = bench.server.handshakes - before
    before = bench.server.handshakes
    done = bench.run(board, ROOMY, APPLICATION + "agent.reenroll()", "identity")
    if done.returncode:
        raise CliError(f"the renewal failed: {_last_line(done)}")
    renewal = bench.server.handshakes - before
    erases, written = bench.measure(board, "flash", "identity")
    return {
        "enrolment": {
            "tls_connections": handshakes,
            "heap_lost_after_100": bench.measure(board, "leak", "anchors", ROUNDS=ROUNDS),
        },
        "renewal": {
            "tls_connections": renewal,
            "flash_erases": erases,
            "flash_bytes": written,
        },
    }


def peaks(board, bench):
    """Rows: the most heap in use in each step of an enrolment, in bytes."""
    rows = {}
    for step, before, most in bench.measure(board, "profile", "anchors", THRESHOLD=THRESHOLD):
        if step not in rows or rows[step]["at_most"] < most:
            rows[step] = {"step": step, "before": before, "at_most": most}
    return list(rows.values())


@click.command()
@click.option("--quick", is_flag=True, help="Check the budgets only, in about a minute.")
def main(quick):
    """Measure the heap that enrolling takes, and check it against tests/budgets.toml."""
    limits = budgets()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        installs = install(work)
        board = installs["mpy"]
        benches = {}
        for length, root in (BUDGETED,) if quick else CHAINS:
            folder = work / f"{length}-{root}"
            config = ServerConfig(
                directory=folder / "ca",
                auth="basic",
                users={USER: PASSWORD},
                chain_length=length,
                root_key=root,
                csrattrs=CsrAttrsPolicy(key="P-256"),
            )
            server = stack.enter_context(running_server(config))
            benches[length, root] = Bench(server, folder, board)
        bench = benches[BUDGETED]
        measured = other_measurements(board, bench)
        results = {"peaks": peaks(board, bench), **measured}
        rows = []
        if not quick:
            rows = results["smallest"] = smallest_heaps(installs, benches)
            show(rows, "Smallest heap, KiB")
            left = results["left"] = left_for_the_application(rows)
            show(left, f"Of a Pico W's {PICO_W} KiB, while it renews beside a TLS connection")
            save("heap", results)
        show(results["peaks"], "Heap in use while enrolling, bytes")
        show([measured["enrolment"]])
        show([measured["renewal"]])
        over = [
            *over_heap_budget(installs, bench, rows, limits["heap"]),
            *over_budget(measured, limits),
        ]
    hold(over)


if __name__ == "__main__":
    main()
