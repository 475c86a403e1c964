"""What `mpest provision --check` finds: on simulated PCs, and of a real server and ledger."""

import getpass
import grp
import json
import os
import pwd
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import firmware_files
import job_files
import pytest
from commands import mpest
from job_files import with_line, without
from simulated_usb import CH340, Usb

from mpest.server import ServerConfig, running_server
from mpest.station import check, job
from mpest.station.findings import Finding
from mpest.station.job import Job
from mpest.station.machine import Machine

# Nobody serves at port 1.
PLAIN = with_line(
    'url = "https://127.0.0.1:1"\ntrust = "ca.pem"', "server", without("url", without("trust"))
)
CERTIFICATE, _ = firmware_files.certificate_and_key()
GROUPS = "root:x:0:\ndialout:x:20:{members}\nlp:x:7:\n"


class Pc:
    """A PC where nothing hinders; what it has lies under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.usb = Usb(root)
        self.closed: set[str] = set()
        self.put("etc/group", GROUPS.format(members=""))
        self.put("etc/udev/rules.d/99-other.rules", '# idVendor=="2e8a" ID_MM_DEVICE_IGNORE\n')
        self.process("systemd")
        self.machine = Machine(
            root=root,
            uid=1000,
            groups=frozenset({20, 1000}),
            may_use=lambda path: path.exists() and path.name not in self.closed,
            free=lambda _: 1 << 40,
            program=lambda name: f"/usr/bin/{name}",
        )

    def put(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def process(self, name: str) -> None:
        """A program that runs; Linux keeps 15 characters of its name."""
        number = len(list((self.root / "proc").glob("*"))) + 1 if name != "systemd" else 1
        self.put(f"proc/{number}/comm", name[:15] + "\n")


@pytest.fixture
def pc(tmp_path: Path) -> Pc:
    return Pc(tmp_path / "pc")


@pytest.fixture
def made(tmp_path: Path, pc: Pc) -> Callable[..., Job]:
    """Makes jobs whose server is nobody's; `found` leaves it out."""

    def make(text: str = "", board: str = "RPI_PICO_W") -> Job:
        folder = tmp_path / "job"
        folder.mkdir(exist_ok=True)
        (folder / "ca.pem").write_bytes(CERTIFICATE)
        (folder / "f.uf2").write_text("x")
        firmware = f'firmware = "f.uf2"\nfirmware_sha256 = "{"0" * 64}"\n'
        whole = firmware + with_line(f'board = "{board}"', job=PLAIN) + text
        return job.load(job_files.make(folder, whole))

    return make


def found(made: Job, machine: Machine) -> list[Finding]:
    findings = [one for one in check.findings(made, machine) if one.kind != "server"]
    for one in findings:
        assert one.what and one.why and one.do and check.text(one).count("\n") == 2
    return findings


def one(made: Job, machine: Machine) -> Finding:
    (finding,) = found(made, machine)
    return finding


def test_nothing_hinders(made: Callable[..., Job], pc: Pc) -> None:
    assert found(made(), pc.machine) == []
    pc.usb.serial("1-1")
    assert found(made(), pc.machine) == []


def test_rights(made: Callable[..., Job], pc: Pc) -> None:
    user = getpass.getuser()
    outside = replace(pc.machine, groups=frozenset({1000}))
    finding = one(made(), outside)
    assert (finding.kind, finding.what) == ("rights", "you are not in the group dialout")
    assert finding.do == f"sudo usermod -a -G dialout {user}, log out and in again"
    pc.usb.serial("1-1")
    assert found(made(), outside) == []  # they are given otherwise, as to who sits at the PC
    pc.closed.add("ttyACM0")
    assert one(made(), outside).what == "you may not use /dev/ttyACM0"
    pc.put("etc/group", GROUPS.format(members=f"else,{user}"))
    assert one(made(), outside).do == "log out and in again: the group counts from then on"
    assert (
        one(made(), pc.machine).do == "put the rules below into /etc/udev/rules.d/60-mpest.rules"
    )
    assert found(made(), replace(outside, uid=0)) == []


def test_modem_manager(made: Callable[..., Job], pc: Pc) -> None:
    wants = pc.root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "ModemManager.service").symlink_to("/usr/lib/systemd/system/ModemManager.service")
    assert one(made(), pc.machine).what == "ModemManager starts with the PC"
    pc.process("ModemManager")
    assert one(made(), pc.machine).what == "ModemManager runs"
    pc.put("etc/udev/rules.d/60-mpest.rules", check.rules(made().profile, pc.machine))
    assert found(made(), pc.machine) == []


