"""What of the PC hinders a line: rights, programs that grab boards, USB, disk, printer."""

import getpass
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from mpest.boards import Board, Uf2
from mpest.exits import CliError
from mpest.station import ledger_place, usb
from mpest.station.findings import Finding
from mpest.station.job import Job
from mpest.station.machine import Machine

PICO = "2e8a"
_CONVERTERS = ("10c4", "1a86", "0403")  # Silicon Labs, WCH, FTDI
_ESPRESSIF = "303a"
_VENDORS = {"rp2": (PICO,), "esp32": (_ESPRESSIF, *_CONVERTERS)}

RULES_FILE = "/etc/udev/rules.d/60-mpest.rules"
_GROUPS = ("dialout", "uucp")  # Debian's and Fedora's, Arch's
_MODEM_MANAGER = "ModemManager"
_BRLTTY = "brltty"
# GNOME's volume monitor, in the 15 characters that Linux keeps, and others that mount drives.
_AUTO_MOUNTERS = {"gvfs-udisks2-vo", "udiskie", "devmon", "usbmount", "pcmanfm"}
# xHCI controllers have 96 endpoints as a rule, some 64; a board takes four, and hubs two.
_MOST_ENDPOINTS = 88
_DEEPEST = 5  # hubs in a row (USB 2.0, 4.1.1); beyond that nothing answers
_BUS_POWER = 500  # mA, what a hub without a supply has for all its ports (USB 2.0, 7.2.1)
_SELF_POWERED = 0x40  # in bmAttributes (USB 2.0, 9.6.3)
_HUB_CLASS = "09"
_LEAST_FREE = 1 << 30  # bytes; a batch of 10,000 takes some 200 MB with its labels and report
_LOCKS_FAIL = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"}


def findings(job: Job, board: Board, machine: Machine) -> Iterator[Finding]:
    """Each with what to do."""
    there = usb.ports(machine.root)
    vendors = _vendors(board, there)
    yield from _rights(machine, there)
    yield from _modem_manager(machine, vendors)
    yield from _braille(machine, vendors)
    if isinstance(board.flash, Uf2) and job.firmware:
        yield from _auto_mounters(machine)
        if machine.uid and not machine.program("udisksctl"):
            yield Finding(
                "mounting",
                "there is no udisksctl, and you are not root",
                "the drive of a board's boot loader can't be mounted, so firmware can't be copied",
                "install udisks2 (Debian: apt install udisks2)",
            )
    yield from _controllers(machine)
    yield from _disk(job, machine)
    yield from _printer(job, machine)


def rules(board: Board, machine: Machine) -> str:
    """udev's rules for the station: who may use the ports, and who is to leave them alone."""
    group = machine.group(*_GROUPS)
    name = group[0] if group else _GROUPS[0]
    lines = [f"# {RULES_FILE}; then: udevadm control --reload && udevadm trigger"]
    for vendor in _vendors(board, usb.ports(machine.root)):
        lines.append(
            f'SUBSYSTEM=="tty", ATTRS{{idVendor}}=="{vendor}", GROUP="{name}", MODE="0660", '
            'ENV{ID_MM_DEVICE_IGNORE}="1", ENV{ID_MM_PORT_IGNORE}="1"'
        )
        lines.append(
            f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{vendor}", ENV{{ID_MM_DEVICE_IGNORE}}="1"'
        )
    if isinstance(board.flash, Uf2):
        lines.append(f'SUBSYSTEM=="block", ATTRS{{idVendor}}=="{PICO}", ENV{{UDISKS_AUTO}}="0"')
    return "\n".join(lines)


def _vendors(board: Board, there: list[usb.Port]) -> list[str]:
    expected = _VENDORS.get(board.port, ())
    return sorted({*expected, *(port.vendor for port in there if port.vendor in _ALL_VENDORS)})


_ALL_VENDORS = {vendor for vendors in _VENDORS.values() for vendor in vendors}


def _rights(machine: Machine, there: list[usb.Port]) -> Iterator[Finding]:
    group = machine.group(*_GROUPS)
    name = group[0] if group else _GROUPS[0]
    closed = [port for port in there if not machine.may_use(machine.root / port.device[1:])]
    if machine.uid == 0 or not (closed or (group and not there)):
        return
    if group and group[1] in machine.groups and not closed:
        return
    user = getpass.getuser()
    do = f"sudo usermod -a -G {name} {user}, log out and in again"
    if group and user in group[2] and group[1] not in machine.groups:
        do = "log out and in again: the group counts from then on"
    elif group and group[1] in machine.groups:
        do = f"put the rules below into {RULES_FILE}"
    if closed:
        what = f"you may not use {', '.join(port.device for port in closed)}"
    else:
        what = f"you are not in the group {name}"
    yield Finding("rights", what, "no board can be reached through its port", do)


def _modem_manager(machine: Machine, vendors: list[str]) -> Iterator[Finding]:
    enabled = machine.root / f"etc/systemd/system/multi-user.target.wants/{_MODEM_MANAGER}.service"
    runs = _MODEM_MANAGER in machine.running()
    if not runs and not enabled.is_symlink():
        return
    open_to_it = [name for name in vendors if not machine.rule_for(name, "ID_MM_DEVICE_IGNORE")]
    if open_to_it:
        yield Finding(
            "modemmanager",
            f"ModemManager {'runs' if runs else 'starts with the PC'}",
            "it sends AT commands to each port that comes, in the middle of a board's steps",
            f"put the rules below into {RULES_FILE}, or sudo apt remove modemmanager",
        )


