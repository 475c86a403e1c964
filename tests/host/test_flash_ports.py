"""`mpest flash` at serial ports where a board is slow, silent, or something else than expected."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import busy
import firmware_files
import pytest
from port_board import board, terminal

from mpest import boards, packages
from mpest.exits import Exit
from mpest.runtimes import Program

COMMAND = [sys.executable, "-c", "from mpest.cli import main; main()", "flash"]
pytestmark = pytest.mark.timeout(400)
SAYS_WITHIN, ENDS_WITHIN = 3, 15  # seconds
ESP32_STARTS = (
    b"ets Jun  8 2016 00:22:57\r\n\r\nrst:0x10 (RTCWDT_RTC_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)"
    b"\r\nconfigsip: 0, SPIWP:0xee\r\nBrownout detector was triggered\r\n\r\n"
)
PICO_STARTS = b"\r\nMicroPython v1.25.0 on 2025-04-15; Raspberry Pi Pico W with RP2040\r\n"


@contextmanager
def sending(text: bytes, pause: float) -> Iterator[str]:
    """A port at which a board sends `text` again and again, and does not listen."""
    with terminal() as (near, port):
        os.set_blocking(near, False)
        end = threading.Event()

        def send() -> None:
            while not end.wait(pause):
                try:
                    if text:
                        os.write(near, text)
                except BlockingIOError:
                    continue

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield port
        finally:
            end.set()
            thread.join()


class Done:
    """What a command said and when: `first` after so many seconds.

    They are those that it waited: a busy machine takes more of them.
    """

    def __init__(self, *arguments: str | Path) -> None:
        started = time.monotonic()
        with subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout
            timer = threading.Timer(100, process.kill)
            timer.start()
            self.lines = []

            def waited() -> float:
                return time.monotonic() - started - busy.seconds(process.pid)

            self.first = None
            for line in process.stdout:
                self.first = self.first or waited()
                self.lines.append(line.rstrip())
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            self.seconds = waited()
            timer.cancel()
        self.code = process.returncode

    @property
    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    @property
    def would(self) -> list[str]:
        return [str(event["text"]) for event in self.events if event["event"] == "would"]

    def told(self, *words: str, code: int = Exit.NETWORK) -> None:
        assert self.code == code, self.lines
        assert self.first and self.first <= SAYS_WITHIN
        assert self.seconds <= ENDS_WITHIN
        assert self.lines[-1].startswith("Error: ")
        for word in words:
            assert word in self.lines[-1], self.lines


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--json",)], ids=str)
def test_silent(options: tuple[str, ...]) -> None:
    with sending(b"", 1) as port:
        done = Done("--board", "RPI_PICO_W", "--port", port, *options)
    done.told("no MicroPython answers", "silent", "reset button", "--firmware", port)
    assert f"MicroPython at {port} to answer" in done.lines[-3 if "--json" in options else -2]
    if options == ("--json",):
        assert done.events[-2] == {"event": "wait", "text": f"MicroPython at {port} to answer"}
        error = done.events[-1]
        assert (error["event"], error["code"]) == ("error", Exit.NETWORK)
        assert done.lines[-1] == f"Error: {error['message']}"


@pytest.mark.parametrize(
    ("text", "pause"),
    [(b"x" * 1000, 0.001), (b"temperature 21.5\r\n", 0.01), (bytes(range(128, 256)), 0.01)],
    ids=["fast", "lines", "noise"],
)
def test_flooding(text: bytes, pause: float) -> None:
    with sending(text, pause) as port:
        done = Done("--board", "RPI_PICO_W", "--port", port)
    done.told("sends without end", "cannot be interrupted", "reset button")


@pytest.mark.parametrize(
    ("text", "pause"), [(ESP32_STARTS, 0.4), (ESP32_STARTS, 4), (PICO_STARTS, 2)], ids=str
)
def test_boot_loop(text: bytes, pause: float) -> None:
    with sending(text, pause) as port:
        done = Done("--board", "ESP32_GENERIC", "--port", port)
    done.told("starts again and again", "power", "--firmware")


def test_boot_loop_over_usb(tmp_path: Path) -> None:
    """The port goes with each start, and comes back as another."""
    link = tmp_path / "ttyACM0"
    end = threading.Event()

    def start() -> None:
        while not end.is_set():
            with terminal() as (_, port):
                (tmp_path / "new").symlink_to(port)
                (tmp_path / "new").replace(link)
                end.wait(1.5)

    thread = threading.Thread(target=start)
    thread.start()
    try:
        while not link.exists():
            time.sleep(0.1)
        done = Done("--board", "RPI_PICO_W", "--port", link)
    finally:
        end.set()
        thread.join()
    done.told("starts again and again")


def test_another_program() -> None:
    with sending(b"ready\r\n", 2) as port:
        done = Done("--board", "RPI_PICO_W", "--port", port)
    done.told("something else", "'ready'")


@pytest.mark.parametrize("seconds", [0, 5])
def test_answers(program: Callable[[str], Program], tmp_path: Path, seconds: int) -> None:
    with board(program("micropython"), tmp_path / "root", seconds=seconds) as port:
        done = Done("--board", "RPI_PICO_W", "--port", port, "--dry-run", "--json")
        assert done.code == 0, done.lines
        assert done.first and done.first <= SAYS_WITHIN
        assert any(event.get("id") == "0a0b0c" for event in done.events)
        assert not any((tmp_path / "root").iterdir())


def test_dry_run_says_what_the_real_run_does(
    program: Callable[[str], Program], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "main.py").write_text("another")
    (root / "lib/est").mkdir(parents=True)
    (root / "lib/est/old.mpy").write_text("")
    (root / "identity.0").write_text("key")
    with board(program("micropython"), root) as port:
        use = ["--board", "RPI_PICO_W", "--port", port, "--json", "--erase-identity"]
        dry = Done(*use, "--dry-run")
        assert (root / "identity.0").exists() and (root / "main.py").read_text() == "another"
        real = Done(*use)
        again = Done(*use, "--dry-run")
        small = Done("--board", "RPI_PICO_W", "--port", port, "--json")
    assert (dry.code, real.code, again.code, small.code) == (0, 0, 0, 0), real.lines
    happened = []
    for event in real.events:
        if event["event"] == "renamed":
            happened.append(f"keep {event['path']} as {event['to']}")
        elif event["event"] == "removed":
            happened.append(f"remove {event['path']}")
        elif event["event"] == "write":
            happened.append(f"install {event['path']} ({event['bytes']} bytes)")
    assert dry.would == happened
    assert {"remove /lib/est/old.mpy", "remove /identity.0"} < set(dry.would)
    assert again.would == ["install nothing: all is there already"]


def test_settings_and_program_of_the_user(
    program: Callable[[str], Program], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "config.new.json").write_text("{}")
    config = {"url": "https://a", "subject": "CN=a", "anchors": "ca.pem"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    certificate, _ = firmware_files.certificate_and_key()
    (tmp_path / "ca.pem").write_bytes(certificate)
    (tmp_path / "mine.py").write_text("async def main(identity):\n    pass\n")
    with board(program("micropython"), root) as port:
        use = ["--board", "RPI_PICO_W", "--port", port, "--json", "--part", "est-revocation"]
        use += ["--config", str(tmp_path / "config.json"), "--app", str(tmp_path / "mine.py")]
        dry, real, again = Done(*use, "--dry-run"), Done(*use), Done(*use, "--dry-run")
    assert (dry.code, real.code, again.code) == (0, 0, 0), real.lines
    assert "remove /config.new.json" in dry.would
    assert again.would == ["install nothing: all is there already"]
    assert json.loads((root / "config.json").read_text()) == config
    assert (root / "app.py").exists() and (root / "ca.pem").read_bytes() == certificate
    assert "revocation" in packages.unpacked((root / "lib/est/modules").read_bytes())
    assert not (root / "config.new.json").exists()
    # Until main.py is there nothing starts.
    written = [event["path"] for event in real.events if event["event"] == "write"]
    assert written[-1] == "/main.py"


@pytest.mark.parametrize(
    ("name", "found", "words"),
    [
        ("RPI_PICO_W", ("rp2", "Raspberry Pi Pico with RP2040"), "'Raspberry Pi Pico W'"),
        ("RPI_PICO2_W", ("rp2", "Raspberry Pi Pico2 with RP2350"), "'Raspberry Pi Pico 2 W'"),
        ("RPI_PICO_W", ("rp2", "Raspberry Pi Pico 2 W with RP2350"), "RP2040"),
        ("RPI_PICO_W", ("esp32", "Generic ESP32 module with ESP32"), "for esp32"),
        ("ESP32_GENERIC", ("esp32", "Generic ESP32S3 module with ESP32S3"), "a ESP32"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_another_board(
    program: Callable[[str], Program],
    tmp_path: Path,
    name: str,
    found: tuple[str, str],
    words: str,
    dry: bool,
) -> None:
    root = tmp_path / "root"
    with board(program("micropython"), root, found) as port:
        done = Done("--board", name, "--port", port, "--json", *["--dry-run"] * dry)
    assert done.code == Exit.USAGE, done.lines
    assert words in done.lines[-1] and "--board" in done.lines[-1]
    assert done.events[-1]["event"] == "error"
    assert done.events[-2]["machine"] == found[1]
    assert not any(root.iterdir())


def uf2_firmware(folder: Path) -> Path:
    tool = boards.load("RPI_PICO_W").flash
    assert isinstance(tool, boards.Uf2)
    path = folder / "RPI_PICO_W-1.uf2"
    path.write_bytes(firmware_files.uf2(tool.family, range(0x10000000, 0x10001000, 256)))
    return path


def test_another_board_keeps_its_firmware(
    program: Callable[[str], Program], tmp_path: Path
) -> None:
    """It is not sent into its boot loader, where it would wait for ever."""
    found = ("rp2", "Raspberry Pi Pico 2 W with RP2350")
    with board(program("micropython"), tmp_path / "root", found) as port:
        use = ["--board", "RPI_PICO_W", "--port", port, "--firmware", uf2_firmware(tmp_path)]
        Done(*use).told("RPI_PICO_W has a RP2040", code=Exit.USAGE)
        Done(*use, "--dry-run").told("RPI_PICO_W has a RP2040", code=Exit.USAGE)


def test_dry_run_with_firmware(program: Callable[[str], Program], tmp_path: Path) -> None:
    firmware = uf2_firmware(tmp_path)
    with board(program("micropython"), tmp_path / "root") as port:
        use = ["--board", "RPI_PICO_W", "--firmware", firmware, "--dry-run", "--json"]
        known = Done(*use, "--port", port)
        unknown = Done(*use, "--port", "/dev/ttyNONE")
    assert known.code == unknown.code == 0
    assert known.would == unknown.would
    assert known.would[0] == f"copy {firmware} to the drive RPI-RP2"
    assert "a new board is assumed" in str(unknown.events)


@pytest.mark.parametrize(
    ("text", "pause", "words"),
    [
        (b"", 1, "is silent"),
        (b"x" * 1000, 0.01, "sends without end"),
        (ESP32_STARTS, 0.4, "starts again and again"),
    ],
    ids=["silent", "flooding", "boot loop"],
)
def test_no_chip_in_its_boot_loader(tmp_path: Path, text: bytes, pause: float, words: str) -> None:
    firmware = tmp_path / "ESP32_GENERIC-1.bin"
    firmware.write_bytes(firmware_files.esp32("esp32", 0x1000))
    for options in ([], ["--dry-run"]):
        with sending(text, pause) as port:
            use = ["--board", "ESP32_GENERIC", "--port", port, "--firmware", firmware]
            Done(*use, *options).told(f"no esp32 at {port}", words, "BOOT")


@pytest.mark.parametrize("port", [".", "..", "nonsense", "", "~", "pyproject.toml"])
def test_what_is_no_port(port: str) -> None:
    for options in ([], ["--dry-run"], ["--json"]):
        done = Done("--board", "RPI_PICO_W", "--port", port, *options)
        assert done.code == Exit.USAGE
        assert done.lines[-1].startswith(f"Error: --port {port} is no serial port")


def test_errors_are_events(tmp_path: Path) -> None:
    for use in (
        ["--board", "NONE", "--port", "/dev/ttyNONE"],
        ["--board", "RPI_PICO_W", "--port", "/dev/ttyNONE"],
        ["--board", "UNIX", "--port", __file__],
    ):
        done = Done(*use, "--json")
        assert done.lines[-1] == f"Error: {done.events[-1]['message']}"
        assert done.events[-1]["event"] == "error" and done.events[-1]["code"] == done.code
