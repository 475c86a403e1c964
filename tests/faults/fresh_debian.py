"""docs/linux.md, done on a fresh Debian 13 under systemd as PID 1, with our Debian package.

Needs root and debootstrap. The root of Debian stays in build/fresh-debian.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import systemd
from documents import block, commands
from report import ROOT

from mpest.exits import CliError
from mpest.toolchain import debian

PAGE = "docs/linux.md"
_SYSTEM = ROOT / "build/fresh-debian"
# procps, which every usual system has, has the `kill` of mosquitto's unit.
_PACKAGES = "systemd,systemd-sysv,procps,python3,python3-click,mosquitto,openssl"
_STAMP = "made-of"
_SECONDS = 60


def run() -> dict[str, str]:
    """What was used, once a broker shows its second certificate.

    Raises CliError, AssertionError, SubprocessError.
    """
    system()
    package = subprocess.run(
        [sys.executable, ROOT / "packaging/deb.py"], check=True, capture_output=True, text=True
    ).stdout.partition(":")[0]
    with (
        tempfile.TemporaryDirectory() as work,
        systemd.Machine(str(_SYSTEM)) as machine,
    ):
        subprocess.run(
            machine.command("sh", "-c", "cat >/root/mpest.deb"),
            input=(ROOT / package).read_bytes(),
            check=True,
        )
        machine.shell("apt-get -qq install -y /root/mpest.deb")
        # The machine looks for units in few folders.
        machine.shell("ln -s /usr/lib/systemd/system/m[po]* /etc/systemd/system/")
        machine.run("systemctl", "daemon-reload")
        (Path(work) / "users").write_text("broker:a password")
        serve = ["serve", "--dir", f"{work}/ca", "--port", "8443", "--open"]
        serve += ["--auth", "basic", "--users", f"{work}/users"]
        with subprocess.Popen(
            [*machine.in_its_network(sys.executable, "-m", "mpest", *serve)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as server:
            try:
                follow(machine, Path(work) / "ca/ca.pem")
            finally:
                server.terminate()
        return {
            "system": machine.shell(". /etc/os-release; echo $PRETTY_NAME").strip(),
            "systemd": machine.run("systemctl", "--version").split()[1],
            "python": machine.run("python3", "--version").split()[1],
        }


def system() -> None:
    """Make the root of a fresh Debian, unless it is there."""
    stamp = _SYSTEM / _STAMP
    if stamp.exists() and stamp.read_text() == _PACKAGES:
        return
    if not shutil.which("debootstrap"):
        raise CliError("needs debootstrap (Debian: apt install debootstrap)")
    shutil.rmtree(_SYSTEM, ignore_errors=True)
    make = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "trixie", _SYSTEM]
    done = subprocess.run([*make, debian.mirrors()[0]], capture_output=True, text=True)
    if done.returncode:
        raise CliError(f"debootstrap failed: {done.stdout[-300:]}")
    stamp.write_text(_PACKAGES)


def follow(machine: systemd.Machine, ca: Path) -> None:
    """What the page says, from the settings on. Its EST server is at localhost."""
    until = time.monotonic() + _SECONDS
    while not ca.exists() and time.monotonic() < until:
        time.sleep(0.1)
    machine.write("/etc/hosts", "127.0.0.1 localhost broker.lan\n")
    machine.write("/etc/mpest/ca.pem", ca.read_text())
    machine.write("/etc/mpest/broker.secret", "a password")
    machine.shell("\n".join(commands(block(PAGE, "chmod 640"))))
    settings = json.loads(block(PAGE, '"secret_file"').replace("est.lan", "localhost"))
    machine.write("/etc/mpest/broker.json", json.dumps(settings))
    machine.write("/etc/mpest/broker.deploy.json", block(PAGE, '"from"'))
    machine.write("/etc/mosquitto/conf.d/est.conf", block(PAGE, "listener 8883"))
    machine.wait("bash -c '</dev/tcp/127.0.0.1/8443'")
    machine.shell("\n".join(commands(block(PAGE, "--dry-run"))))
    machine.wait("systemctl is-active mosquitto", "mpest-deploy@broker")
    machine.shell("\n".join(commands(block(PAGE, "renew --now"))))
    shown = "openssl s_client -connect broker.lan:8883 -CAfile /etc/mpest/ca.pem </dev/null 2>&1"
    machine.wait(
        f'test "$({shown} | openssl x509 -noout -serial)" ='
        ' "$(openssl x509 -noout -serial -in /var/lib/mpest/broker/live/cert.pem)"',
        "mpest-deploy@broker",
    )
