"""Power cuts amid `mpest flash`: what was there before runs, or what is new, and nothing between.

Wherever the board's storage is written to or erased, a cut is tried, torn writes included.
"""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import pytest
from documents import block

from mpest import boards
from mpest.boards import Board
from mpest.exits import CliError
from mpest.flash import switch
from mpest.flash.application import File
from mpest.flash.install import install
from mpest.flash.target import Directory, Remote
from mpest.flash.update import Event
from mpest.toolchain.runtimes import Program

HERE = Path(__file__).parent
PICO = boards.load("RPI_PICO_W")
IDENTITY = b"key and chain"
MAIN = """
import est, est.part, est.same, bringup
with open("config.json") as file:
    print({version!r}, est.VERSION, est.part.VERSION, bringup.VERSION, file.read())
"""
# A program of the user's, which `mpest flash` does not touch.
MINE = "import est, est.part, est.same\nprint(est.VERSION, est.part.VERSION)\n"


def application(version: str, *, main: bool = True) -> list[File]:
    """One in small, that tells of each file of which version it is."""
    marker = f"VERSION = {version!r}\n".encode()
    files = {
        "/lib/est/__init__.py": marker,
        "/lib/est/part.py": marker + b"#" * 6000,
        "/lib/est/same.py": b"#" * 3000,
        f"/lib/est/only_{version}.py": marker,
        "/lib/bringup.py": marker,
        "/config.json": version.encode(),
    }
    if main:
        files["/main.py"] = MAIN.format(version=version).encode()
    return [File(path, data) for path, data in files.items()]


class Simulated(Remote):
    """A board without mpremote, which flash_board.py plays."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        super().__init__("simulated")
        self.left = False
        self._process = process

    def ask(self, *request: object) -> object:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        kind, answer = json.loads(self._process.stdout.readline())
        assert kind == "ok", answer
        return answer

    def answers(self) -> None:
        pass

    def _exec(self, code: str) -> str:
        return str(self.ask("exec", code))

    def write(self, files: list[File]) -> Iterator[File]:
        for file in files:
            yield file
            self._exec(f"with open({file.path!r}, 'wb') as file: file.write({file.data!r})")

    def restart(self) -> None:
        pass

    def leave(self) -> None:
        self.left = True

    def put(self, path: str, data: bytes) -> None:
        list(self.write([File(path, data)]))

    def boot(self) -> str:
        return str(self.ask("boot"))

    def files(self) -> set[str]:
        code = (
            "import os\nfor place in ('/', '/lib', '/lib/est', '/est', '/mpest.new'):\n"
            " try:\n  print(*os.listdir(place))\n except OSError:\n  pass"
        )
        return set(self._exec(code).split())

    def update(self, files: list[File], board: Board = PICO) -> list[Event]:
        events: list[Event] = []
        install(self, board, files, events.append, erase_identity=False)
        return events


@pytest.fixture
def board(program: Callable[[str], Program]) -> Iterator[Simulated]:
    found = program("micropython")
    with subprocess.Popen(
        [*found.argv, "-X", "heapsize=128m", HERE / "flash_board.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **found.env, "MICROPYPATH": f"{HERE.parent / 'faults'}:.frozen"},
    ) as process:
        try:
            yield Simulated(process)
        finally:
            process.kill()


def cuts(
    board: Simulated, happens: Callable[[], object], sample: int | None = None, name: str = "cuts"
) -> Iterator[int]:
    """Numbers of the cuts while something happens, or of so many, the board left by each."""
    board.ask("watch", name)
    happens()
    count = board.ask("count", name)
    assert isinstance(count, int) and count > 10
    for number in range(0, count, -(-count // (sample or count))):
        board.ask("restore", name, number)
        yield number


OLD, NEW = ("old " * 5).strip(), ("new " * 5).strip()
IN_THE_END = {"main.py", "lib", "est", "identity.0", "bringup.py", "config.json", "boot.py"}
IN_THE_END |= {"__init__.py", "part.py", "same.py", "only_new.py"}


def with_old(board: Simulated, main: bool = True) -> None:
    board.update(application("old", main=main))
    if not main:
        board.put("/main.py", MINE.encode())
    board.put("/boot.py", b"")
    board.put("/identity.0", IDENTITY)
    board.put("/config.new.json", b"is removed with the update")


def ends_well(board: Simulated, main: bool = True) -> None:
    """A second run of the command completes the update."""
    board.update(application("new", main=main))
    assert board.boot() == (NEW if main else "new new")
    kept = {name for name in board.files() if name.endswith(".old")}
    assert len(kept) == main and board.files() - kept == IN_THE_END
    assert board._exec("print(open('/identity.0').read())") == IDENTITY.decode()


def test_update(board: Simulated) -> None:
    with_old(board)
    assert board.boot() == OLD
    seen = set()
    for _ in cuts(board, lambda: board.update(application("new"))):
        said = board.boot()
        assert said in (OLD, NEW)
        seen.add(said)
        ends_well(board)
    assert seen == {OLD, NEW}
    again = board.update(application("new"))
    assert not [event for event in again if event["event"] in ("write", "removed", "renamed")]


@pytest.mark.parametrize("boots", [True, False])
def test_cut_again(board: Simulated, boots: bool) -> None:
    """While the board starts after a cut, or a second run goes on from there at once."""

    def happens() -> None:
        if boots:
            board.boot()
        board.update(application("new"))

    with_old(board)
    for _ in cuts(board, lambda: board.update(application("new")), 10, "first"):
        for _ in cuts(board, happens, 10, "second"):
            assert board.boot() in (OLD, NEW)
            ends_well(board)


def test_modules_alone(board: Simulated) -> None:
    """--no-main: the user's program has the one package or the other, and no part of both."""
    new = application("new", main=False)
    with_old(board, main=False)
    assert board.boot() == "old old"
    seen = set()
    for _ in cuts(board, lambda: board.update(new)):
        said = board.boot()
        assert said in ("old old", "new new")
        seen.add(said)
        ends_well(board, main=False)
    assert seen == {"old old", "new new"}


