"""`mpest flash` where no MicroPython is needed: checks, firmware, and the board UNIX."""

import json
import os
import re
import runpy
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import firmware_files
import pytest
from esp_chip import CHIPS, DEFL_BEGIN, MAC, running_chip

from mpest import boards, runtimes, shipped
from mpest.boards import SURE_BAUD, Esptool, Uf2
from mpest.exits import CliError, Exit
from mpest.flash import application, command, esp, uf2
from mpest.flash.application import File
from mpest.flash.install import check_runtime
from mpest.flash.target import Runtime
from mpest.sim import cpython
from mpest.toolchain import mpy

COMMAND = [sys.executable, "-c", "from mpest.cli import main; main()", "flash"]
PICO, PICO2 = boards.load("RPI_PICO_W"), boards.load("RPI_PICO2_W")
ESP32 = boards.load("ESP32_GENERIC")
# What the application may take of a board, compiled and as source.
_MOST_BYTES, _MOST_SOURCE = 135_168, 397_312
ESPS = [board for board in map(boards.load, boards.names()) if board.port == "esp32"]


def flash(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=90)


def refused(done: subprocess.CompletedProcess[str], words: str, code: int = 2) -> None:
    """The command said `words` in one clear line, after what it waited for."""
    assert done.returncode == code, done.stderr
    *before, error = done.stderr.splitlines()
    assert error.startswith("Error: ") and words in error, done.stderr
    assert all(line.startswith("Waiting for ") for line in before), done.stderr
    assert done.stdout == ""


def esp_flash(board: boards.Board) -> Esptool:
    assert isinstance(board.flash, Esptool)
    return board.flash


def uf2_flash(board: boards.Board) -> Uf2:
    assert isinstance(board.flash, Uf2)
    return board.flash


