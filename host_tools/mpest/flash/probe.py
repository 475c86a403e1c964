"""Whether MicroPython answers at a serial port, and what comes from there if it does not.

mpremote would wait for ever for a board that sends without end, or on a pseudo terminal that is
silent, and names none of the reasons.
"""

import errno
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import serial  # type: ignore[import-untyped]
from serial.tools import list_ports  # type: ignore[import-untyped]

from mpest.exits import CliError, Exit

SECONDS = 10.0  # in which any board answers; with all that is around it the user waits 15 at most
_AGAIN = 1.0  # between two interrupts
_STEP = 0.05
_READ = 4096
_MOST = 1 << 20  # bytes kept of what comes
_FLOOD = 200  # bytes a second; a program that prints now and then sends less
_SHOWN = 60  # characters of the last line, to recognize the program by
_INTERRUPT, _RAW, _FRIENDLY, _RESET = b"\r\x03", b"\r\x01", b"\r\x02", b"\x04"
_PROMPT = b"raw REPL; CTRL-B to exit\r\n>"
_REBOOTED = b"soft reboot\r\n"
_RESTARTS, _FLOODS = "starts again and again", "sends without end"
_SILENT, _ELSE = "is silent", "says something else"
# What boards say when they start: ESP32's ROM and boot loader, crashes, MicroPython itself.
_STARTS = re.compile(
    rb"rst:0x|esp-rom:|\bets [a-z]{3} |guru meditation|brownout|watchdog|\bpanic|"
    rb"\b(?:re)?boot|micropython v|\breset\b",
    re.IGNORECASE,
)
_STARTED = 2  # of one of them: a board that starts once says no more
_STARTS_A_SECOND = 5  # at the most: what says so more often only prints the word


def check_name(port: str) -> None:
    """Raise CliError unless `port` names a serial port that is there, or one of mpremote's ways.

    It may name a port that only exists once the board is plugged in: see `missing`.
    """
    path = Path(port)
    if not port or (path.exists() and not path.is_char_device()):
        raise CliError(f"--port {port} is no serial port ({_ports()})")
    if "://" in port or port == "auto" or port.startswith(("id:", "port:")):
        return
    if os.name == "posix" and not path.is_absolute():
        raise CliError(f"--port {port} is no serial port ({_ports()})")


def missing(port: str) -> bool:
    """Whether a port is named by its path, and is not there."""
    return port.startswith("/") and not Path(port).exists()


def no_port(port: str) -> CliError:
    """The error for a port that is not there."""
    return CliError(f"no such port: {port} ({_ports()})")


def _ports() -> str:
    devices = sorted(port.device for port in list_ports.comports() if port.vid is not None)
    return f"there are: {', '.join(devices)}" if devices else "no board is plugged in"


def answers(
    port: str,
    seconds: float = SECONDS,
    *,
    appear: float = 0.0,
    find: Callable[[], str | None] | None = None,
) -> None:
    """Return once MicroPython's raw REPL answers at `port`, its program interrupted.

    appear: seconds in which the port may still come. find: what the port is called at the moment,
    None while it is not there. Raises CliError that says what is there instead, and what to do.
    """
    heard = _Heard()
    end = time.monotonic() + seconds
    latest = time.monotonic() + appear
    while True:
        try:
            with _opened(port if find is None else _named(find)) as line:
                if not heard.opened:
                    end = time.monotonic() + seconds
                heard.opened += 1
                if _entered(line, heard, end):
                    return
        except OSError as error:
            # Gone while it starts, as a USB board is; or not there yet.
            if time.monotonic() > (end if heard.opened else latest):
                raise _reason(port, heard, error) from None
        if heard.opened and time.monotonic() > end:
            raise _reason(port, heard, None)
        time.sleep(_STEP)


def _named(find: Callable[[], str | None]) -> str:
    name = find()
    if name is None:
        raise OSError(errno.ENOENT, "no board is there")
    return name


def listen(port: str, seconds: float) -> str:
    """What a board at `port` does that says nothing sensible, in words that follow "the board"."""
    heard = _Heard()
    with suppress(OSError), _opened(port) as line:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            heard.add(line.read(max(1, min(line.in_waiting, _READ))))
    return heard.kind + heard.quoted


