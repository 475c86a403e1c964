"""A network that fails at one octet of an exchange, between a board's process and a server.

`run` lets a board enrol and renew through a proxy that does one thing, at one octet of one
direction, and then holds the board to what it owes its user: it ends in time, with a typed error
or with success; the identity on its disk is the old one or a new one, whole; its next try, without
the fault, succeeds, with the key that the server certified if it did; nothing stays in its heap.
"""

import itertools
import multiprocessing
import random
import select
import shutil
import socket
import socketserver
import struct
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import line

from mpest.server import EstServer, ServerConfig, running_server

KINDS = ("cut", "reset", "truncate", "corrupt", "delay", "stall")
# Enrolments and renewals by one call, and by steps.
OPERATIONS = ("enroll", "reenroll", "enrol by steps", "renew by steps")
# What a board may need after a failure: it waits, and tries what is aside before it asks anew.
STEPS = 12
LIFETIME = timedelta(hours=1)
# Each certificate shall end later than the one before, also if both come within a second.
_LONGER = itertools.cycle(timedelta(seconds=number) for number in range(20000))
TIMEOUT = 1  # seconds that the board gives an exchange
# What an operation may wait: the time of one exchange that fails, and a server that is busy.
BOUND_MS = 6000
DELAY = 0.2
# In a sample, how often a stall is taken, of which each costs the whole time.
STALLS = 0.25
# Boards that may wait at the same time, each for a stall to end.
WAITING = 24
# Octets by which messages differ from one time to the next: integers of signatures and serial
# numbers have no leading zeros, and TLS 1.3 came out up to 48 apart.
SLACK = 80
# Octets of heap by which a board may grow while modules are loaded that only some faults need.
HEAP_SLACK = 2048
# KB of memory in all, of which a TLS connection that is never freed takes 40 each time.
MEMORY_SLACK = 512
# Octets of heap for a thousand failures of one kind of thing. The collector takes any word that
# looks like a pointer for one.
LEAK = 512


@dataclass(frozen=True)
class Fault:
    """Happens in place of octet `offset` of all that went `towards` the server or the board.

    bit: what corruption changes of the octet. always: it happens on every connection anew.
    """

    kind: str
    towards: str
    offset: int
    bit: int = 1
    always: bool = False

    def __str__(self) -> str:
        often = "always " if self.always else ""
        return f"{often}{self.kind} at octet {self.offset} towards the {self.towards}"


class Proxy(socketserver.ThreadingTCPServer):
    """Forwards connections to `target`; `passed` counts octets since `arm`."""

    daemon_threads = True
    request_queue_size = 16

    def __init__(self, target: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.target = target
        self.port: int = self.server_address[1]
        self.passed = {"server": 0, "board": 0}
        self.fired = False
        self._fault: Fault | None = None
        self._lock = threading.Lock()

    def arm(self, fault: Fault | None) -> None:
        with self._lock:
            self._fault = fault
            self.fired = False
            self.passed = {"server": 0, "board": 0}

    def pass_on(self, towards: str, data: bytes, before: int) -> tuple[bytes, Fault | None, bytes]:
        """What to send, the fault that comes then, and the rest.

        before: octets that went this way on the same connection.
        """
        with self._lock:
            start = self.passed[towards]
            self.passed[towards] += len(data)
            fault = self._fault
            if fault and fault.towards == towards and (fault.always or not self.fired):
                place = fault.offset - (before if fault.always else start)
                if 0 <= place < len(data):
                    self.fired = True
                    return data[:place], fault, data[place:]
        return data, None, b""


class _Connection(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.target)) as far:
            near: socket.socket = self.request
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._forward({near: far, far: near}, far)

    def _forward(self, other: dict[socket.socket, socket.socket], far: socket.socket) -> None:
        dropped = None
        passed = {"server": 0, "board": 0}
        while True:
            for source in select.select(list(other), [], [])[0]:
                data = source.recv(65536)
                if not data:
                    return
                if source is dropped:
                    continue
                towards = "board" if source is far else "server"
                before = passed[towards]
                passed[towards] += len(data)
                data, fault, rest = self.server.pass_on(towards, data, before)
                other[source].sendall(data)
                if not fault:
                    continue
                match fault.kind:
                    case "cut":
                        return
                    case "reset":
                        for end in other:
                            end.setsockopt(
                                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                            )
                            end.close()
                        return
                    case "truncate":
                        other[source].shutdown(socket.SHUT_WR)
                        dropped = source
                    case "stall":
                        near = other[far]
                        while near.recv(65536):
                            pass
                        return
                    case "corrupt":
                        other[source].sendall(bytes([rest[0] ^ fault.bit]) + rest[1:])
                    case "delay":
                        time.sleep(DELAY)
                        other[source].sendall(rest)