# Wrong use


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Firmware of all kinds, good and bad."""
    for board in ESPS:
        tool = esp_flash(board)
        good = firmware_files.esp32(tool.chip, tool.offset)
        (tmp_path / f"{board.name}-good.bin").write_bytes(good)
    good = firmware_files.esp32("esp32", 0x1000)
    (tmp_path / "damaged.bin").write_bytes(good[:100] + b"\xaa" + good[101:])
    (tmp_path / "app.bin").write_bytes(firmware_files.boot_loader("esp32"))
    (tmp_path / "large.bin").write_bytes(firmware_files.esp32("esp32", 0x1000, size=0x1FF001))
    ota = firmware_files.esp32("esp32", 0x1000, storage=0x310000)
    (tmp_path / "ota.bin").write_bytes(ota)
    (tmp_path / "text.bin").write_text("not firmware\n" * 99)
    (tmp_path / "empty.bin").write_bytes(b"")
    for pico in (PICO, PICO2):
        addresses = range(0x10000000, 0x10010000, 256)
        good = firmware_files.uf2(uf2_flash(pico).family, addresses)
        (tmp_path / f"{pico.name}-good.uf2").write_bytes(good)
    damaged = {
        "short.uf2": good[:-512],
        "cut.uf2": good[:-7],
        "hole.uf2": good[:1024] + good[1536:],
        "noise.uf2": good[:1024] + bytes(512) + good[1536:],
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
    family = uf2_flash(PICO).family
    high = [0x10000000, 0x1012C000 - 128]
    (tmp_path / "high.uf2").write_bytes(firmware_files.uf2(family, high))
    return tmp_path


@pytest.mark.parametrize(
    ("board", "firmware", "words"),
    [
        ("ESP32_GENERIC", "ESP32_GENERIC_C3-good.bin", "another chip: esp32c3, not esp32"),
        ("ESP32_GENERIC_C3", "ESP32_GENERIC_S3-good.bin", "another chip: esp32s3, not esp32c3"),
        ("ESP32_GENERIC", "RPI_PICO_W-good.uf2", "no ESP32 firmware"),
        ("ESP32_GENERIC", "text.bin", "no ESP32 firmware"),
        ("ESP32_GENERIC", "empty.bin", "no ESP32 firmware"),
        ("ESP32_GENERIC", "damaged.bin", "damaged"),
        ("ESP32_GENERIC", "app.bin", "not the whole firmware"),
        ("ESP32_GENERIC", "large.bin", "too large"),
        ("ESP32_GENERIC", "ota.bin", "file system at 0x310000"),
        ("RPI_PICO_W", "ESP32_GENERIC-good.bin", "no UF2 file"),
        ("RPI_PICO_W", "text.bin", "no UF2 file"),
        ("RPI_PICO_W", "empty.bin", "no UF2 file"),
        ("RPI_PICO_W", "RPI_PICO2_W-good.uf2", "another chip: its family is 0xe48bff59"),
        ("RPI_PICO2_W", "RPI_PICO_W-good.uf2", "another chip: its family is 0xe48bff56"),
        ("RPI_PICO2_W", "short.uf2", "ends too early"),
        ("RPI_PICO2_W", "cut.uf2", "no UF2 file"),
        ("RPI_PICO2_W", "hole.uf2", "a block is missing"),
        ("RPI_PICO2_W", "noise.uf2", "block 2 is no UF2 block"),
        ("RPI_PICO_W", "high.uf2", "the identity would be lost"),
        ("UNIX", "RPI_PICO_W-good.uf2", "leave out --firmware"),
        ("QEMU_MPS2_AN385", "RPI_PICO_W-good.uf2", "leave out --firmware"),
        ("ESP32_GENERIC", "nowhere.bin", "nowhere.bin"),
    ],
)
def test_wrong_firmware(files: Path, board: str, firmware: str, words: str) -> None:
    done = flash("--board", board, "--port", "/dev/null", "--firmware", files / firmware)
    if firmware == "nowhere.bin":
        assert done.returncode == 2 and words in done.stderr
        return
    refused(done, words)


def test_wrong_board_port_and_drive(files: Path) -> None:
    refused(flash("--board", "PICO", "--port", "/dev/null"), "no board 'PICO'; there are: ESP32")
    refused(flash("--board", "RPI_PICO_W", "--port", "/dev/ttyNONE"), "no such port")
    refused(flash("--board", "UNIX", "--port", files / "text.bin"), "is no folder")
    good = ["--firmware", files / "RPI_PICO_W-good.uf2"]
    pico = ["--board", "RPI_PICO_W", "--port", "/dev/ttyNONE"]
    refused(flash(*pico, *good), "no drive RPI-RP2 is mounted", Exit.NETWORK)
    refused(flash(*pico, *good, "--drive", files), "INFO_UF2.TXT")
    refused(flash(*pico, "--drive", files), "--drive goes with --firmware")
    (files / "INFO_UF2.TXT").write_text("UF2 Bootloader v1.0\nModel: X\nBoard-ID: RP2350\n")
    refused(flash(*pico, *good, "--drive", files), "another chip: RP2350, not RPI-RP2")


def test_port_that_is_no_board() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = f"socket://127.0.0.1:{silent.getsockname()[1]}"
        done = flash("--board", "RPI_PICO_W", "--port", port)
    assert done.returncode == Exit.NETWORK
    *_, waiting, error = done.stderr.splitlines()
    assert waiting == f"Waiting for MicroPython at {port} to answer"
    assert error.startswith(f"Error: no MicroPython answers at {port}: ")


# Firmware


def test_good_firmware(files: Path) -> None:
    for board in ESPS:
        good = files / f"{board.name}-good.bin"
        assert esp.check(good, board, esp_flash(board)) == good.stat().st_size
    for board in (PICO, PICO2):
        good = files / f"{board.name}-good.uf2"
        assert uf2.check(good, board, uf2_flash(board)) == good.stat().st_size


def test_uf2_with_blocks_that_are_not_counted(files: Path) -> None:
    """The RP2350's builds begin with a block against its erratum E10."""
    good = (files / "RPI_PICO2_W-good.uf2").read_bytes()
    extra = firmware_files.uf2_block(0x10FFFF00, 0, 2, 0xE48BFF57)
    ignored = firmware_files.uf2_block(0, 0, 1, 0, flags=1)
    path = files / "extra.uf2"
    path.write_bytes(extra + ignored + good)
    assert uf2.check(path, PICO2, uf2_flash(PICO2)) == path.stat().st_size
    path.write_bytes(extra)
    with pytest.raises(CliError, match="damaged"):
        uf2.check(path, PICO2, uf2_flash(PICO2))