def test_brltty(made: Callable[..., Job], pc: Pc) -> None:
    rules = "usr/lib/udev/rules.d/90-brltty-device.rules"
    pc.put(rules, 'ENV{PRODUCT}=="1a86/7523/*", ENV{BRLTTY_BRAILLE_DRIVER}="bm"\n')
    assert found(made(), pc.machine) == []  # a Pico has no converter
    assert one(made(board="ESP32_GENERIC"), pc.machine).what == "brltty is installed"
    pc.usb.serial("1-1", CH340)
    finding = one(made(), pc.machine)
    assert finding.do.endswith("sudo ln -s /dev/null /etc/udev/rules.d/90-brltty-device.rules")
    (pc.root / "etc/udev/rules.d/90-brltty-device.rules").symlink_to("/dev/null")
    assert found(made(), pc.machine) == []
    pc.process("brltty")
    assert one(made(), pc.machine).what == "brltty runs"


def test_auto_mounters(made: Callable[..., Job], pc: Pc) -> None:
    pc.process("gvfs-udisks2-volume-monitor")
    assert one(made(), pc.machine).what == "gvfs-udisks2-vo mounts drives by itself"
    assert found(made(board="ESP32_GENERIC"), pc.machine) == []
    pc.put("etc/udev/rules.d/60-mpest.rules", check.rules(made().profile, pc.machine))
    assert found(made(), pc.machine) == []


def test_who_mounts(made: Callable[..., Job], pc: Pc) -> None:
    without_program = replace(pc.machine, program=lambda _: None)
    assert one(made(), without_program).kind == "mounting"
    assert found(made(), replace(without_program, uid=0)) == []


def test_endpoints_of_a_controller(made: Callable[..., Job], pc: Pc) -> None:
    for number in range(1, 19):
        folder = pc.usb.device(f"1-{number}", ("2e8a", "0005"))
        for interface, endpoints in enumerate(("01", "02")):
            name = f"1-{number}:1.{interface}"
            (folder / name).mkdir()
            (folder / name / "bNumEndpoints").write_text(f"{endpoints}\n")
            (pc.root / "sys/bus/usb/devices" / name).symlink_to(folder / name)
        if number == 17:
            assert found(made(), pc.machine) == []
    # Four by board, and two of a board at another controller.
    pc.usb.device("2-1", ("2e8a", "0005"))
    for number in range(19, 24):
        pc.usb.device(f"1-{number}", ("2e8a", "0005"))
    for number in range(24, 36):
        pc.usb.device(f"1-{number}", ("2e8a", "0005"))
    assert one(made(), pc.machine).what == "89 endpoints are in use at USB bus 1"


def test_hubs(made: Callable[..., Job], pc: Pc) -> None:
    path = "1-1"
    for _ in range(6):
        pc.usb.device(path, ("05e3", "0610"))
        path += ".1"
    assert found(made(), pc.machine) == []
    pc.usb.serial(path)
    assert one(made(), pc.machine).what == f"{path} is behind 6 hubs in a row"


def test_power_of_a_hub(made: Callable[..., Job], pc: Pc) -> None:
    hub = pc.usb.device("1-1", ("05e3", "0610"), bmAttributes="80")
    for number in range(3):
        (pc.usb.device(f"1-1.{number}", ("2e8a", "0005"), bMaxPower="250mA"))
    finding = one(made(), pc.machine)
    assert finding.what == "the boards at hub 1-1 ask for 750 mA, and it has no supply of its own"
    (hub / "bmAttributes").write_text("e0\n")
    assert found(made(), pc.machine) == []


def test_disk(made: Callable[..., Job], pc: Pc) -> None:
    assert one(made(), replace(pc.machine, free=lambda _: 1 << 20)).what.startswith(
        "1 MiB are free"
    )
    pc.put("proc/self/mounts", "a / ext4 rw\nserver:/x / nfs4 rw 0 0\nb /none ext4 rw\n")
    assert "lies on a network drive (nfs4)" in one(made(), pc.machine).what