def test_main_is_put_back(board: Simulated) -> None:
    """An update with main.py was cut, the next run is one without."""
    board.put("/main.py", MINE.encode())
    board.update(application("old", main=False))
    for _ in cuts(board, lambda: board.update(application("new")), 60):
        if board.boot() == "old old":
            board.update(application("old", main=False))
            assert board.boot() == "old old"
            assert board._exec("print(open('/main.py').read())") == MINE
            assert not [name for name in board.files() if name.startswith("mpest")]


def test_first_install(board: Simulated) -> None:
    for _ in cuts(board, lambda: board.update(application("new")), 60):
        assert board.boot() in ("", NEW)
        board.update(application("new"))
        assert board.boot() == NEW
        assert not [name for name in board.files() if "mpest" in name or "old" in name]


def notes(events: list[Event]) -> str:
    return " ".join(str(event["text"]) for event in events if event["event"] == "note")


def test_dry_run_after_a_cut(board: Simulated) -> None:
    """It says what is to be completed, and changes nothing."""
    with_old(board)
    seen = ""
    for _ in cuts(board, lambda: board.update(application("new")), 30):
        before = board.files()
        events: list[Event] = []
        install(board, PICO, application("new"), events.append, erase_identity=False, dry_run=True)
        seen += " ".join(str(event.get("text")) for event in events)
        assert board.files() == before
        assert board.boot() in (OLD, NEW)
    for words in (
        "finish an update that was cut",
        "remove what was not finished",
        "install /main.py",
    ):
        assert words in seen


def test_in_place_where_there_is_no_room_for_both(board: Simulated) -> None:
    with_old(board)
    board._exec(
        "import os\nwith open('/large', 'wb') as file:\n"
        " for _ in range(os.statvfs('/')[3] - 12): file.write(bytes(4096))\n"
    )
    events = board.update(application("new"))
    assert "no room for both" in notes(events) and "in place" in notes(events)
    assert board.boot() == NEW
    # Written last: until then nothing starts.
    assert [e["path"] for e in events if e["event"] == "write"][-1] == "/main.py"


def test_in_place_on_fat(board: Simulated) -> None:
    """FAT does not rename at once; also after a run that found room on another file system."""
    storage = PICO.storage.model_copy(update={"kind": "fat"})
    fat = PICO.model_copy(update={"storage": storage})
    with_old(board)
    for _ in cuts(board, lambda: board.update(application("new")), 15):
        events = board.update(application("new"), fat)
        assert (
            "FAT" in notes(events)
            or "finished first" in notes(events)
            or not any(event["event"] == "write" for event in events)
        )
        assert board.boot() == NEW
        assert not [name for name in board.files() if name.startswith("mpest")]


def test_a_file_that_reads_back_wrong_is_not_switched_to(board: Simulated) -> None:
    with_old(board)
    written = board.write

    def write(files: list[File]) -> Iterator[File]:
        yield from written(files)
        list(written([File("/mpest.new/lib/est/part.py", b"another")]))

    board.write = write  # type: ignore[method-assign]
    board.left = False
    with pytest.raises(CliError, match=r"/mpest\.new/lib/est/part\.py reads back wrong"):
        board.update(application("new"))
    assert board.left and board.boot() == OLD


