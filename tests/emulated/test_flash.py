"""`mpest flash` on real MicroPython: the real mpremote installs over a serial port."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "host"))

import esp_chip
import firmware_files
import pytest

from mpest import boards, emulator
from mpest.boards import Board
from mpest.exits import Exit
from mpest.flash import application

COMMAND = [sys.executable, "-c", "from mpest.cli import main; main()", "flash"]

STORE = """
from est import store
records = store.Store("/")
records.save("identity", b"key and chain")
records.save("identity", b"key and newer chain")
records.save("order", b"key and request")
"""
LOAD = """
from est import store, x509
print(store.Store("/").load("identity"), store.Store("/").load("order"))
"""
KEPT = "b'key and newer chain' b'key and request'"


def flash(
    board: str, machine: emulator.Machine, *options: str | Path
) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "--board", board, "--port", machine.pty, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def changes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Event by path, of files that were written or removed."""
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events[-2:]] == ["verified", "done"]
    changed = [event for event in events if event["event"] in ("write", "removed")]
    return {event["path"]: event["event"] for event in changed}


def test_install_and_repeat(board: Board) -> None:
    paths = [file.path for file in application.files(board)]
    with emulator.Machine(board, emulator.build(board)) as machine:
        started = time.monotonic()
        assert list(changes(flash(board.name, machine, "--json"))) == paths
        print(f"{board.name}: installed in {time.monotonic() - started:.1f} s")
        started = time.monotonic()
        assert changes(flash(board.name, machine, "--json")) == {}
        print(f"{board.name}: repeated in {time.monotonic() - started:.1f} s")


def test_repair_and_erase(mps2: Board) -> None:
    with emulator.Machine(mps2, emulator.build(mps2)) as machine:
        changes(flash(mps2.name, machine, "--json"))
        machine.run(STORE)
        # Older versions, and sources that would be loaded in place of the modules.
        machine.run(
            "import os\nos.mkdir('/est')\n"
            "for path in ('/est/agent.py', '/lib/est/old.mpy', '/lib/bringup.py', '/mine.py'):\n"
            " open(path, 'w').close()\n"
            "with open('/lib/est/modules', 'a') as file: file.write('damaged')\n"
            "with open('/main.py', 'w') as file: file.write('# of another application')\n"
        )
        changed = changes(flash(mps2.name, machine, "--json"))
        for path in ("/est/agent.py", "/est", "/lib/est/old.mpy", "/lib/bringup.py"):
            assert changed.pop(path) == "removed"
        assert changed.pop("/lib/est/modules") == "write"
        assert changed == {"/main.py": "write"}
        kept = "import os\nprint([open(old).read() for old in os.listdir('/') if '.old' in old])"
        assert "another" in machine.run(kept)
        assert machine.run(LOAD).strip() == KEPT
        machine.run("import os; os.stat('/mine.py')")
        changed = changes(flash(mps2.name, machine, "--json", "--erase-identity"))
        erased = {"/identity.0", "/identity.1", "/order.0"}
        assert {path for path, event in changed.items() if event == "removed"} == erased
        assert machine.run(LOAD).strip() == "None None"


