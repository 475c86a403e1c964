"""Boards that a station makes at one port and at eight, behind serial lines as slow as real ones.

Between the station and each board a relay lets 115,200 baud pass, and holds an answer back for as
long as flash takes to be erased for what the board has written. Both are slept, not computed, so
two cores do for eight boards: what is measured is whether the station waits for all of them at
once. A relay that wakes up late catches up, as a line goes on by itself. One port is measured
before and after the eight. How long the workers waited for a processor tells whether the machine
was quiet enough. On one that is not, `--slower 4` has lines and flash take four times as long:
what the station does one after the other for all ports still shows, and the load much less.
"""

import os
import select
import sys
import tempfile
import threading
import time
import tty
from contextlib import suppress
from pathlib import Path
from typing import Any

import busy
import click
from line_of_boards import Board, Line, server_of
from report import report

from mpest.station.worker import SETTLE

PORTS = (1, 8, 1)
BAUD = 115_200
_OCTETS = BAUD / 10  # a second: a start bit and a stop bit go with each octet
_ERASE, _BLOCK = 0.03, 4096  # seconds for as many octets of flash
_PIECE = 115  # octets that are passed on at once: 10 ms
TARGET = 7.2
REAL_SECONDS = 30.0  # that a board takes on a real line
_LONGEST = 1200.0  # seconds; slower lines and a busy machine included
_QUIET = 0.05  # of a board's time: more that the station waits for a processor is no measure


class PacedBoard(Board):
    """One behind a line of 115,200 baud, whose flash has to be erased.

    slower: how many times as long both take.
    """

    slower = 1

    def plug(self, port: Path) -> None:
        hidden = self.root.parent / f"{self.root.name}-line"
        super().plug(hidden)
        near, far = os.openpty()
        tty.setraw(far)
        self._ends = [near, far, os.open(hidden, os.O_RDWR | os.O_NOCTTY)]
        port.parent.mkdir(exist_ok=True)
        port.symlink_to(os.ttyname(far))
        self._link = port
        near, _, board = self._ends
        for come, go, from_board in ((near, board, False), (board, near, True)):
            threading.Thread(target=self._pass, args=(come, go, from_board), daemon=True).start()

    def unplug(self) -> None:
        if self._process:
            self._link.unlink()
            super().unplug()
            for end in self._ends:
                os.close(end)

    def _pass(self, come: int, go: int, from_board: bool) -> None:
        """from_board: before it answers it has written to its flash."""
        free, told, erased, slower = time.monotonic(), 0, 0, self.slower
        while True:
            try:
                # What waits already came while the line was busy: it follows without a gap.
                if not select.select([come], [], [], 0)[0]:
                    select.select([come], [], [])
                    free = max(free, time.monotonic())
                data = os.read(come, _PIECE)
                free += slower * len(data) / _OCTETS
                if from_board:
                    told += len(data)
                    written = max(self._written() - told, erased)
                    free += slower * (written - erased) / _BLOCK * _ERASE
                    erased = written
                time.sleep(max(free - time.monotonic(), 0))
                os.write(go, data)
            except (OSError, ValueError):
                return  # it was unplugged

    def _written(self) -> int:
        """Octets that the board has written to files, and to its terminal."""
        pid = self._process.pid if self._process else 0
        io = Path(f"/proc/{pid}/io").read_text()
        return int(io.partition("wchar: ")[2].split()[0])


def measure(ports: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="mpest-bench-") as name:
        folder = Path(name)
        with server_of(folder) as server:
            line = Line(server, folder, ports)
            line.boards = [PacedBoard(board.root, board.unique_id) for board in line.boards]
            seconds: list[float] = []
            cost = first = 0.0
            with line.start() as run:
                run.show = False
                run.until(lambda event: event["event"] == "counts")
                time.sleep(10)  # all workers have started
                begun, first, lost = time.monotonic(), busy.session(run.pid), _waited(run.pid)
                line.plug()
                while len(seconds) < ports:
                    event = run.until(lambda event: event["event"] == "board", _LONGEST)
                    assert event["outcome"] == "done", event
                    seconds.append(event["seconds"])
                    cost = busy.session(run.pid)
                took = time.monotonic() - begun
                waited = _waited(run.pid) - lost
                run.end()
            line.check(ports)
            line.unplug()
    return {
        "ports": ports,
        "seconds until all are made": round(took, 1),
        "seconds of a board": round(sum(seconds) / ports, 1),
        # Ports don't wait for each other: one that is done takes its next board.
        "boards an hour": round(sum(3600 / (each + SETTLE) for each in seconds)),
        "CPU seconds of the station per board": round((cost - first) / ports, 2),
        "seconds it waited for a processor": round(waited / ports, 2),
    }


def _waited(leader: int) -> float:
    """For how long the workers of a line were ready to run and did not."""
    total = 0.0
    for child in Path(f"/proc/{leader}/task/{leader}/children").read_text().split():
        with suppress(OSError):
            total += int(Path(f"/proc/{child}/schedstat").read_text().split()[1]) / 1e9
    return total


@click.command()
@click.option("--slower", type=click.IntRange(1), default=1, show_default=True)
def main(slower: int) -> None:
    PacedBoard.slower = slower
    rows = [measure(ports) for ports in PORTS]
    report("bench-station", rows)
    before, eight, after = rows
    times = 2 * eight["boards an hour"] / (before["boards an hour"] + after["boards an hour"])
    waited = max(
        row["seconds it waited for a processor"] / row["seconds of a board"] for row in rows
    )
    if slower > 1:
        print(f"Lines and flash took {slower} times as long as real ones.")
    real = REAL_SECONDS * slower
    share = eight["CPU seconds of the station per board"] / real
    print(f"Eight ports make {times:.2f} times as many as one; the target is {TARGET}.")
    print(f"{100 * share:.1f} % of the {real:.0f} s of a board are the station's CPU.")
    if waited > _QUIET:
        print(f"The machine was busy: a worker waited {100 * waited:.0f} % of its time for it.")
    sys.exit(times < TARGET and waited <= _QUIET)


if __name__ == "__main__":
    main()