@pytest.fixture
def index(tmp_path: Path) -> Iterator["Index"]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def copyfile(self, source: IO[bytes], to: IO[bytes]) -> None:  # type: ignore[override]
            data = source.read()
            short = served.short and "/file/" in self.path
            served.short -= bool(short)
            to.write(data[:100] if short else data)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path)) as server:
        served = Index(tmp_path, f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield served
        server.shutdown()


class Index:
    """An index for mip. short: of how many files only the beginning comes."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        self.address = address
        self.short = 0

    def offer(self, version: str) -> None:
        hashes = []
        for file in application(version, main=False):
            if file.path.startswith("/lib/est/"):
                name = file.sha256[:8]
                place = self._folder / "file" / name[:2] / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(file.data)
                hashes.append([file.path.removeprefix("/lib/"), name])
        place = self._folder / "package/6/est/latest.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({"v": 1, "version": version, "hashes": hashes}))

    def documented(self) -> str:
        code = block("docs/parts.md", "def bring()")
        before, address, after = code.partition("http://192.168.1.2:8080")
        assert address
        return before + self.address + after


def test_documented_update_by_mip(board: Simulated, index: Index) -> None:
    with_old(board, main=False)
    lines = index.documented()
    index.offer("new")
    seen = set()
    for _ in cuts(board, lambda: board._exec(lines)):
        said = board.boot()
        assert said in ("old old", "new new")
        seen.add(said)
        board._exec(lines)
        assert board.boot() == "new new"
        kept = {"boot.py", "identity.0", "config.json", "config.new.json", "lib", "main.py"}
        assert set(board._exec("import os\nprint(*os.listdir('/'))").split()) == kept
        modules = board._exec("import os\nprint(*os.listdir('/lib/est'))").split()
        assert set(modules) == {"__init__.py", "part.py", "same.py", "only_new.py"}
    assert seen == {"old old", "new new"}


def test_mip_over_a_connection_that_is_lost(board: Simulated, index: Index) -> None:
    with_old(board, main=False)
    index.offer("new")
    index.short = 100
    with pytest.raises(AssertionError, match="est has not come whole"):
        board._exec(index.documented())
    assert board.boot() == "old old"
    index.short = 2
    board._exec(index.documented())
    assert board.boot() == "new new"


class Cut(BaseException):
    """The computer's power goes."""


@pytest.mark.parametrize("main", [True, False])
def test_update_of_a_folder(
    main: bool, program: Callable[[str], Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut before each change of a file. Without main.py there may be a moment without est."""
    found = program("micropython")
    unix = boards.load("UNIX")
    start = MAIN.format(version="mine").encode()
    left = -1

    def files(version: str) -> list[File]:
        made = [
            replace(file, path=re.sub("^/(lib/)?", "", file.path))
            for file in application(version, main=main)
        ]
        return made

    def update(folder: Path, version: str) -> None:
        install(Directory(folder), unix, files(version), lambda _: None, erase_identity=False)

    def boot(folder: Path) -> str:
        guard = (folder / "main.py").read_text()
        (folder / "run.py").write_text(guard.replace("time.sleep(10)", ""))
        done = subprocess.run(
            [*found.argv, "run.py"],
            cwd=folder,
            env={**os.environ, **found.env, "MICROPYPATH": ":.frozen"},
            capture_output=True,
            text=True,
        )
        (folder / "run.py").unlink()
        return done.stdout.strip() or done.stderr

    def counting(change: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise Cut
            return change(*arguments, **options)

        return counted

    update(tmp_path / "old", "old")
    if not main:
        (tmp_path / "old/main.py").write_bytes(start)
    before = boot(tmp_path / "old")
    for name in ("rename", "remove", "mkdir", "rmdir", "open"):
        monkeypatch.setattr(os, name, counting(getattr(os, name)))
    monkeypatch.setattr(switch, "open", counting(open), raising=False)
    seen = set()
    for number in range(1, 999):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "old", folder)
        left = number
        try:
            update(folder, "new")
            break
        except Cut:
            left = -1
        said = boot(folder)
        if main:
            assert said in (OLD, NEW)
        else:
            packages = {"mine old old": True, "mine new new": True}
            assert said[:12] in packages or "no module named 'est" in said
        seen.add(said)
        update(folder, "new")
        assert boot(folder) == (NEW if main else "mine new new new new")
        assert not list(folder.glob("mpest*")) and not list(folder.glob("est.*"))
    assert number > 20 and len(seen) > 1 and before in seen
