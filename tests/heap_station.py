"""The smallest heap in which a board makes its key at a station and takes its certificate.

On a MicroPython with the memory of a Pico W, compiled for it, with a chain of two certificates.
What plays the raw REPL there has its place in that heap too.
"""

import bisect
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import station_board
from heap import KIB, LARGEST, SMALLEST, TRIES
from report import budgets, hold, save, show

from mpest import boards, runtimes
from mpest.exits import CliError
from mpest.server import running_server
from mpest.station.board import Board
from mpest.station.link import Simulated

_KIND = "micropython-picow-like"
_ARCH = 'port = "rp2"\narch = "armv6m"\n'


class Station:
    """A board's folder as it is before each step, and what a server issued for it."""

    def __init__(self, line: station_board.Line) -> None:
        self._line = line
        profile = line.profile.folder / boards.PROFILE
        profile.write_text(profile.read_text().replace('port = "rp2"\n', _ARCH))
        self._profile = boards.read(line.profile.folder)
        files = station_board.files(self._profile, line.server, line.folder)
        self._order = line.order()
        self._before = {name: line.folder / name for name in ("key", "install")}
        station_board.place(files, self._before["key"])
        self._answer = b""
        shutil.copytree(self._before["key"], self._before["install"])
        board = Board(self._link(self._before["install"], LARGEST), self._profile)
        board.make_key(self._order)
        self._answer = line.authority.enroll(board.request())
        line.links.pop().close()

    def works(self, step: str, kib: int, tries: int = TRIES) -> bool:
        """Whether the board does a step in so much heap, each time."""
        return all(self._does(step, kib) for _ in range(tries))

    def smallest(self, step: str) -> int:
        """KiB."""
        heaps = range(SMALLEST, LARGEST)
        found = bisect.bisect_left(heaps, True, key=lambda kib: self.works(step, kib))
        return heaps[found]

    def _does(self, step: str, kib: int) -> bool:
        with tempfile.TemporaryDirectory(dir=self._line.folder) as name:
            root = Path(name) / "root"
            shutil.copytree(self._before[step], root)
            link = self._link(root, kib)
            try:
                board = Board(link, self._profile)
                board.make_key(self._order)
                if step == "install":
                    board.install(self._answer, self._order.cacerts)
            except CliError:
                return False
            finally:
                link.close()
                self._line.links.clear()
        return True

    def _link(self, root: Path, kib: int) -> Simulated:
        program = runtimes.find(_KIND)
        *words, _ = program.argv  # the last says how large the heap is
        program = replace(program, argv=(*words, f"heapsize={kib * KIB}"))
        self._line.links.append(
            Simulated(program, root, station_board.MACHINE, station_board.UNIQUE_ID)
        )
        return self._line.links[-1]


def main(quick: bool) -> None:
    limits = budgets()["station"]
    with tempfile.TemporaryDirectory(prefix="mpest-heap-") as name:
        folder = Path(name)
        with running_server(station_board.config(folder / "ca")) as server:
            line = station_board.Line(server, folder)
            try:
                station = Station(line)
                if quick:
                    # Pieces may come to lie badly: tried again.
                    over = [
                        f"station.{step}: more than the budget of {kib} KiB is needed"
                        for step, kib in limits.items()
                        if not any(station.works(step, kib, 1) for _ in range(2))
                    ]
                else:
                    found = {step: station.smallest(step) for step in limits}
                    show([found], "Smallest heap at a station, KiB")
                    save("heap-station", found)
                    over = [
                        f"station.{step}: {kib} KiB are needed, the budget is {limits[step]}"
                        for step, kib in found.items()
                        if kib > limits[step]
                    ]
            finally:
                line.close()
    hold(over)


if __name__ == "__main__":
    main("--quick" in sys.argv)
