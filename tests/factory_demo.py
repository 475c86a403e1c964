"""A factory in a few minutes: four emulated boards, two stations, one ledger.

The boards are real firmware under QEMU, behind pseudo terminals. One is unplugged while it makes
its key; the first station is killed; the second finishes. What is left lies in build/factory-demo:
ledger, report, manifest and labels.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import postgres

from mpest import boards, emulator
from mpest.exits import CliError
from mpest.server import EstServer, ServerConfig, running_server

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "factory-demo"
BOARD = "QEMU_MPS2_AN385"
PASSWORD = "the station's"  # of a server that ends with this program
_COUNT = 4
_LEASE = 15  # seconds
_SECONDS = 900  # in which a station must end
# Of a board that says nothing more.
_SILENT = ("no MicroPython answers", "took too long", "does not start")
_REVIVALS = 3  # of one board

_JOB = """
name = "demo"
board = "{board}"
key_type = "P-256"
subject = "CN=sensor-{{serial}}"
station = "{station}"
ledger = "{ledger}"
{password}
lease = {lease}
acceptance = "accept.py"

[server]
url = "{url}"
trust = "sha256:{fingerprint}"
user = "line"
password = {{file = "station-password"}}

[devices]
range = {{first = "F001", last = "F{count:03}"}}

[label]
zpl = "default"
svg = "default"
scan = false
"""
_ACCEPT = """\
import os
assert "config.json" in os.listdir()
print("accepted")
"""


def say(text: str) -> None:
    print(text, flush=True)


def mpest(*words: str, out: Path | None = None) -> None:
    """Run a command of mpest, and say which. Raises CalledProcessError."""
    say(f"$ mpest {' '.join(words)}" + (f" > {out.relative_to(ROOT)}" if out else ""))
    with out.open("w") if out else contextlib.nullcontext() as file:
        subprocess.run([sys.executable, "-m", "mpest", *words], check=True, stdout=file)


class Boards:
    """Four machines, each plugged in where a link in `ports` leads to it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        profile = boards.load(BOARD)
        firmware = emulator.build(profile)
        self.ports = [FOLDER / f"port-{number}" for number in range(1, _COUNT + 1)]
        self._machines = []
        for number, port in enumerate(self.ports):
            machine = emulator.Machine(profile, firmware, FOLDER / f"board-{number + 1}.memory")
            self._machines.append(stack.enter_context(machine))
            port.symlink_to(machine.pty)

    def unplug(self, number: int) -> None:
        self.ports[number].unlink()
        self._machines[number].power_off()

    def revive(self, number: int) -> None:
        """Switch off and on a board that does not answer; its storage stays."""
        say(f"! port-{number + 1} is silent: the board is switched off and on")
        self.unplug(number)
        self.plug(number)

    def plug(self, number: int) -> None:
        self._machines[number].power_on()
        self.ports[number].symlink_to(self._machines[number].pty)


