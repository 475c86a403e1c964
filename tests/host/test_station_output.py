"""What the line prints, for readers that are slow or gone; and programs of its user's."""

import json
import os
import subprocess
import sys
import time

import pytest
from line_of_boards import Make, board, step

from mpest.exits import CliError
from mpest.station import hooks, job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Who

pytestmark = pytest.mark.timeout(120)
_FAST = """
import sys
from mpest.station import output
output.MAX_LINES = 100
output._LAST_SECONDS = float(sys.argv[2])
with output.Output() as out:
    for number in range(int(sys.argv[1])):
        out("note", message="x" * 1000, number=number)
    out("end", message="over")
"""


def _program(count: int, seconds: float) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", _FAST]
    return subprocess.Popen([*command, str(count), str(seconds)], stdout=subprocess.PIPE)


def test_a_line_that_nobody_reads_goes_on() -> None:
    """It ends by itself, though not a byte was read."""
    with _program(5000, 0.2) as program:
        assert program.wait(60) == 0
        assert program.stdout
        program.stdout.close()


def test_what_was_left_out_is_counted() -> None:
    with _program(5000, 60.0) as program:
        assert program.stdout
        time.sleep(1.0)  # meanwhile it fills the pipe and the queue
        events = [json.loads(line) for line in program.stdout]
        assert program.wait(60) == 0
    assert events[-1] == {"event": "end", "message": "over"}
    lost = sum(event["count"] for event in events if event["event"] == "lost")
    heard = [event["number"] for event in events if event["event"] == "note"]
    assert lost > 0 and lost + len(heard) == 5000
    assert heard == sorted(heard)


def test_a_reader_that_is_gone(make: Make) -> None:
    """Boards are made all the same."""
    line = make(1)
    line.plug()
    with line.start() as run:
        run.until(step("settings"))
        run.close_output()
        assert run.code() == 0
    line.check(1)


def _alive(name: str) -> bool:
    found = subprocess.run(["pgrep", "-f", name], capture_output=True, text=True)
    return found.returncode == 0


def test_a_program_does_not_outlive_a_killed_station(make: Make) -> None:
    """Nor what it started; and what cannot be undone is not begun again."""
    line = make(1, 'irreversible = [{name = "fuses", run = ["./burn"]}]')
    mark = f"4{os.getpid()}"  # seconds that no other program sleeps
    burn = line.folder / "burn"
    burn.write_text(f"#!/bin/sh\nsleep {mark} & touch '{line.folder}/on'; wait\n")
    burn.chmod(0o700)
    line.plug()
    with line.start() as run:
        end = time.monotonic() + 60
        while not (line.folder / "on").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        assert _alive(f"sleep {mark}")
        run.kill()
        while _alive(f"sleep {mark}"):
            assert time.monotonic() < end, "it outlived the station"
            time.sleep(0.05)
    with line.start() as run:
        told = run.until(board("failed"))
        assert "mpest ledger settle A001 fuses" in told["message"]
        run.interrupt()
        run.end()
    burn.write_text("#!/bin/sh\n")
    ledger = [sys.executable, "-m", "mpest", "ledger", "--ledger", str(line.ledger)]
    settle = [*ledger, "settle", "A001", "fuses", "--reason", "looked at it"]
    subprocess.run([*settle, "--undone"], check=True)
    assert subprocess.run([*settle, "--done"], capture_output=True).returncode == 2
    line.run()
    line.check(1)
    with Ledger(str(line.ledger)) as opened:
        fuses = [event.outcome for event in opened.history("A001") if event.step == "fuses"]
        # Once done, never again, not by a rework either.
        opened.rework("A001", Who("s", "p", "Ann"), "came back")
    begun, *_, undone, intent, done = fuses
    assert (begun, undone, intent, done) == ("intent", "undone", "intent", "done")
    line.run()
    with Ledger(str(line.ledger)) as opened:
        again = [event.outcome for event in opened.history("A001") if event.step == "fuses"]
    assert again == fuses


def test_a_program_has_its_time(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_SECONDS", 0.5)
    made, _ = job.read(make(1).job)
    for command, told in (
        (["sh", "-c", "echo one; echo two; exit 3"], "hook: sh ended with 3: two"),
        (["sh", "-c", "echo slow; sleep 60"], "hook: sh was ended after 0.5 s: slow"),
        (["sh", "-c", "exec >&- 2>&-; sleep 60"], "was ended after"),
        (["./none"], "ended with 127: it cannot be run: No such file"),
        (["sh", "-c", "kill -9 $$"], "ended with 137"),
    ):
        with pytest.raises(CliError, match=told):
            hooks.run("hook", command, made, None, None)
    # What it leaves running holds nothing up.
    begun = time.monotonic()
    hooks.run("hook", ["sh", "-c", "sleep 60 & exit 0"], made, None, None)
    assert time.monotonic() - begun < 50