@pytest.mark.timeout(300)
def test_power_cut_in_the_middle(mps2: Board, tmp_path: Path) -> None:
    with emulator.Machine(mps2, emulator.build(mps2), tmp_path / "memory") as machine:
        changes(flash(mps2.name, machine, "--json"))
        machine.run(STORE)
        machine.run(
            "import os\nfor folder in ('/lib/', '/lib/est/'):\n for name in os.listdir(folder):\n"
            "  if name != 'est':\n   os.remove(folder + name)\n"
            "with open('/lib/est/__init__.py', 'w') as file: file.write('OLDER = True')\n"
            "with open('/main.py', 'a') as file: file.write('# of an older version')"
        )
        command = [*COMMAND, "--board", mps2.name, "--port", machine.pty, "--json"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout and process.stderr
            for line in process.stdout:
                if "/lib/bringup.mpy" in line:
                    machine.power_off()
            said = process.stderr.read()
        assert process.returncode == Exit.NETWORK
        assert said.startswith("Error: ") and said.count("\n") == 1, said
        machine.power_on()
        # What was there starts, and has what it had.
        found = machine.run(
            "import est, os; print(est.OLDER, os.listdir('/'), os.listdir('/lib/est'))"
        )
        assert found.startswith("True") and "'identity.0'" in found and "modules" not in found
        assert "of an older version" in machine.run("print(open('/mpest.main').read())")
        changed = changes(flash(mps2.name, machine, "--json"))
        assert "/main.py" in changed and "/lib/est/modules" in changed
        assert "mpest" not in machine.run("import os; print(os.listdir('/'))")
        assert machine.run(LOAD).strip() == KEPT


def test_another_board(mps2: Board, tmp_path: Path) -> None:
    firmware, memory = emulator.build(mps2), tmp_path / "memory"
    with emulator.Machine(mps2, firmware, memory) as machine:
        done = flash("RPI_PICO_W", machine)
        assert done.returncode == Exit.USAGE
        assert "MicroPython for qemu, RPI_PICO_W is rp2" in done.stderr
        assert "Traceback" not in done.stderr
    # It was reset, so that its program goes on, which ends the emulator.
    with emulator.Machine(mps2, firmware, memory) as machine:
        assert "lib" not in machine.run("import os; print(os.listdir('/'))")


def test_full_storage(mps2: Board) -> None:
    with emulator.Machine(mps2, emulator.build(mps2)) as machine:
        machine.run(
            "import os\nfree = os.statvfs('/')[3] - 8\nwith open('/large', 'wb') as file:\n"
            " for _ in range(free):\n  file.write(bytes(4096))\n",
            timeout=100,
        )
        done = flash(mps2.name, machine)
        assert done.returncode == Exit.STORAGE
        assert "too small" in done.stderr and done.stderr.endswith("are free\n")


def test_firmware_by_esptool(mps2: Board, tmp_path: Path) -> None:
    """The real esptool flashes a stand-in for an ESP32, which then is the emulated board."""
    folder = tmp_path / "boards" / "MY_ESP"
    folder.mkdir(parents=True)
    tool = '[flash]\ntool = "esptool"\nchip = "esp32c3"\noffset = 0\nsize = 0x400000\n'
    profile = (mps2.folder / boards.PROFILE).read_text() + tool
    (folder / boards.PROFILE).write_text(profile)
    shutil.copy(mps2.wiring, folder)
    firmware = tmp_path / "MY_ESP-1.bin"
    firmware.write_bytes(firmware_files.esp32("esp32c3", 0))
    command = [*COMMAND, "--board", "MY_ESP", "--boards", folder.parent, "--json"]
    with (
        emulator.Machine(mps2, emulator.build(mps2)) as machine,
        esp_chip.running_chip("esp32c3", 4 << 20) as chip,
    ):
        # Installed first by the pty: over a socket mpremote is slow.
        ports = ["--port", machine.pty], ["--port", chip.port, "--firmware", firmware]
        chip.console = machine.pty
        for port in ports:
            machine.run("import os\ntry:\n os.remove('/lib/wiring.mpy')\nexcept OSError: pass")
            done = subprocess.run([*command, *port], capture_output=True, text=True, timeout=100)
            assert "/lib/wiring.mpy" in changes(done)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        events = [event for event in events if event["event"] != "wait"]
        assert [event["event"] for event in events[:3]] == ["chip", "firmware", "board"]
        assert events[0] == {"event": "chip", "chip": "esp32c3", "flash": "4MB"}
        content = firmware.read_bytes()
        assert chip.flash[: len(content)] == content
        assert machine.run("from wiring import Board; print(Board().storage)").split() == ["/"]


def test_made_up_board(mps2: Board, tmp_path: Path) -> None:
    """A new board is a new folder and nothing else; this one takes its firmware from a drive."""
    folder = tmp_path / "boards" / "MY_BOARD"
    folder.mkdir(parents=True)
    uf2 = 'tool = "uf2"\nfamily = 7\ndrive = "MINE"\nbase = 0\nsize = 4096\n'
    profile = (mps2.folder / boards.PROFILE).read_text() + f"[flash]\n{uf2}"
    (folder / boards.PROFILE).write_text(profile)
    wiring = "import qemu\n\nclass Board(qemu.Board):\n    led = 7\n"
    (folder / "wiring.py").write_text(wiring)
    drive = tmp_path / "drive"
    drive.mkdir()
    (drive / "INFO_UF2.TXT").write_text("Board-ID: MINE\n")
    firmware = tmp_path / "MY_BOARD-1.uf2"
    words = (0x0A324655, 0x9E5D5157, 0x2000, 0, 256, 0, 1, 7)
    head = b"".join(word.to_bytes(4, "little") for word in words)
    firmware.write_bytes(head + bytes(476) + 0x0AB16F30.to_bytes(4, "little"))
    options = ["--boards", folder.parent, "--firmware", firmware, "--drive", drive]
    with emulator.Machine(mps2, emulator.build(mps2)) as machine:
        done = flash("MY_BOARD", machine, *options)
        assert done.returncode == 0, done.stderr
        assert done.stderr.endswith("MY_BOARD is ready.\n")
        assert (drive / firmware.name).read_bytes() == firmware.read_bytes()
        code = "from wiring import Board; print(Board().led, Board().check_storage())"
        assert machine.run(code).split() == ["7", "/"]