@contextmanager
def running_proxy(target: int) -> Iterator[Proxy]:
    """A Proxy to port `target`, in a thread."""
    with Proxy(target) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


_Work = tuple[str, Fault, int]
"""An operation, what happens to it, and how many octets go that way if nothing does."""


class _Bench:
    """A board behind a proxy of its own, and what was seen of it."""

    def __init__(
        self, server: EstServer, runtime: str, folder: Path, name: str, flaw: str
    ) -> None:
        self._server = server
        self._arguments = (runtime, folder / name)
        self._flaw = flaw
        self._state = folder / name
        self._name = name
        self._issued = line.Issued(server)
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.heap: list[int] = []
        self.memory: list[int] = []
        self._files = 0

    def __enter__(self) -> "_Bench":
        self._stack = ExitStack()
        self._proxy = self._stack.enter_context(running_proxy(self._server.port))
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._board.__exit__(None, None, None)
        self._stack.close()

    def _start(self) -> None:
        self._board = line.Line(
            self._server, *self._arguments, self._proxy.port, self._name, self._flaw
        )
        self._board.start()
        self._files = 0

    def lengths(self, operation: str) -> dict[str, int]:
        """Octets that pass each way while an operation goes well."""
        most = {"server": 0, "board": 0}
        for _ in range(3):
            self._prepare(operation)
            self._proxy.arm(None)
            answer = self._go_on(operation)
            assert answer["ok"], answer
            most = {way: max(most[way], self._proxy.passed[way]) for way in most}
        return most

    def _prepare(self, operation: str) -> None:
        self._proxy.arm(None)
        lifetime = LIFETIME + next(_LONGER)
        self._server.config.lifetime = lifetime
        old = line.identity(self._state)
        if operation.startswith("enrol"):
            self._erase()
        elif not old or old.not_valid_after_utc >= datetime.now(UTC) + lifetime:
            self._erase()
            assert self._board.do("enroll")["ok"]
            self._server.config.lifetime += timedelta(seconds=2)
        when = "due" if operation == "renew by steps" else "now"
        assert self._board.do(when)["ok"]

    def _go_on(self, operation: str, timeout: int = 30) -> line.Answer:
        """Do it, or all steps of it."""
        if not operation.endswith("steps"):
            return self._board.do(operation, timeout)
        old = line.identity(self._state)
        for _ in range(STEPS):
            answer = self._board.do("step", timeout)
            now = line.identity(self._state)
            if not answer["ok"] or (now and now != old):
                return answer
        return {**answer, "ok": False, "error": "Endless", "message": str(answer["events"])}

    def _try_once(self, operation: str) -> line.Answer:
        """Do it, or the steps of it until one fails."""
        if not operation.endswith("steps"):
            return self._board.do(operation, TIMEOUT)
        old = line.identity(self._state)
        for _ in range(STEPS):
            answer = self._board.do("step", TIMEOUT)
            now = line.identity(self._state)
            if not answer["ok"] or (now and now != old):
                return answer
            if "failed" in answer["events"]:
                break
        return {**answer, "ok": False, "error": "failed step", "typed": True, "message": ""}

    def _erase(self) -> None:
        for path in self._state.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert self._board.do("open")["ok"]

    def try_fault(self, operation: str, fault: Fault, length: int) -> None:
        """One try with the fault, and if that fails one without."""
        self.counts["tries"] += 1
        try:
            self._prepare(operation)
            for problem in self._faulty(operation, fault, length):
                self.counts["problems"] += 1
                self.problems.append(f"{operation}, {fault}: {problem}")
        except (line.Silent, AssertionError) as error:
            self.counts["problems"] += 1
            self.problems.append(f"{operation}, {fault}: {error}")
            self._board.__exit__(None, None, None)
            self._start()
            self._erase()

    def fail(self, fault: Fault) -> None:
        """A renewal with the fault and nothing after it."""
        self._proxy.arm(fault)
        answer = self._board.do("reenroll", TIMEOUT)
        self.counts["tries"] += 1
        if not answer["ok"]:
            self.counts["failed"] += 1
            if not answer["typed"]:
                self.problems.append(f"{fault}: {answer['error']}: {answer['message']}")
        self.heap.append(answer["heap"])
        self.memory.append(self._board.resources()[1])

    def finish(self, operation: str) -> None:
        """What faults have left, without one. Raises AssertionError."""
        self._proxy.arm(None)
        answer = self._go_on(operation)
        assert answer["ok"], answer

    def _faulty(self, operation: str, fault: Fault, length: int) -> Iterator[str]:
        old = line.identity(self._state)
        place = self._issued.count()
        self._proxy.arm(fault)
        answer = self._try_once(operation)
        if answer["waited"] > BOUND_MS:
            yield f"took {answer['ms']} ms"
        if self._proxy.fired:
            self.counts[fault.kind] += 1
        else:
            self.counts["not reached"] += 1
            # Another connection than the first may be shorter, and a busy machine too slow.
            if answer["ok"] and not fault.always and fault.offset < length - SLACK:
                yield "the proxy did nothing"
        now = line.identity(self._state)
        if answer["ok"]:
            self.counts["done all the same"] += 1
        else:
            self.counts[answer["error"]] += 1
            self.counts["failed"] += 1
            if not answer["typed"]:
                yield f"{answer['error']}: {answer['message']}"
            if old and not now:
                yield "the identity is lost"
            self._proxy.arm(None)
            again = self._go_on(operation)
            if not again["ok"]:
                yield f"the next try fails: {again['error']}: {again['message']}"
            answer["heap"] = again["heap"]
        found = self._issued.since(place, self._name)
        if old and now and old != now and now not in found:
            yield "an identity that nobody issued just now"
        now = line.identity(self._state)
        if not now or now not in found:
            yield "success without a new identity"
        if len({line.spki(one) for one in found}) > 1:
            yield "a second key for one order"
        files, memory = self._board.resources()
        self._files = self._files or files
        if files > self._files:
            yield f"{files} files open"
        self.heap.append(answer["heap"])
        self.memory.append(memory)