class _Heard:
    """opened: how often the port was. data: the end of what came; count: bytes of all."""

    def __init__(self) -> None:
        self.opened = 0
        self.data = bytearray()
        self.count = 0
        self.began = time.monotonic()

    def add(self, data: bytes) -> None:
        self.count += len(data)
        self.data += data
        del self.data[:-_MOST]

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.count / max(time.monotonic() - self.began, 1)

    @property
    def restarts(self) -> bool:
        """Whether the board said several times that it starts, in the same words."""
        counts = Counter(word.lower() for word in _STARTS.findall(self.data))
        most = _STARTS_A_SECOND * (time.monotonic() - self.began)
        return any(_STARTED <= count <= most for count in counts.values())

    @property
    def kind(self) -> str:
        """What the board does, in words."""
        if self.opened > 2 or self.restarts:
            return _RESTARTS
        if self.rate >= _FLOOD:
            return _FLOODS
        return _ELSE if self.count else _SILENT

    @property
    def quoted(self) -> str:
        """The last line, where there is one."""
        lines = bytes(self.data[-_READ:]).decode(errors="replace").split("\n")
        text = next((line.strip() for line in reversed(lines) if line.strip()), "")
        visible = "".join(letter if letter.isprintable() else "?" for letter in text)
        return f" (last: {visible[:_SHOWN]!r})" if visible else ""


class _opened:
    """The port as mpremote opens and closes it. Raises OSError."""

    def __init__(self, port: str) -> None:
        device = port.removeprefix("port:")
        usb = [info for info in sorted(list_ports.comports()) if info.vid is not None]
        if port.startswith("id:"):
            usb = [info for info in usb if info.serial_number == port[3:]]
        if port == "auto" or port.startswith("id:"):
            if not usb:
                raise OSError("no such board is plugged in")
            device = usb[0].device
        self._line = serial.serial_for_url(
            device, baudrate=115200, timeout=_STEP, write_timeout=1, do_not_open=True
        )
        # Not the one of a program that is talking to the board.
        self._line.exclusive = True
        self._line.open()

    def __enter__(self) -> "serial.Serial":
        return self._line

    def __exit__(self, *_: object) -> None:
        # In this order no board is reset by it; a pseudo terminal has neither.
        with suppress(OSError):
            self._line.rts = False
            self._line.dtr = False
        self._line.close()


def _entered(line: "serial.Serial", heard: _Heard, end: float) -> bool:
    """Whether the raw REPL answers, at first and after a soft reset, as mpremote wants it."""
    output = b""
    next_try = 0.0
    expected = [_PROMPT, _REBOOTED, _PROMPT]
    while time.monotonic() < end:
        # Asked again and again, for a board that is starting hears nothing.
        if len(expected) == 3 and time.monotonic() >= next_try:
            _write(line, _INTERRUPT)
            _write(line, _RAW)
            next_try = time.monotonic() + _AGAIN
        data = line.read(max(1, min(line.in_waiting, _READ)))
        heard.add(data)
        output = (output + data)[-2 * _READ :]
        while expected and expected[0] in output:
            output = output.partition(expected.pop(0))[2]
            if len(expected) == 2:
                # mpremote does this before each thing that it does: boot.py must end by itself.
                _write(line, _RESET)
        if not expected:
            _write(line, _FRIENDLY)
            return True
    return False


def _write(line: "serial.Serial", data: bytes) -> None:
    # A board that does not read makes the line full: that is silence, too.
    with suppress(serial.SerialTimeoutException):
        line.write(data)


def _reason(port: str, heard: _Heard, error: OSError | None) -> CliError:
    """What is at the port instead of MicroPython, and what to do about it."""
    if not heard.opened:
        if missing(port):
            return no_port(port)
        text = (error and error.strerror) or str(error)
        return CliError(f"cannot open {port}: {text}; does another program use it?", Exit.NETWORK)
    kind = heard.kind
    step = {
        _RESTARTS: "Give it enough power,",
        _FLOODS: "It cannot be interrupted: press its reset button and try again at once,",
        _SILENT: "See that this is the right port and the cable has data lines, press the board's "
        "reset button and try again,",
        _ELSE: "See that this is the right port, press the board's reset button and try again,",
    }[kind]
    return CliError(
        f"no MicroPython answers at {port}: the board {kind}{heard.quoted}. {step} "
        "or install MicroPython with --firmware",
        Exit.NETWORK,
    )