def test_printer(made: Callable[..., Job], pc: Pc) -> None:
    label = '\n[label]\nzpl = "default"\nprint = ["{program}", "/dev/usb/lp0"]\n'
    text = label.replace("{program}", "tee")
    assert one(made(text), pc.machine).what == "there is no /dev/usb/lp0"
    pc.put("dev/usb/lp0", "")
    assert found(made(text), pc.machine) == []
    pc.closed.add("lp0")
    assert one(made(text), pc.machine).what == "/dev/usb/lp0 may not be written"
    pc.closed.clear()
    absent = replace(pc.machine, uid=0, program=lambda _: None)
    assert one(made(text), absent).what == "there is no program tee"


def test_ledger(made: Callable[..., Job], pc: Pc) -> None:
    text = with_line('ledger = "none/ledger.db"', job=PLAIN)
    one_job = made()
    one_job.source.write_text(text)
    (finding,) = found(job.load(one_job.source), pc.machine)
    assert (finding.kind, finding.what) == (
        "ledger",
        f"there is no folder {one_job.source.parent}/none",
    )
    pc.closed.add("job")
    assert one(made(), pc.machine).what.endswith("/job may not be written")
    pc.closed.clear()
    one_job.source.write_text(with_line('ledger = "sqlite:///ledger.db"', job=PLAIN))
    (one_job.source.parent / "ledger.db").write_text("")
    pc.closed.add("ledger.db")
    assert one(job.load(one_job.source), pc.machine).what.endswith("ledger.db may not be written")


def test_passwords_of_ledgers_are_not_shown(made: Callable[..., Job], pc: Pc) -> None:
    source = made().source
    line = 'ledger = "postgresql://me@127.0.0.1:1/line"\nledger_password = {file = "password"}'
    source.write_text(with_line(line, job=PLAIN))
    finding = one(job.load(source), pc.machine)
    assert finding.kind == "ledger" and "correct horse" not in check.text(finding)
    assert "postgresql+psycopg" not in check.text(finding)


def serve(folder: Path) -> ServerConfig:
    return ServerConfig(
        directory=folder / "ca", port=0, auth="basic", users={"station": "correct horse"}
    )


def of_server(folder: Path, url: str, ca: Path, machine: Machine) -> list[Finding]:
    text = with_line(f'url = "{url}"\ntrust = "{ca}"', "server", without("url", without("trust")))
    made = job.load(job_files.make(folder, text))
    return [one for one in check.findings(made, machine) if one.kind in ("server", "clock")]


def test_server_and_clock(tmp_path: Path, pc: Pc) -> None:
    with running_server(serve(tmp_path)) as server:
        assert of_server(tmp_path, server.url, server.ca_pem, pc.machine) == []
        for minutes, side in ((7, "ahead of"), (-7, "behind")):
            wrong = replace(
                pc.machine, now=lambda m=minutes: datetime.now(UTC) + timedelta(minutes=m)
            )
            (finding,) = of_server(tmp_path, server.url, server.ca_pem, wrong)
            assert finding.what == f"the clock of this PC is 7 minutes {side} the server's"
        url, ca = server.url, server.ca_pem
        with running_server(ServerConfig(directory=tmp_path / "other", port=0)) as other:
            (finding,) = of_server(tmp_path, url, other.ca_pem, pc.machine)
        assert finding.do == "see that server.trust names the CA of this server"
    (finding,) = of_server(tmp_path, url, ca, pc.machine)
    assert "cannot reach 127.0.0.1" in finding.what


def test_the_command(tmp_path: Path) -> None:
    """Of this computer, whatever hinders here; nothing is changed."""
    with running_server(serve(tmp_path)) as server:
        text = with_line(f'url = "{server.url}"\ntrust = "{server.ca_pem}"', "server",
                         without("url", without("trust")))  # fmt: skip
        folder = tmp_path / "job"
        folder.mkdir()
        path = job_files.make(folder, text)
        before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
        done = mpest("provision", path, "--check", "--json")
        assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event.get("kind") for event in events[:-1]]
    assert "server" not in kinds and "ledger" not in kinds and "clock" not in kinds
    assert done.returncode == (2 if kinds else 0), done.stderr
    assert events[-1]["event"] == "rules"


def test_this_computer(made: Callable[..., Job]) -> None:
    machine = Machine()
    assert machine.running()
    name = grp.getgrgid(pwd.getpwuid(os.getuid()).pw_gid).gr_name
    group = machine.group("none", name)
    assert group and group[:2] == (name, os.getgid())
    found(made(), machine)
