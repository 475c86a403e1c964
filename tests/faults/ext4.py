"""Power cuts on ext4, 0 to 15 s after a board's process has said that something is done.

What a file system has not written back yet is lost when the power goes. `run` lets boards enrol,
renew, follow a new root and revoke on file systems of their own, each in a file behind a loop
device, copies such files while they are mounted, which is what a disk would hold at that instant,
and mounts the copies: what was said to be done must be there, and the next try must succeed. It
does so in a mount namespace of its own, so that nothing stays mounted whatever happens.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import line
import recorded
from cryptography import x509

from mpest.server import ServerConfig, running_server

RUNTIMES = ("micropython", "cpython")
# What is done, after what, and what a board must be able to do next.
SCENARIOS = {
    "enrolment": ((), "enroll", "reenroll"),
    "renewal": (("enroll",), "reenroll", "reenroll"),
    "rollover": (("enroll",), "cacerts", "cacerts"),
    "revocation": (("enroll",), "revoke", "enroll"),
}
SECONDS = (*(number / 2 for number in range(10)), *range(5, 16))
# How long for a sample: at once, and after what ext4 wrote back first.
FEW_SECONDS = (0, 1, 6)
# How many cuts of each case are judged before success, and in a sample.
MANY, FEW = 1000, 4
# Seconds from one of these to the next.
PAUSE = 0.005
_IMAGE = 8 << 20
_TRIES = 400


def missing() -> str | None:
    """Why no ext4 can be mounted here, or None."""
    if os.geteuid():
        return "mounting needs root"
    for program in ("mkfs.ext4", "mount", "umount", "unshare"):
        if not shutil.which(program):
            return f"there is no {program}"
    done = subprocess.run(
        [*_NAMESPACE, sys.executable, __file__, "probe"],
        env=line.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if "Traceback" in done.stdout and "CalledProcessError" not in done.stdout:
        raise RuntimeError(done.stdout)
    return (done.stdout.strip().splitlines() or ["?"])[-1] if done.returncode else None


_NAMESPACE = ("unshare", "--mount", "--propagation", "private")


def run(
    seconds: Sequence[float] | None = SECONDS,
    before: int = MANY,
    seed: int = 0,
    *,
    runtimes: Sequence[str] = RUNTIMES,
    flaw: str = "",
) -> dict[str, Any]:
    """Cut the power so long after success, and so often before, on each runtime.

    Without `seconds` what the boards do is recorded instead, see recorded.py, and the power is cut
    after every fsync and after success.
    Returns counts, and as `problems` a list of texts, empty where all is well. `lost` counts the
    identities that are gone, `forgotten` what was done and is no more.
    """
    if seconds is None:
        return _run(None, before, seed, runtimes, flaw)
    arguments = {
        "seconds": list(seconds),
        "before": before,
        "seed": seed,
        "runtimes": list(runtimes),
        "flaw": flaw,
    }
    done = subprocess.run(
        [*_NAMESPACE, sys.executable, __file__, json.dumps(arguments)],
        env=line.environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def _mounted(image: Path, folder: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        yield folder
    finally:
        # A process that another thread starts has the same files open for an instant.
        for _ in range(_TRIES):
            done = subprocess.run(["umount", folder], capture_output=True)
            if not done.returncode:
                break
            time.sleep(0.01)
        else:
            raise AssertionError(done.stderr.decode())


def _make(image: Path) -> None:
    with image.open("wb") as file:
        file.truncate(_IMAGE)
    # All is written now: the kernel does nothing later in the background.
    options = ("-E", "lazy_itable_init=0,lazy_journal_init=0")
    subprocess.run(["mkfs.ext4", "-q", "-F", *options, image], check=True)


def _copy(image: Path, to: Path) -> None:
    """Copy a file, of which most is a hole."""
    with image.open("rb") as source, to.open("wb") as target:
        target.truncate(_IMAGE)
        end = 0
        while True:
            try:
                start = os.lseek(source.fileno(), end, os.SEEK_DATA)
            except OSError:  # there is no more
                return
            end = os.lseek(source.fileno(), start, os.SEEK_HOLE)
            os.copy_file_range(source.fileno(), target.fileno(), end - start, start, start)


class _Disk:
    """A mounted file system and the copies of what its disk held."""

    def __init__(self, image: Path, folder: Path) -> None:
        self._image = image
        self._folder = folder
        device = next(
            text.split()[0]
            for text in Path("/proc/mounts").read_text().splitlines()
            if text.split()[1] == str(folder)
        )
        self._statistics = Path("/sys/block", Path(device).name, "stat")

    def settle(self) -> None:
        """Write all back, as if it had been long ago."""
        subprocess.run(["sync", "--file-system", self._folder], check=True)

    def _writes(self) -> tuple[int, int]:
        fields = self._statistics.read_text().split()
        return int(fields[4]), int(fields[8])

    def copy(self, to: Path) -> None:
        """Copy the disk at one instant, in which nothing is being written to it."""
        for _ in range(_TRIES):
            before = self._writes()
            _copy(self._image, to)
            if before == self._writes() and not before[1]:
                return
            time.sleep(0.005)
        raise AssertionError("the disk never rests")


@dataclass
class _Cut:
    """What a disk held when the power was cut: a folder, or the image of a file system."""

    when: str
    path: Path
    done: bool
    """The board had said that all is done."""
    begun: list[x509.Certificate] = field(default_factory=list)
    """What the server had issued before."""

    @contextmanager
    def opened(self, mount: Path) -> Iterator[Path]:
        if self.path.is_dir():
            yield self.path
            return
        with _mounted(self.path, mount):
            yield mount / "board"


class _Case:
    """One runtime in one scenario, with a server of its own."""

    def __init__(self, runtime: str, scenario: str, folder: Path, flaw: str) -> None:
        self._runtime = runtime
        self._scenario = scenario
        self._folder = folder
        self._flaw = flaw
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []

    def run(self, seconds: Sequence[float] | None, before: int, seed: int) -> None:
        """Cut so long after success on ext4, or without `seconds` on a recorded disk."""
        self._folder.mkdir()
        config = ServerConfig(
            directory=self._folder / "ca", auth="basic", users={line.USER: line.PASSWORD}
        )
        with running_server(config) as self._server:
            self._issued = line.Issued(self._server)
            self._root = line.root_of(self._server)
            if seconds is None:
                cuts = self._recorded()
            else:
                image = self._folder / "image"
                _make(image)
                with _mounted(image, self._folder / "mount") as mount:
                    cuts = self._on_ext4(mount, _Disk(image, mount), seconds)
            for done in (False, True):
                if done and self._scenario == "rollover":
                    self._server.rollover()  # the first root alone does no longer
                found = [cut for cut in cuts if cut.done == done]
                if not done:
                    found = random.Random(seed).sample(found, min(len(found), before))
                for cut in found:
                    self._try_cut(cut)

    def _try_cut(self, cut: _Cut) -> None:
        self.counts["cuts"] += 1
        try:
            with cut.opened(self._folder / "copy") as state:
                problem = self._judge(cut, state)
        except (line.Silent, AssertionError, subprocess.CalledProcessError) as error:
            problem = str(error)
        if problem:
            self.problems.append(f"{self._runtime}, {self._scenario}, cut {cut.when}: {problem}")
        if cut.path.is_file():
            cut.path.unlink()

    def _board(self, state: Path, prefix: Sequence[str] = ()) -> line.Line:
        return line.Line(
            self._server, self._runtime, state, flaw=self._flaw, root=self._root, prefix=prefix
        )

    def _prepare(self, board: line.Line, state: Path) -> None:
        board.start()
        for command in SCENARIOS[self._scenario][0]:
            assert board.do(command)["ok"]
        self._old = line.identity(state)
        if self._scenario == "rollover":
            self._server.rollover()

    def _on_ext4(self, mount: Path, disk: _Disk, seconds: Sequence[float]) -> list[_Cut]:
        state = mount / "board"
        cuts: list[_Cut] = []
        with self._board(state) as board:
            self._prepare(board, state)
            disk.settle()
            place = self._issued.count()
            board.say(do=SCENARIOS[self._scenario][1], timeout=30)
            while not board.ready():
                begun = self._issued.since(place, "board-1")
                image = self._folder / f"during-{len(cuts)}"
                disk.copy(image)
                cuts.append(_Cut("before the end", image, False, begun))
                time.sleep(PAUSE)
            started = time.monotonic()
            answer = board.hear()
            assert answer["ok"], answer
            self._new = line.identity(state)
            for when in seconds:
                time.sleep(max(started + when - time.monotonic(), 0))
                image = self._folder / f"after-{when}"
                disk.copy(image)
                cuts.append(_Cut(f"{when} s after", image, True))
        return cuts

    def _recorded(self) -> list[_Cut]:
        state = self._folder / "board"
        log = self._folder / "log"
        cuts: list[_Cut] = []
        with self._board(state, recorded.prefix(log)) as board:
            self._prepare(board, state)
            disk = recorded.Disk(state)
            place = log.stat().st_size
            answer = board.do(SCENARIOS[self._scenario][1])
            assert answer["ok"], answer
            self._new = line.identity(state)
            for _ in disk.replay(log.read_text()[place:]):
                folder = self._folder / f"during-{len(cuts)}"
                disk.write_to(folder)
                cuts.append(_Cut(f"after {len(cuts) + 1} fsyncs", folder, False))
        folder = self._folder / "after"
        disk.write_to(folder)
        return [*cuts, _Cut("after success", folder, True)]

    def _judge(self, cut: _Cut, state: Path) -> str | None:
        """What is wrong, if anything is, with the folder that a power cut left."""
        _, command, following = SCENARIOS[self._scenario]
        # The folder itself may be lost with what was in it.
        found = line.identity(state) if state.exists() else None
        if cut.done and found != self._new:
            if self._new and not found:
                self.counts["lost"] += 1
                return "the identity is lost"
            self.counts["forgotten"] += 1
            return "the old identity is back"
        if not found and self._old and self._scenario != "revocation":
            self.counts["lost"] += 1
            return "the identity is lost"
        if not cut.done:
            following = command
            if self._scenario != "rollover" and found != self._old:
                return None
        place = self._issued.count()
        with self._board(state) as board:
            board.start()
            answer = board.do(following)
        if not answer["ok"]:
            self.counts["forgotten"] += cut.done
            return f"the next {following} fails: {answer['error']}: {answer['message']}"
        keys = {line.spki(one) for one in cut.begun}
        asked = {line.spki(one) for one in self._issued.since(place, "board-1")}
        # The answer may have been stored: then nothing is asked for any more.
        if keys and not asked <= keys:
            self.counts["second keys"] += 1
            return "a second key for one order"
        return None


def _probe() -> None:
    with tempfile.TemporaryDirectory() as name:
        _make(Path(name, "image"))
        with _mounted(Path(name, "image"), Path(name, "mount")):
            pass


def _run(
    seconds: Sequence[float] | None, before: int, seed: int, runtimes: Sequence[str], flaw: str
) -> dict[str, Any]:
    counts: Counter[str] = Counter(cuts=0, lost=0, forgotten=0)
    problems: list[str] = []
    with tempfile.TemporaryDirectory(dir=line.MEMORY) as name:
        cases = [
            _Case(runtime, scenario, Path(name, f"{runtime}-{scenario}"), flaw)
            for runtime in runtimes
            for scenario in SCENARIOS
        ]
        with ThreadPoolExecutor(len(cases)) as pool:
            for done in [pool.submit(case.run, seconds, before, seed) for case in cases]:
                done.result()
        for case in cases:
            counts.update(case.counts)
            problems += case.problems
    return {**counts, "problems": problems}


if __name__ == "__main__":
    if sys.argv[1] == "probe":
        _probe()
    else:
        print(json.dumps(_run(**json.loads(sys.argv[1]))))