def _growth(sizes: list[int]) -> int:
    """By how much the last third of `sizes` is above the second."""
    third = len(sizes) // 3
    return min(sizes[-third:]) - min(sizes[third : 2 * third]) if third else 0


def faults(
    lengths: dict[str, int], sample: int, chance: random.Random, kinds: Sequence[str], seed: int
) -> list[Fault]:
    """One fault at every offset, whose kind the next seed changes; or at each of a sample.

    So as many seeds in a row as there are kinds try each at every offset. In a sample stalls are
    seldom.
    """
    places = [(way, offset) for way in lengths for offset in range(lengths[way])]
    if sample == 1:
        chosen = [(kinds[(at + seed) % len(kinds)], place) for at, place in enumerate(places)]
    else:
        weights = [STALLS if kind == "stall" else 1 for kind in kinds]
        few = chance.sample(places, len(places) // sample)
        chosen = list(zip(chance.choices(kinds, weights, k=len(few)), few, strict=True))
    found = [
        Fault(kind, *place, 1 << chance.randrange(8), chance.random() < 0.5)
        for kind, place in chosen
    ]
    chance.shuffle(found)
    return found


def run(
    sample: int = 1,
    seed: int = 0,
    *,
    runtime: str = "micropython",
    versions: Sequence[str] = ("1.2", "1.3"),
    operations: Sequence[str] = OPERATIONS,
    kinds: Sequence[str] = KINDS,
    boards: int = 3,
    flaw: str = "",
) -> dict[str, Any]:
    """Try one of `sample` offsets, chosen by `seed`, of each operation with each TLS version.

    Returns counts, and as `problems` a list of texts, empty where all is well. `heap` and `memory`
    are the octets and KB by which boards grew after the first third of their tries.
    """
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    problems: list[str] = []
    growth = {"heap": 0, "memory": 0}
    with tempfile.TemporaryDirectory(dir=line.MEMORY) as root:
        for version in versions:
            folder = Path(root, version)
            config = ServerConfig(
                directory=folder / "ca",
                auth="basic",
                users={line.USER: line.PASSWORD},
                tls_max=version,
                lifetime=LIFETIME,
            )
            with running_server(config) as server, ExitStack() as stack:
                benches = [
                    stack.enter_context(_Bench(server, runtime, folder, f"board-{number}", flaw))
                    for number in range(boards)
                ]
                work: list[_Work] = []
                for operation in operations:
                    lengths = benches[0].lengths(operation)
                    counts[f"octets of {operation}, TLS {version}"] = sum(lengths.values())
                    work += [
                        (operation, fault, lengths[fault.towards])
                        for fault in faults(lengths, sample, chance, kinds, seed)
                    ]
                quick: list[_Work] = []
                slow: list[_Work] = []
                for case in work:
                    (slow if case[1].kind in ("stall", "delay") else quick).append(case)
                _share(benches, quick)
                for number in range(boards, min(WAITING, len(slow) // 50)):
                    name = f"board-{number}"
                    more = _Bench(server, runtime, folder, name, flaw)
                    benches.append(stack.enter_context(more))
                _share(benches, slow)
                for bench in benches:
                    counts += bench.counts
                    problems += bench.problems
                    growth["heap"] = max(growth["heap"], _growth(bench.heap))
                    growth["memory"] = max(growth["memory"], _growth(bench.memory))
    return {**counts, **growth, "problems": problems}


# What a soak tries: one of so many octets, the version of TLS, and operations.
_SOAK = (
    (1, "1.2", ("enroll",)),
    (1, "1.2", ("renew by steps",)),
    (20, "1.2", ("enrol by steps", "reenroll")),
    (20, "1.3", OPERATIONS),
)


def soak(seed: int = 0, *, jobs: int = 2) -> dict[str, Any]:
    """A fault at every octet of an enrolment and of a renewal as boards do them, of another kind
    with each of six seeds, and samples of the rest, in so many processes. Returns as `run` does.
    """
    found: dict[str, Any] = {"heap": 0, "memory": 0, "problems": []}
    counts: Counter[str] = Counter()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for part in [
            pool.submit(run, sample, seed, versions=[version], operations=operations)
            for sample, version, operations in _SOAK
        ]:
            result = part.result()
            found["problems"] += result.pop("problems")
            for name in ("heap", "memory"):
                found[name] = max(found[name], result.pop(name))
            counts.update(result)
    return {**counts, **found}


def leak(
    failures: int = 1000, seed: int = 0, *, runtime: str = "micropython", flaw: str = ""
) -> dict[str, Any]:
    """Let one board fail to renew so often; returns counts as `run` does.

    `heap` and `memory` are by how much it grew after the first fifth.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=line.MEMORY) as name:
        config = ServerConfig(
            directory=Path(name, "ca"),
            auth="basic",
            users={line.USER: line.PASSWORD},
            tls_max="1.2",  # as boards have it
        )
        with (
            running_server(config) as server,
            _Bench(server, runtime, Path(name), "board-1", flaw) as bench,
        ):
            lengths = bench.lengths("reenroll")
            while bench.counts["failed"] < failures:
                way = chance.choice(list(lengths))
                kind = chance.choice(("cut", "reset", "truncate"))
                # In the first third nothing can end well.
                offset = chance.randrange(lengths[way] // 3)
                bench.fail(Fault(kind, way, offset, always=True))
            # A certificate whose answer was lost is had now, so that the next one is a new one.
            bench.finish("reenroll")
            bench.try_fault("reenroll", Fault("cut", "server", 0), lengths["server"])
            fifth = len(bench.heap) // 5
            growth = {
                "heap": min(bench.heap[-fifth:]) - min(bench.heap[fifth : 2 * fifth]),
                "memory": min(bench.memory[-fifth:]) - min(bench.memory[fifth : 2 * fifth]),
            }
            return {**bench.counts, **growth, "problems": bench.problems}


def _share(benches: Sequence[_Bench], work: Iterable[_Work]) -> None:
    """Let the boards do the work at the same time."""
    left = iter(work)
    lock = threading.Lock()

    def run_board(bench: _Bench) -> None:
        while True:
            with lock:
                case = next(left, None)
            if case is None:
                return
            bench.try_fault(*case)

    with ThreadPoolExecutor(len(benches)) as pool:
        for done in [pool.submit(run_board, bench) for bench in benches]:
            done.result()