def _braille(machine: Machine, vendors: list[str]) -> Iterator[Finding]:
    if not {*vendors} & {*_CONVERTERS}:
        return
    files = [
        file
        for file in machine.rules()
        if _BRLTTY in file.name and machine.text(str(file.relative_to(machine.root))).strip()
    ]
    runs = _BRLTTY in machine.running()
    if files or runs:
        masks = " && ".join(
            f"sudo ln -s /dev/null /etc/udev/rules.d/{file.name}" for file in files
        )
        do = "sudo apt remove brltty"
        if masks:
            do += f"; who needs it for a Braille display: {masks}"
        yield Finding(
            "brltty",
            "brltty is installed" if files else "brltty runs",
            "it takes converters (CP210x, CH340, FTDI) for Braille displays, and grabs the port",
            do,
        )


def _auto_mounters(machine: Machine) -> Iterator[Finding]:
    running = sorted(machine.running() & _AUTO_MOUNTERS)
    ignored = machine.rule_for(PICO, "UDISKS_AUTO") or machine.rule_for(PICO, "UDISKS_IGNORE")
    if running and not ignored:
        yield Finding(
            "auto-mounter",
            f"{', '.join(running)} mounts drives by itself",
            "it opens a window for each board, and may hold the drive while firmware is copied",
            f"put the rules below into {RULES_FILE}",
        )


def _controllers(machine: Machine) -> Iterator[Finding]:
    """Endpoints by controller, hubs in a row, and what hubs without a supply have to give."""
    folder = machine.root / "sys/bus/usb/devices"
    endpoints: dict[str, int] = {}
    drawn: dict[str, int] = {}
    for device in sorted(folder.glob("*-*")):
        name = device.name
        if ":" in name:
            bus = name.partition("-")[0]
            # Besides the control endpoint, which each device has.
            number = _number(machine, device / "bNumEndpoints", 16)
            endpoints[bus] = endpoints.get(bus, 0) + number
            continue
        bus = name.partition("-")[0]
        endpoints[bus] = endpoints.get(bus, 0) + 1
        if name.count(".") > _DEEPEST:
            yield Finding(
                "hubs",
                f"{name} is behind {name.count('.')} hubs in a row",
                f"USB allows {_DEEPEST}: what is deeper comes and goes, or is never seen",
                "plug that hub into the PC, or into one that is nearer to it",
            )
        hub = name.rpartition(".")[0]
        if hub:
            drawn[hub] = drawn.get(hub, 0) + _number(machine, device / "bMaxPower")
    for bus, number in sorted(endpoints.items()):
        if number > _MOST_ENDPOINTS:
            yield Finding(
                "usb-controller",
                f"{number} endpoints are in use at USB bus {bus}",
                "its controller has 96 as a rule, and refuses the boards that come then",
                "plug some hubs into ports of another bus (lsusb -t), or a USB card",
            )
    for hub, current in sorted(drawn.items()):
        attributes = _number(machine, folder / hub / "bmAttributes", 16)
        if current > _BUS_POWER and attributes and not attributes & _SELF_POWERED:
            yield Finding(
                "hub-power",
                f"the boards at hub {hub} ask for {current} mA, and it has no supply of its own",
                f"it may give {_BUS_POWER} mA to all: boards start over while Wi-Fi sends",
                "use a hub with a power supply",
            )


def _number(machine: Machine, file: Path, base: int = 10) -> int:
    text = machine.text(str(file.relative_to(machine.root)))
    match = re.match(r"\s*([0-9a-fA-F]+)", text)
    try:
        return int(match[1], base) if match else 0
    except ValueError:
        return 0


def _disk(job: Job, machine: Machine) -> Iterator[Finding]:
    path = ledger_place.path(job)
    folder = path.parent if path else job.source.parent.absolute()
    try:
        free = machine.free(folder)
    except OSError:
        return  # the ledger's finding says that there is no such folder
    if free < _LEAST_FREE:
        yield Finding(
            "disk",
            f"{free >> 20} MiB are free at {folder}",
            "when the disk is full, boards stop: nothing is done that the ledger can't record",
            f"make room: {_LEAST_FREE >> 20} MiB are enough for a batch",
        )
    kind = _file_system(machine, folder) if path else ""
    if kind in _LOCKS_FAIL:
        yield Finding(
            "ledger",
            f"the ledger {path} lies on a network drive ({kind})",
            "SQLite's locks do not hold there: two stations may get the same board",
            "keep it on a disk of this PC; for several stations use PostgreSQL",
        )


def _file_system(machine: Machine, folder: Path) -> str:
    mounts = [line.split() for line in machine.text("proc/self/mounts").splitlines()]
    over = [
        (len(fields[1]), fields[2])
        for fields in mounts
        if len(fields) > 2 and (folder / "x").is_relative_to(fields[1])
    ]
    return max(over, default=(0, ""))[1]


def _printer(job: Job, machine: Machine) -> Iterator[Finding]:
    if not (job.label and job.label.print):
        return
    try:
        command = job.command_of(job.label.print, None)
    except CliError:
        command = list(job.label.print)  # with a board's words in it
    if not machine.program(command[0]):
        yield Finding(
            "printer",
            f"there is no program {command[0]}",
            "labels can't be printed",
            f"install it, or correct label.print: {shlex.join(command)}",
        )
    for part in command[1:]:
        device = machine.root / part[1:]
        if part.startswith("/dev/") and not machine.may_use(device):
            there = device.exists()
            yield Finding(
                "printer",
                f"{part} may not be written" if there else f"there is no {part}",
                "labels can't be printed",
                "sudo usermod -a -G lp YOU, log out and in again"
                if there
                else "switch the printer on, see that its cable is plugged in",
            )
