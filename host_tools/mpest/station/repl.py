"""MicroPython's raw REPL over a stream of bytes, each call with its limit of time and of output.

The protocol is that of MicroPython's docs/reference/repl.rst, "Raw mode" and "Raw-paste mode".
mpremote's own transport waits for ever on a pseudo terminal that is silent, and for a board that
prints without end.
"""

import re
import time
from collections.abc import Iterator
from typing import Protocol

from mpest.station.device import OTHER
from mpest.station.errors import (
    BoardError,
    Failed,
    Garbled,
    OtherBoard,
    Silent,
    StartedOver,
    StorageFull,
)

START_SECONDS = 10.0  # in which any board answers; flash.probe waits as long
_AGAIN = 1.0  # between two interrupts
_MOST = 1 << 20  # bytes that one call may print: a chain takes 10 KB, a script's log more
_PLAIN, _PAUSE = 256, 0.01  # bytes that boards without raw paste take at once, and seconds between
_SHOWN = 200  # characters of a board's words that an error quotes
_INTERRUPT, _RAW, _END, _PASTE = b"\r\x03", b"\r\x01", b"\x04", b"\x05A\x01"
_PROMPT = b"raw REPL; CTRL-B to exit\r\n>"
_REBOOTED = b"soft reboot\r\n"
_STARTS_WITHIN = 4096  # bytes, the last that came: what a board says when it starts is less
# Only who starts says so: the REPL's banner, and the ROM of an ESP32.
_STARTS = re.compile(rb'Type "help\(\)" for more information|\brst:0x[0-9a-f]+ \(')


class Stream(Protocol):
    """Bytes to and from a board. Raises errors.Gone where it has vanished."""

    def read(self, seconds: float) -> bytes:
        """What there is, at once; else what comes within so many seconds, or nothing."""

    def write(self, data: bytes) -> None: ...