def test_drive_is_found_and_written(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drives = [files / name for name in ("none", "RPI RP2", "RP2350", "second")]
    for drive, text in zip(drives[1:], ("RPI-RP2", "RP2350", "RPI-RP2"), strict=True):
        drive.mkdir()
        (drive / "INFO_UF2.TXT").write_text(f"UF2 Bootloader v3.0\r\nBoard-ID: {text}\r\n")
    monkeypatch.setattr(uf2, "_mounted", lambda: drives[:3])
    assert uf2.find_drive(uf2_flash(PICO)) == drives[1]
    assert uf2.find_drive(uf2_flash(PICO2)) == drives[2]
    good = files / "RPI_PICO_W-good.uf2"
    assert list(uf2.copy(good, drives[1]))[-1] == good.stat().st_size
    assert (drives[1] / good.name).read_bytes() == good.read_bytes()
    monkeypatch.setattr(uf2, "_mounted", lambda: drives)
    with pytest.raises(CliError, match="--drive"):
        uf2.find_drive(uf2_flash(PICO))
    monkeypatch.setattr(uf2, "_mounted", lambda: drives[:1])
    assert uf2.wait_for_drive(uf2_flash(PICO), 0.1) is None
    with pytest.raises(CliError, match="cannot write"):
        list(uf2.copy(good, drives[0]))


def test_mounted_drives_are_read() -> None:
    assert Path("/") in uf2._mounted() or sys.platform != "linux"


@pytest.mark.parametrize("board", ESPS, ids=lambda board: board.name)
def test_esptool_writes_firmware(files: Path, board: boards.Board) -> None:
    tool = esp_flash(board)
    good = files / f"{board.name}-good.bin"
    content = good.read_bytes()
    said: list[str] = []
    with running_chip(tool.chip, tool.size) as chip:
        chip.flash[tool.size - 8 :] = b"identity"
        assert esp.verify_chip(chip.port, tool) == (f"{tool.size >> 20}MB", MAC)
        assert list(esp.write(chip.port, tool, good, erase=False, note=said.append))[-1] == 1
        assert chip.flash[tool.offset : tool.offset + len(content)] == content
        assert chip.flash[tool.size - 8 :] == b"identity"
        assert not chip.erased
        list(esp.write(chip.port, tool, good, erase=True, note=said.append))
        assert chip.erased
        assert set(chip.bauds) == {tool.baud} != {SURE_BAUD}
    assert not said


def test_a_line_that_is_too_fast(files: Path) -> None:
    """What fails at the board's rate is written once more at one that anything can do."""
    tool = esp_flash(boards.load("ESP32_GENERIC"))
    good = files / "ESP32_GENERIC-good.bin"
    content = good.read_bytes()
    with running_chip(tool.chip, tool.size) as chip:
        chip.worst_baud = SURE_BAUD
        said: list[str] = []
        assert list(esp.write(chip.port, tool, good, erase=False, note=said.append))[-1] == 1
        assert chip.flash[tool.offset : tool.offset + len(content)] == content
        assert chip.bauds == [460_800, SURE_BAUD]
        assert len(said) == 1 and said[0].endswith("again at 115200 baud, it was 460800")
        chip.worst_baud = 0
        with pytest.raises(CliError, match=f"cannot write {chip.port}"):
            list(esp.write(chip.port, tool, good, erase=False, note=said.append))
        assert len(said) == 2 and len(chip.bauds) == 4
    # Another chip is no matter of the line.
    with running_chip("esp32c3", tool.size) as chip, pytest.raises(CliError, match="This chip is"):
        list(esp.write(chip.port, tool, good, erase=False, note=said.append))
    assert len(said) == 2


@pytest.mark.parametrize("found", CHIPS)
@pytest.mark.parametrize("board", ESPS, ids=lambda board: board.name)
def test_wrong_chip_is_not_written(files: Path, board: boards.Board, found: str) -> None:
    tool = esp_flash(board)
    size = tool.size if found != tool.chip else tool.size // 2
    words = "This chip is" if found != tool.chip else "is too small"
    good = files / f"{board.name}-good.bin"
    with running_chip(found, size) as chip:
        done = flash("--board", board.name, "--port", chip.port, "--firmware", good)
        refused(done, words)
        assert DEFL_BEGIN not in chip.commands


def test_esptool_cannot_reach_the_chip(files: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = f"socket://127.0.0.1:{gone.getsockname()[1]}"
    good = files / "ESP32_GENERIC-good.bin"
    done = flash("--board", "ESP32_GENERIC", "--port", port, "--firmware", good)
    refused(done, f"no esp32 at {port}: ", Exit.NETWORK)


# What runs on the board


@pytest.mark.parametrize("kind", ["fat", "littlefs2"])
def test_erasing_the_identity_knows_all_copies(kind: str) -> None:
    cpython.install()
    from est import fat, posix

    board = boards.load("ESP32_GENERIC")
    board = board.model_copy(
        update={"storage": board.storage.model_copy(update={"kind": kind, "path": "/sd"})}
    )
    records = application.records(board)
    for name in ("identity", "order", "aside", "anchors", "retry"):
        for slot in range(3):
            form = fat.FORM if kind == "fat" else posix.FORM
            assert form % ("/sd", name, slot) in records
    # As est 0.1 stored them.
    assert {f"/sd/{name}.{slot}" for name in ("identity", "pending") for slot in (0, 1)} <= {
        *records
    }
    assert len(set(records)) == len(records)


def test_application_is_whole_and_fits() -> None:
    for name in boards.names():
        board = boards.load(name)
        files = application.files(board)
        paths = [file.path for file in files]
        assert len(set(paths)) == len(paths)
        most = _MOST_BYTES if board.arch else _MOST_SOURCE
        assert sum(len(file.data) for file in files) <= most, name
        modules = [path for file in files for path in application.compiled(file)] or paths
        suffix = "mpy" if board.arch else "py"
        assert any(path.endswith(f"est/agent.{suffix}") for path in modules)
        assert any(path.endswith(f"wiring.{suffix}") for path in paths)


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[str, str], bytes]:
    """Compiles Python for an architecture."""

    def compiled(code: str, arch: str) -> bytes:
        source = tmp_path / "module.py"
        source.write_text(code)
        return mpy.compile_file(source, arch)

    return compiled


BYTECODE = "def f(a): return a + 1\n"
NATIVE = "@micropython.native\n" + BYTECODE


def number(arch: str, version: int = 6, sub: int = 3) -> int:
    """sys.implementation._mpy of a board."""
    return version | sub << 8 | mpy.ARCHES.index(arch) << 10


@pytest.mark.parametrize(
    ("code", "arch", "board", "words"),
    [
        (BYTECODE, "armv6m", number("armv6m"), None),
        (BYTECODE, "armv6m", number("none"), None),
        (BYTECODE, "armv6m", number("rv32imc", sub=1), None),
        (BYTECODE, "armv6m", number("armv6m", version=5), "format 5.3, the modules are 6.0"),
        (BYTECODE, "armv6m", number("armv6m", version=7, sub=0), "format 7.0"),
        (BYTECODE, "armv6m", 0, "cannot load .mpy files"),
        (NATIVE, "armv6m", number("armv6m"), None),
        (NATIVE, "armv6m", number("armv7em"), None),
        (NATIVE, "armv7m", number("armv7emsp"), None),
        (NATIVE, "armv7m", number("armv6m"), "code for armv6m, the modules are for armv7m"),
        (NATIVE, "armv7m", number("none"), "code for none"),
        (NATIVE, "armv6m", number("armv6m", sub=2), "format 6.2, the modules are 6.3"),
        (NATIVE, "xtensawin", number("xtensawin"), None),
        (NATIVE, "xtensawin", number("rv32imc"), "code for rv32imc"),
        (NATIVE, "rv32imc", number("rv32imc"), None),
    ],
)
def test_mpy_format(
    compiled: Callable[[str, str], bytes], code: str, arch: str, board: int, words: str | None
) -> None:
    reason = mpy.unfit(compiled(code, arch), board)
    assert (reason is None) if words is None else (reason and words in reason)


def test_module_that_does_not_compile(compiled: Callable[[str, str], bytes]) -> None:
    with pytest.raises(CliError, match="SyntaxError"):
        compiled("def", "armv6m")


def runtime(
    version: tuple[int, ...] = (1, 25, 0, ""),
    machine: str = "Raspberry Pi Pico W with RP2040",
    form: int = number("armv6m"),
    platform: str = "rp2",
) -> Runtime:
    return Runtime(version, machine, form, platform, free=800_000, block=4096)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (runtime(), None),
        (runtime(version=(1, 23, 0)), None),
        (runtime(version=(1, 22, 2)), "runs MicroPython 1.22.2, RPI_PICO_W needs 1.23 or later"),
        (runtime(machine="Raspberry Pi Pico 2 W with RP2350"), "RPI_PICO_W has a RP2040"),
        (runtime(platform="esp32", machine="Generic ESP32 module with ESP32"), "for esp32"),
        (runtime(form=number("armv6m", version=5)), "cannot load /lib/est/agent.mpy"),
    ],
)
def test_micropython_of_the_board(found: Runtime, words: str | None) -> None:
    files = [file for file in application.files(PICO) if file.path == "/lib/est/modules"]
    if words is None:
        check_runtime(found, PICO, files)
        return
    with pytest.raises(CliError) as caught:
        check_runtime(found, PICO, files)
    assert words in caught.value.message
    assert "--firmware" in caught.value.message or "--board" in caught.value.message


