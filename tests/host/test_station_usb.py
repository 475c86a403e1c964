"""Boards whose ports come back under other names, and boot loaders' drives, in a simulated USB."""

import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from firmware_files import uf2
from line_of_boards import Line, make_here, server_of
from simulated_usb import Usb
from usb_boards import Hub, UsbBoard, plugged, program

from mpest import boards as profiles
from mpest.exits import Exit
from mpest.station import firmware, job, line, mounting, ports, worker
from mpest.station.ledger.ledger import Ledger
from mpest.station.link import Serial

PICO = profiles.load("RPI_PICO_W")

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    (tmp_path / "usb").mkdir()
    made = Hub(Usb(tmp_path / "usb"), program(tmp_path))
    monkeypatch.setattr(mounting, "mounted_at", made.mounted_at)
    return made


def _boards(hub: Hub, folder: Path, count: int, size: int = 0) -> list[UsbBoard]:
    hub.usb.device("1-1", ("05e3", "0610"))
    return [
        UsbBoard(hub, f"1-1.{at}", folder / f"board-{at}", f"0a0b0c{at:04x}", size)
        for at in range(1, count + 1)
    ]


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _swap(boards: list[UsbBoard]) -> None:
    """With their next resets these two change names: each waits until the other's is free."""
    first, second = boards
    names, away = first.hub.names, first.hub.away
    first.may_return = lambda: len(names[second.path]) > 1
    second.may_return = lambda: first.path in away or len(names[first.path]) > 1


def test_a_reset_brings_another_name(hub: Hub, tmp_path: Path) -> None:
    """Each link keeps to its own board."""
    boards = _boards(hub, tmp_path, 2)
    _swap(boards)
    with plugged(boards):
        links = [Serial(port.name, port.path) for port in ports.plugged(hub.usb.root)]
        assert [link.name for link in links] == ["1-1.1", "1-1.2"]
        threads = [
            threading.Thread(target=link.reset, kwargs={"again": again})
            for link, again in zip(links, (True, False), strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _until(lambda: all(len(hub.names[board.path]) == 2 for board in boards))
        assert [*hub.names.values()] == [["ttyACM0", "ttyACM1"], ["ttyACM1", "ttyACM0"]]
        for link, board in zip(links, boards, strict=True):
            asked = (
                "import binascii, machine\nprint(binascii.hexlify(machine.unique_id()).decode())"
            )
            assert link.run(asked, 10).strip() == board.unique_id
            link.close()


def test_a_line_whose_ports_are_renumbered(hub: Hub, tmp_path: Path) -> None:
    """Amid a step, and when boards are done: each is made once, and its result stays."""
    events: list[dict[str, Any]] = []
    done = threading.Event()

    def emit(event: str, /, **fields: Any) -> None:
        events.append({"event": event, **fields})
        told = [one for one in events if one["event"] == "board"]
        if len(told) == 2 and not done.is_set():
            done.set()
            # They start over by now; nothing more is to be told of them.
            ends = {"event": "stop", "message": "seen enough"}
            threading.Timer(worker.SETTLE + 3, running.post, [ends]).start()

    with server_of(tmp_path) as server:
        batch = Line(server, tmp_path, 3)  # a board is missing, so it does not end by itself
        made = job.load(batch.job)
        boards = _boards(hub, tmp_path, 2)
        _swap(boards)
        for plugged_in in boards:  # a program that is stopped first, by a reset
            (plugged_in.root / "main.py").write_text("# of a test bench\n")
        options = line.Options("Ann", lambda: ports.plugged(hub.usb.root))
        with plugged(boards):
            running = line.Line(made, str(batch.ledger), options, emit)
            assert running.run() == Exit.REFUSED, events  # it was stopped
        assert all(len(names) > 2 for names in hub.names.values())
        batch.check(2)
    ports_of = [(one["port"], one["outcome"]) for one in events if one["event"] == "board"]
    assert sorted(ports_of) == [("1-1.1", "done"), ("1-1.2", "done")]
    assert not [one for one in events if one["event"] == "port" and one["state"] == "gone"]
    assert [names[1] for names in hub.names.values()] == ["ttyACM1", "ttyACM0"]


def test_eight_picos_in_their_boot_loaders(hub: Hub, tmp_path: Path) -> None:
    """At once: each gets its firmware once, on its own drive, and is back at its own port."""
    content = uf2(0xE48BFF56, [0x10000000 + 256 * at for at in range(64)])
    file = tmp_path / "firmware.uf2"
    boards = _boards(hub, tmp_path, 8, len(content))
    files = []
    for at in range(8):  # as eight jobs would, so that a mixed-up drive is seen
        files.append(file.with_name(f"{at}.uf2"))
        files[-1].write_bytes(content[:-4] + bytes([at] * 4))
    problems: list[str] = []

    def write(at: int, port: ports.Port) -> None:
        made: Any = SimpleNamespace(  # what of a job it needs
            board=PICO.name,
            profile=PICO,
            firmware=files[at],
            firmware_sha256=sha256(files[at].read_bytes()).hexdigest(),
        )
        link = Serial(port.name, port.path)
        try:
            firmware.write(made, port, link, "", lambda *_, **__: None, problems.append)
            link.run("pass", 10)
        except Exception as error:  # in a thread
            problems.append(f"{port.name}: {error}")
        finally:
            link.close()

    with plugged(boards):
        threads = [
            threading.Thread(target=write, args=(at, port))
            for at, port in enumerate(ports.plugged(hub.usb.root))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        for at, board in enumerate(boards):
            assert board.written == files[at].read_bytes()
            assert [name[:2] for name in hub.names[board.path]] == ["tt", "sd", "tt"]


def test_a_board_that_waits_for_firmware(hub: Hub, tmp_path: Path) -> None:
    """As a new one does, and one whose station was killed while it wrote that."""
    content = uf2(0xE48BFF56, [0x10000000 + 256 * at for at in range(64)])
    (tmp_path / "firmware.uf2").write_bytes(content)
    [board] = boards = _boards(hub, tmp_path, 1, len(content))
    board.blank = True
    with server_of(tmp_path) as server:
        batch = Line(server, tmp_path, 1)
        with (tmp_path / "boards/SIMULATED/board.toml").open("a") as file:
            file.write("[flash]" + (PICO.folder / "board.toml").read_text().split("[flash]")[1])
        changed = {
            "firmware": tmp_path / "firmware.uf2",
            "firmware_sha256": sha256(content).hexdigest(),
        }
        with plugged(boards):
            [port] = ports.plugged(hub.usb.root)
            assert port.board() and not port.path()
            link = Serial(port.name, port.path)
            outcome = make_here(batch, port=port, link=link)
            assert outcome.kind == "waiting" and "the job has none" in outcome.message
            batch.ledger.unlink()  # it is another job
            outcome = make_here(batch, port=port, link=link, job=changed)
            assert outcome.kind == "done", outcome
        batch.check(1)
        with Ledger(str(batch.ledger)) as ledger:
            steps = [event for event in ledger.history("A001") if event.step == "firmware"]
    assert [(event.outcome, event.detail["sha256"]) for event in steps] == [
        ("done", changed["firmware_sha256"])
    ]
    assert board.written == content