class Station:
    """`mpest provision` under a name of its own."""

    def __init__(self, job: Path, machines: Boards) -> None:
        words = [word for port in machines.ports for word in ("--port", str(port))]
        command = [sys.executable, "-m", "mpest", "provision", str(job), "--json"]
        self._process = subprocess.Popen(
            [*command, "--operator", "Ann", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._machines = machines
        self._late = threading.Timer(_SECONDS, self._end)
        self._late.daemon = True
        self._late.start()

    def events(self) -> Iterator[dict[str, str]]:
        """What it tells, also on the terminal. Silent boards are switched off and on."""
        assert self._process.stdout
        revived: Counter[str] = Counter()
        for line in self._process.stdout:
            event = json.loads(line)
            is_board = event["event"] == "board"
            silent = is_board and any(words in event.get("message", "") for words in _SILENT)
            if silent:
                port = event["port"]
                revived[port] += 1
                if revived[port] > _REVIVALS:
                    raise CliError(event["message"])
                self._machines.revive(self._machines.ports.index(Path(port)))
            told = {**event, "port": Path(event.get("port", "")).name}
            if is_board or told.get("outcome") == "done":
                say(
                    "  {port} {serial} {step} {outcome} {message}".format(
                        **{"serial": "", "step": "", "outcome": "", "message": "", **told}
                    )
                )
            if is_board and event["outcome"] == "failed" and not silent:
                raise CliError(event["message"])
            yield event

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)

    def kill(self) -> None:
        self._late.cancel()
        self._end()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def code(self) -> int:
        return self._process.wait()


def job(server: EstServer, station: str, ledger: str) -> Path:
    """The job file of a station."""
    password = 'ledger_password = {file = "ledger-password"}' if "://" in ledger else ""
    path = FOLDER / f"{station}.toml"
    path.write_text(
        _JOB.format(
            board=BOARD,
            station=station,
            ledger=ledger,
            password=password,
            lease=_LEASE,
            url=server.url,
            fingerprint=server.fingerprint,
            count=_COUNT,
        )
    )
    return path


def first_station(job_file: Path, machines: Boards) -> None:
    """Until one board is made and another was unplugged; then it is killed."""
    station = Station(job_file, machines)
    unplugged = made = False
    try:
        for event in station.events():
            port = machines.ports.index(Path(event["port"])) if event.get("port") else -1
            if event["event"] == "step" and event["step"] == "key" and not unplugged:
                unplugged = True
                say(f"! port-{port + 1} is unplugged while the board makes its key")
                machines.unplug(port)
            if event["event"] == "board" and event["outcome"] == "unplugged":
                say(f"! port-{port + 1} is plugged in again")
                machines.plug(port)
            made = made or (event["event"], event.get("outcome")) == ("board", "done")
            if made:
                break
    finally:
        say("! station-1 is killed")
        station.kill()
    if not made:
        raise CliError("station-1 made no board")


def second_station(job_file: Path, machines: Boards) -> None:
    station = Station(job_file, machines)
    try:
        ended = [event for event in station.events() if event["event"] == "end"]
        if station.code() or not ended or int(ended[0]["done"]) != _COUNT:
            raise CliError("station-2 did not finish the batch")
    finally:
        station.kill()


def papers(server: EstServer, ledger: str) -> None:
    """Report, manifest and verification."""
    os.environ["MPEST_LEDGER"] = ledger
    mpest("ledger", "list", "--batch", "demo")
    mpest("ledger", "report", "--batch", "demo", "--out", str(FOLDER / "report.html"))
    own = FOLDER / "station"
    login = ("--user", "station", "--password-file", str(FOLDER / "station-password"))
    trust = ("--url", server.url, "--trust", str(server.ca_pem))
    mpest("simulate", *trust, "--state", str(own), *login, "--subject", "CN=station", "enroll")
    signed = FOLDER / "demo.json"
    signer = ("--certificate", str(own / "chain.pem"), "--key", str(own / "key.pem"))
    manifest = ("--manifest", "--out", str(signed), *signer)
    mpest("ledger", "export", "--batch", "demo", *manifest)
    issued = FOLDER / "issued.json"
    mpest("serve", "--dir", str(FOLDER / "ca"), "--list", "--json", out=issued)
    mpest(
        *("ledger", "verify", "--ca", str(server.ca_pem), "--issued", str(issued)),
        *("--others", str(own / "cert.pem")),
    )
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-content", str(signed)]
    command += ["-in", f"{signed}.p7s", "-out", os.devnull, "-CAfile", str(server.ca_pem)]
    command += ["-purpose", "any", "-nointern", "-certfile", str(own / "cert.pem")]
    say(f"$ {' '.join(command[:4])} ...")
    subprocess.run(command, check=True)
    listed = json.loads(signed.read_text())["boards"]
    if len(listed) != _COUNT or len(list((FOLDER / "labels/demo").glob("*.zpl"))) != _COUNT:
        raise CliError("the manifest or the labels are not complete")


def main() -> None:
    began = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    (FOLDER / "accept.py").write_text(_ACCEPT)
    (FOLDER / "station-password").write_text(PASSWORD)
    (FOLDER / "station-password").chmod(0o600)
    rule = {"users": "line", "role": "ra", "subject": "CN=sensor-F*", "limit": _COUNT}
    config = ServerConfig(
        directory=FOLDER / "ca",
        auth="basic",
        users={"line": PASSWORD, "station": PASSWORD},
        chain_length=2,
        policy={"rule": [rule]},
    )
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_server(config))
        ledger = with_password = str(FOLDER / "ledger.db")
        if postgres.programs():
            database = stack.enter_context(postgres.running())
            with_password = database.url()
            (FOLDER / "ledger-password").write_text(database.password)
            (FOLDER / "ledger-password").chmod(0o600)
            ledger = with_password.replace(f":{database.password}@", "@")
            say(f"Ledger: PostgreSQL at port {database.port}")
        else:
            say(f"Ledger: {ledger}; PostgreSQL is not installed")
        say(f"Boards: {_COUNT} of {BOARD}, emulated")
        machines = Boards(stack)
        first_station(job(server, "station-1", ledger), machines)
        say(f"Leases end in {_LEASE} s")
        time.sleep(_LEASE)
        for port in machines.ports:
            if not port.exists():
                machines.plug(machines.ports.index(port))
        second_station(job(server, "station-2", ledger), machines)
        papers(server, with_password)
    say(f"\nAll of it worked, in {time.monotonic() - began:.0f} s. In {FOLDER.relative_to(ROOT)}:")
    for name in ("report.html", "demo.json", "demo.json.p7s", "labels/demo"):
        say(f"  {name}")


if __name__ == "__main__":
    main()