class Repl:
    """One board's raw REPL. `name` is what errors call the port."""

    def __init__(self, stream: Stream, name: str) -> None:
        self._stream = stream
        self._name = name
        self._buffer = bytearray()
        self._pastes = True
        self._inside = False

    def enter(self, seconds: float = START_SECONDS) -> None:
        """Interrupt what runs, and start MicroPython over without main.py: with an empty heap."""
        end = time.monotonic() + seconds
        self._inside = False
        while True:
            self._buffer.clear()
            self._stream.write(_INTERRUPT)
            self._stream.write(_RAW)
            if self._found(_PROMPT, min(end, time.monotonic() + _AGAIN)):
                break
            if time.monotonic() > end:
                raise Silent(
                    f"no MicroPython answers at {self._name}: press the board's reset button, or "
                    "plug it in again"
                )
        self._stream.write(_END)
        for expected in (_REBOOTED, _PROMPT):
            if not self._found(expected, end):
                raise Silent(
                    f"the board at {self._name} does not start: boot.py must end by itself"
                )
        self._inside = True

    def run(self, code: str, seconds: float) -> str:
        """What `code` prints. Raises Silent, Garbled, StartedOver, and BoardError with the last
        line of what it raised."""
        if not self._inside:
            self.enter()
        end = time.monotonic() + seconds
        self._inside = False  # unless all goes well
        self._send(code.encode(), end)
        output = self._until(_END, end)
        failure = self._until(_END, end)
        self._until(b">", end)
        self._inside = True
        text = output.decode(errors="replace").replace("\r\n", "\n")
        if failure:
            raise self._error(failure, text)
        return text

    def start(self, code: str) -> None:
        """Run code that resets the board: nothing is expected of it any more."""
        if not self._inside:
            self.enter()
        self._inside = False
        self._send(code.encode(), time.monotonic() + START_SECONDS)

    def lines(self, seconds: float) -> Iterator[str]:
        """What a program prints that runs by itself, in lines, for so many seconds."""
        end = time.monotonic() + seconds
        self._inside = False
        self._buffer.clear()
        count = 0
        while (left := end - time.monotonic()) > 0:
            data = self._stream.read(left)
            count += len(data)
            if count > _MOST:
                raise Garbled(f"the board at {self._name} prints without end")
            self._buffer += data
            while (at := self._buffer.find(b"\n")) >= 0:
                line = bytes(self._buffer[:at]).decode(errors="replace").strip()
                del self._buffer[: at + 1]
                yield line

    def _send(self, code: bytes, end: float) -> None:
        self._buffer.clear()
        if self._pastes:
            self._stream.write(_PASTE)
            answer = self._exactly(2, end)
            if answer == b"R\x01":
                self._paste(code, end)
                return
            self._pastes = False
            if answer != b"R\x00" and not self._found(_PROMPT, end):
                raise self._garbled(answer)
        for at in range(0, len(code), _PLAIN):
            self._stream.write(code[at : at + _PLAIN])
            time.sleep(_PAUSE)
        self._stream.write(_END)
        if (answer := self._exactly(2, end)) != b"OK":
            raise self._garbled(answer)

    def _paste(self, code: bytes, end: float) -> None:
        # The board says how much it takes, and \x01 for as much again; \x04 where it gives up.
        window = int.from_bytes(self._exactly(2, end), "little")
        left = window
        at = 0
        while at < len(code):
            while left == 0 or self._buffer:
                answer = self._exactly(1, end)
                if answer == b"\x01":
                    left += window
                elif answer == _END:
                    self._stream.write(_END)
                    return
                else:
                    raise self._garbled(answer)
            piece = code[at : at + left]
            self._stream.write(piece)
            at += len(piece)
            left -= len(piece)
            self._buffer += self._stream.read(0)
        self._stream.write(_END)
        self._until(_END, end)

    def _exactly(self, count: int, end: float) -> bytes:
        while len(self._buffer) < count:
            self._more(end)
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _until(self, ending: bytes, end: float) -> bytes:
        """All before `ending`, which is taken too."""
        searched = 0
        while (at := self._buffer.find(ending, searched)) < 0:
            searched = max(len(self._buffer) - len(ending), 0)
            if len(self._buffer) > _MOST:
                self._stream.write(_INTERRUPT)
                raise Garbled(f"the board at {self._name} prints without end")
            self._more(end)
        taken = bytes(self._buffer[:at])
        del self._buffer[: at + len(ending)]
        return taken

    def _found(self, expected: bytes, end: float) -> bool:
        """Whether `expected` came; what was before it is dropped."""
        while (at := self._buffer.find(expected)) < 0:
            del self._buffer[:-_MOST]
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._buffer += self._stream.read(left)
        del self._buffer[: at + len(expected)]
        return True

    def _more(self, end: float) -> None:
        # What came is not what is waited for: is it the board's start?
        if _STARTS.search(self._buffer[-_STARTS_WITHIN:]):
            raise StartedOver(
                f"the board at {self._name} started over in the middle: see its power and cable"
            )
        left = end - time.monotonic()
        if left <= 0:
            self._stream.write(_INTERRUPT)
            raise Silent(
                f"the board at {self._name} took too long{self._quoted}: it is left as it is; try "
                "again, or plug it in again"
            )
        self._buffer += self._stream.read(left)

    def _garbled(self, answer: bytes) -> Garbled:
        self._buffer[:0] = answer
        return Garbled(
            f"the board at {self._name} gives no sensible answer{self._quoted}: try again, or "
            "plug it in again"
        )

    @property
    def _quoted(self) -> str:
        text = " ".join(bytes(self._buffer[-_SHOWN:]).decode(errors="replace").split())
        visible = "".join(letter if letter.isprintable() else "?" for letter in text)
        return f" (last: {visible!r})" if visible else ""

    def _error(self, failure: bytes, output: str) -> BoardError:
        lines = failure.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
        if "ENOSPC" in last or last.startswith("OSError: 28"):
            return StorageFull(f"the storage of the board at {self._name} is full")
        if OTHER in last:
            return OtherBoard(
                f"the board at {self._name} is another by now: {last.partition(OTHER)[2]}"
            )
        text = f"the board at {self._name}: {last[:_SHOWN]}"
        return Failed(text, last.partition(":")[0], output=output)