# A board that is a computer, and a made-up one


def events(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_unix(tmp_path: Path) -> None:
    place = tmp_path / "est board"
    unix = ["--board", "UNIX", "--port", place]
    dry = events(flash(*unix, "--dry-run", "--json"))
    assert any(str(event["text"]).startswith("install est/agent.py (") for event in dry)
    assert not place.exists()
    assert len(dry) == len(application.files(boards.load("UNIX")))
    first = events(flash(*unix, "--json"))
    assert [event["event"] for event in first[-2:]] == ["verified", "done"]
    assert sum(event["event"] == "write" for event in first) == len(dry)
    # Repeated: nothing is written, what hides a module goes, what is damaged comes back.
    (place / "est/old.py").write_text("")
    (place / "est/agent.mpy").write_bytes(b"")
    (place / "wiring.py").write_text("damaged")
    for name in ("identity.0", "identity.1", "config.json", "main.py"):
        (place / name).write_text("secret")
    second = events(flash(*unix, "--json"))
    changes = {e["path"]: e["event"] for e in second if e["event"] in ("write", "removed")}
    assert changes.pop("est/old.py") == changes.pop("est/agent.mpy") == "removed"
    assert changes == {"wiring.py": "write", "main.py": "write"}
    assert next(place.glob("main.py.*.old")).read_text() == "secret"
    assert (place / "identity.0").read_text() == (place / "identity.1").read_text() == "secret"
    third = flash(*unix)
    assert third.returncode == 0 and "UNIX is ready" in third.stderr
    assert "est/" not in third.stderr
    assert flash(*unix, "--erase-identity").returncode == 0
    assert not list(place.glob("identity*"))
    assert (place / "config.json").exists()
    (place / "main.py").write_text("mine")
    (place / "wiring.py").unlink()
    assert flash(*unix, "--no-main").returncode == 0
    assert (place / "main.py").read_text() == "mine"
    assert (place / "wiring.py").exists()


def test_unix_installation_runs(tmp_path: Path) -> None:
    try:
        program = runtimes.find("micropython")
    except runtimes.RuntimeMissing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(missing.message)
    assert flash("--board", "UNIX", "--port", tmp_path).returncode == 0
    code = (
        "from wiring import Board; board = Board(); board.check_entropy(); board.set_clock(); "
        "print(board.check_storage()); from est.ec import P256; print(len(P256.generate()))"
    )
    done = subprocess.run(
        [*program.argv, "-c", code],
        env={**os.environ, **program.env, "MICROPYPATH": ":.frozen"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == [".", "32"], done.stderr


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "est").write_text("in the way")
    done = flash("--board", "UNIX", "--port", tmp_path)
    refused(done, "cannot install into est: it is no folder", Exit.STORAGE)
    assert (tmp_path / "est").read_text() == "in the way"
    (tmp_path / "est").unlink()
    (tmp_path / "main.py/in the way").mkdir(parents=True)
    done = flash("--board", "UNIX", "--port", tmp_path)
    refused(done, f"cannot install into {tmp_path / 'main.py'}: ", Exit.STORAGE)


def test_made_up_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new board is a new folder and nothing else."""
    folder = tmp_path / "MY_BOARD"
    folder.mkdir()
    profile = (PICO.folder / "board.toml").read_text()
    profile = profile.replace('"RP2040"', '"RP9999"').replace("armv6m", "rv32imc")
    profile = profile.replace("RPI-RP2", "RP9").replace("RPI_PICO_W", "MY_BOARD")
    (folder / "board.toml").write_text(profile)
    (folder / "wiring.py").write_text(
        "import bringup\n\nclass Board(bringup.Board):\n    led = 7\n"
    )
    drive = tmp_path / "drive"
    drive.mkdir()
    (drive / "INFO_UF2.TXT").write_text("Board-ID: RP9\n")
    firmware = tmp_path / "MY_BOARD-1.bin"
    firmware.write_bytes(firmware_files.uf2(uf2_flash(PICO).family, [0x10000000]))
    use = ["--board", "MY_BOARD", "--port", "/dev/ttyNONE", "--firmware", firmware]
    use += ["--drive", drive, "--dry-run"]
    refused(flash(*use), "no board 'MY_BOARD'")
    for options in (["--boards", tmp_path], []):
        if not options:
            monkeypatch.setenv(boards.ENVIRONMENT, str(tmp_path))
        done = flash(*use, *options)
        assert done.returncode == 0, done.stderr
        assert "Note: MY_BOARD-1.bin is not named as MY_BOARD's firmware" in done.stderr
        assert f"copy {firmware} to {drive}" in done.stdout
        assert "install /lib/wiring.mpy" in done.stdout
    assert [path.name for path in drive.iterdir()] == ["INFO_UF2.TXT"]


def test_dry_run_writes_no_firmware(files: Path) -> None:
    good = files / "ESP32_GENERIC-good.bin"
    use = ["--board", "ESP32_GENERIC", "--firmware", good, "--dry-run", "--json"]
    with running_chip("esp32", 4 << 20) as chip:
        found = events(flash(*use, "--port", chip.port, "--erase-identity"))
        assert DEFL_BEGIN not in chip.commands and not chip.erased
    told = [event for event in found if event["event"] != "wait"]
    assert told[0] == {"event": "chip", "chip": "esp32", "flash": "4MB"}
    write = f"--port {chip.port} --chip esp32 --baud 460800 write-flash --erase-all 0x1000 {good}"
    assert write in str(told[1]["text"])
    assert "a new board is assumed" in str(told[2]["text"])
    assert len(told) == 3 + len(application.files(ESP32))
    with running_chip("esp32c3", 4 << 20) as chip:
        done = flash(*use, "--port", chip.port)
    assert done.returncode == Exit.USAGE and "This chip is" in done.stderr


def test_that_it_waits_is_said_before_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    begun = threading.Event()

    def slowly(report: object, event: dict[str, object]) -> None:
        begun.set()
        time.sleep(0.2)
        said.append(event)

    monkeypatch.setattr(command, "_QUIET_SECONDS", 0)
    monkeypatch.setattr(command._Report, "emit", slowly)
    with command._Report(True).waiting("the drive"):
        begun.wait()
    assert said == [{"event": "wait", "text": "the drive"}]


# What the user adds


SETTINGS = {"url": "https://est.example", "subject": "CN=a", "sha256": "00" * 32}


def modes(place: Path, *names: str) -> set[int]:
    return {(place / name).stat().st_mode & 0o777 for name in names}


def test_settings_app_and_parts(tmp_path: Path) -> None:
    place, own = tmp_path / "board", tmp_path / "own"
    own.mkdir()
    wanted = {
        **SETTINGS,
        "anchors": "ca.pem",
        "factory_certificate": "there.pem",
        "factory_key": "f.key",
    }
    (own / "mine.json").write_text(json.dumps(wanted))
    certificate, key = firmware_files.certificate_and_key()
    (own / "ca.pem").write_bytes(certificate)
    (own / "f.key").write_bytes(key)
    (own / "program.py").write_text("async def main(identity): pass\n")
    use = ["--board", "UNIX", "--port", place, "--config", own / "mine.json"]
    use += ["--app", own / "program.py", "--part", "est-revocation", "--part", "est-own-keys"]
    dry = events(flash(*use, "--dry-run", "--json"))
    assert not place.exists()
    assert "there.pem, which the board must have" in str(dry[0]["text"])
    would = {str(event["text"]).partition(" (")[0] for event in dry}
    assert {f"install {name}" for name in ("config.json", "ca.pem", "f.key", "app.py")} <= would
    place.mkdir()
    for name in ("config.new.json", "app.mpy", "config.bad.json"):
        (place / name).write_text("old")
    done = flash(*use, "--json")
    events(done)
    assert json.loads((place / "config.json").read_text()) == wanted
    assert (place / "app.py").read_text().startswith("async def main")
    assert (place / "ca.pem").read_bytes() == certificate
    assert (place / "f.key").read_bytes() == key
    assert modes(place, "config.json", "f.key") == {0o600}
    assert (place / "est/revocation.py").exists() and (place / "est/rsa_key.py").exists()
    # They would take the place of what was just installed.
    assert not (place / "config.new.json").exists() and not (place / "app.mpy").exists()
    assert "00" * 32 not in done.stdout + done.stderr
    # Without the options they stay, but the parts do not.
    assert flash("--board", "UNIX", "--port", place).returncode == 0
    assert (place / "app.py").exists() and (place / "config.json").exists()
    assert not (place / "est/revocation.py").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", b"nonsense", "config.json: is malformed"),
        ("config.json", b"\xff\xfe", "config.json: is malformed"),
        ("config.json", b"{}", "url is missing"),
        ("config.json", json.dumps({**SETTINGS, "ur": "x"}).encode(), "ur is unknown: one of"),
        (
            "config.json",
            json.dumps({**SETTINGS, "share": "2/3"}).encode(),
            "share must be a whole",
        ),
        (
            "config.json",
            json.dumps({**SETTINGS, "subject": "CN={idd}"}).encode(),
            "no braces but {id}",
        ),
        (
            "config.json",
            json.dumps({**SETTINGS, "subject": "device"}).encode(),
            "subject: 'device' must be NAME=VALUE",
        ),
        (
            "config.json",
            json.dumps({**SETTINGS, "san": ["DNS:{id}.example", "IP:1.2.3"]}).encode(),
            "alternative name: '1.2.3' is no IP address",
        ),
        (
            "config.json",
            json.dumps({**SETTINGS, "url": "https://est.example:99999"}).encode(),
            "url must be https://HOST[:PORT]",
        ),
        (
            "config.json",
            json.dumps({**SETTINGS, "key": "RSA-3072"}).encode(),
            "key RSA-3072 takes --part est-own-keys",
        ),
        ("app.py", b"", "has no async def main(identity)"),
        ("app.py", b"def main(identity): pass", "has no async def main(identity)"),
        ("app.py", b"main = 5", "has no async def main(identity)"),
        ("app.py", b"def main(:\n", "does not compile"),
        ("app.py", b"\0", "does not compile"),
        ("app.mpy", b"def main(): pass", "is no .mpy file"),
        ("app.txt", b"", "neither .py nor .mpy"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_what_the_user_adds_is_checked_first(
    tmp_path: Path, name: str, content: bytes, words: str, dry: bool
) -> None:
    (tmp_path / name).write_bytes(content)
    option = "--config" if name.endswith("json") else "--app"
    use = ["--board", "UNIX", "--port", tmp_path / "board", option, tmp_path / name]
    done = flash(*use, *["--dry-run"] * dry)
    assert done.returncode == Exit.USAGE, done.stderr
    assert words in done.stderr and done.stderr.startswith("Error: ")
    assert not (tmp_path / "board").exists()


@pytest.mark.parametrize("key", ["anchors", "factory_certificate", "factory_key"])
@pytest.mark.parametrize("content", [b"", b"anchor", b"\xff", b"0\x03\2\1\1", b"0\x82"])
def test_what_the_settings_name_is_read_first(tmp_path: Path, key: str, content: bytes) -> None:
    certificate, private = firmware_files.certificate_and_key()
    files = {"anchors": certificate, "factory_certificate": certificate, "factory_key": private}
    for number, data in enumerate((content, content + certificate[:-40] + certificate[-30:])):
        for name, good in {**files, key: data}.items():
            (tmp_path / name).write_bytes(good)
        config = tmp_path / f"{number}.json"
        config.write_text(json.dumps({**SETTINGS, **{name: name for name in files}}))
        done = flash("--board", "UNIX", "--port", tmp_path / "board", "--config", config)
        assert done.returncode == Exit.USAGE, done.stderr
        assert done.stderr.startswith(f"Error: {config}: {key}: {key}: "), done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "board").exists()


def test_a_factory_key_is_the_certificates(tmp_path: Path) -> None:
    certificate, _ = firmware_files.certificate_and_key()
    _, other = firmware_files.certificate_and_key()
    (tmp_path / "factory_certificate").write_bytes(certificate)
    (tmp_path / "factory_key").write_bytes(other)
    names = {name: name for name in ("factory_certificate", "factory_key")}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**SETTINGS, **names}))
    done = flash("--board", "UNIX", "--port", tmp_path / "board", "--config", config)
    refused(done, "factory_key is not the key of factory_certificate")


@pytest.mark.parametrize(
    "program",
    [
        "async def main(identity): pass",
        "from others import *",
        "from others import run as main",
        "import others\nmain = others.run",
    ],
)
def test_programs_that_can_be_awaited(tmp_path: Path, program: str) -> None:
    source = tmp_path / "app.py"
    source.write_text(program)
    assert application.app(PICO, source).data == program.encode()


def test_a_disk_that_takes_no_more_is_told_with_the_file(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)); "
    done = subprocess.run(
        [*COMMAND[:2], limit + COMMAND[2], "flash", "--board", "UNIX", "--port", tmp_path / "b"],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == Exit.STORAGE
    place = rf"{re.escape(str(tmp_path))}/b/mpest\.new/\S+"
    assert re.search(rf"^Error: cannot install into {place}: File too large$", done.stderr, re.M)


def test_every_wrong_key_is_told(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"subject": 5, "secret": "geheim", "key": "P-521"}')
    done = flash("--board", "UNIX", "--port", tmp_path / "board", "--config", config)
    assert done.returncode == Exit.USAGE
    lines = done.stderr.splitlines()
    assert len(lines) == 5 and all(str(config) in line for line in lines)
    assert "geheim" not in done.stderr


def test_unknown_part(tmp_path: Path) -> None:
    done = flash("--board", "UNIX", "--port", tmp_path / "board", "--part", "est-none")
    refused(done, "no package 'est-none'; there are: est, est-minimum, est-")
    assert not (tmp_path / "board").exists()


def test_a_file_of_the_user_is_no_package() -> None:
    assert application.compiled(File("/modules", b"of the user")) == {}


def test_app_of_another_format(tmp_path: Path) -> None:
    """A compiled program is checked against the board as the modules are."""
    (tmp_path / "app.mpy").write_bytes(b"M\x05\x02\x1f\0\0")
    file = application.app(PICO, tmp_path / "app.mpy")
    assert file.path == "/app.mpy"
    with pytest.raises(CliError, match=r"cannot load /app\.mpy"):
        check_runtime(runtime(), PICO, [file])


def test_every_key_of_the_settings_is_described() -> None:
    rules = runpy.run_path(str(shipped.folder("firmware") / "configuration.py"))
    text = (Path(__file__).parents[2] / "docs/board.md").read_text()
    table = text.split("\n## config.json\n")[1].split("\n| key |", 1)[1].splitlines()[2:]
    rows = takewhile(lambda line: line.startswith("|"), table)
    described = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(described) == sorted(rules["_KEYS"])
