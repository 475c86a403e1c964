"""What an agent of a Linux board takes: memory through a renewal, time to start, wakeups at rest.

Beside it a shell script with openssl and curl, which renews once. Memory is the peak of resident
memory (VmHWM); of the script's programs, which live for a moment, it is read every millisecond.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import budgets, hold, over_budget, report

from mpest.runtimes import find
from mpest.server import ServerConfig, running_server
from mpest.sim import cpython

_SECONDS = 60
_REST = 10
_ESTD = "estd/__main__.py"
# A renewal as a person would write it. /cacerts is asked for too, as the agent does.
_SCRIPT = """\
set -e
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.pem
openssl req -new -key new.pem -subj /CN=script -outform DER -out csr.der
base64 -w 64 csr.der >csr.b64
curl -sf --cacert ca.pem $SHOW "$URL/cacerts" -o ca.b64
curl -sf --cacert ca.pem $SHOW -H 'Content-Type: application/pkcs10' \
    --data-binary @csr.b64 "$URL/$OPERATION" -o cert.b64
tr -d '\\r' <cert.b64 | base64 -d | openssl pkcs7 -inform DER -print_certs -out cert.pem
mv new.pem key.pem
"""


def of_process(pid: int, name: str) -> int:
    """A number of /proc/PID/status."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(rf"{name}:\s+(\d+)", text)[0])


def agent(command: list[str], environment: dict[str, str], folder: Path, url: str, ca: Path):
    """Starts an agent, has it renew by another process, and lets it rest; the table's row."""
    folder.mkdir()
    config = folder / "config.json"
    settings = {"url": url, "anchors": str(ca), "subject": f"CN={folder.name}"}
    settings |= {"state": str(folder / "state"), "export": {"folder": str(folder / "live")}}
    config.write_text(json.dumps(settings))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(folder / "notify"))
        notified.settimeout(_SECONDS)
        began = time.monotonic()
        process = subprocess.Popen(
            [*command, "--config", config],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment, "NOTIFY_SOCKET": str(folder / "notify")},
        )
        try:
            while b"READY=1" not in notified.recv(4096):
                pass
            started = time.monotonic() - began
            assert process.stderr
            assert any(line.startswith("renewed:") for line in process.stderr)
            began = time.monotonic()
            subprocess.run(
                [*command, "renew", "--now", "--config", config],
                check=True,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **environment},
                timeout=_SECONDS,
            )
            took = time.monotonic() - began
            time.sleep(1)
            woken = of_process(process.pid, "voluntary_ctxt_switches")
            time.sleep(_REST)
            woken = of_process(process.pid, "voluntary_ctxt_switches") - woken
            peak = of_process(process.pid, "VmHWM")
            at_rest = of_process(process.pid, "VmRSS")
        finally:
            process.kill()
            process.communicate()
    return {
        "peak MiB": round(peak / 1024, 1),
        "at rest MiB": round(at_rest / 1024, 1),
        "start ms": round(started * 1000),
        "renewal ms": round(took * 1000),
        f"wakeups in {_REST} s": woken,
    }


def script(folder: Path, url: str, ca: Path):
    """Enrols and renews by the script; the row of the renewal."""
    folder.mkdir()
    shutil.copy(ca, folder / "ca.pem")
    peak = 0
    for operation, show in (
        ("simpleenroll", ""),
        ("simplereenroll", "--cert cert.pem --key key.pem"),
    ):
        given = {"URL": url, "OPERATION": operation, "SHOW": show}
        began = time.monotonic()
        process = subprocess.Popen(["sh", "-c", _SCRIPT], cwd=folder, env={**os.environ, **given})
        peak = 0
        while process.poll() is None:
            with contextlib.suppress(OSError, IndexError, ValueError):
                peak = max(peak, tree_peak(process.pid))
            time.sleep(0.001)
        took = time.monotonic() - began
        assert process.returncode == 0, operation
    return {
        "peak MiB": round(peak / 1024, 1),
        "at rest MiB": None,
        "start ms": None,
        "renewal ms": round(took * 1000),
        f"wakeups in {_REST} s": None,
    }


def tree_peak(pid: int) -> int:
    """VmHWM of a process with those that it started, in KiB."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return of_process(pid, "VmHWM") + sum(tree_peak(int(child)) for child in children)


def main() -> None:
    micropython = find("micropython")
    rows = []
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        firmware = cpython.firmware()
        with running_server(ServerConfig(directory=folder / "ca")) as server:
            given = (server.url, server.ca_pem)
            source = [*micropython.argv, str(firmware / _ESTD)]
            path = {**micropython.env, "MICROPYPATH": f"{firmware}:.frozen"}
            rows.append(
                {"program": "agent, MicroPython", **agent(source, path, folder / "m", *given)}
            )
            python = [sys.executable, "-m", "mpest", "agent"]
            rows.append({"program": "agent, CPython", **agent(python, {}, folder / "c", *given)})
            rows.append({"program": "openssl and curl", **script(folder / "s", *given)})
    report("bench-agent", rows)
    measured = {"agent": {row["program"].split()[-1]: row["peak MiB"] for row in rows[:2]}}
    hold(list(over_budget(measured, budgets())))


if __name__ == "__main__":
    main()
