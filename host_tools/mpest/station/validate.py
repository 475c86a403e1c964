"""Everything that can be wrong with a job is found before the first board is touched."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from mpest.boards import Board, Esptool, Uf2
from mpest.exits import CliError
from mpest.flash import application, esp, uf2
from mpest.sim.inputs import read_trust
from mpest.station import configuration, labels, names, own_certificate
from mpest.station.credentials import Credential, open_to_others
from mpest.station.job import Job
from mpest.station.ledger.units import NewUnit
from mpest.station.problems import Problem
from mpest.station.toml_lines import Keys
from mpest.toolchain import mpy

# What a board says of itself stands in no list; these have its form.
_UNIQUE_ID, _MAC = "e6614c311b7e2c2f", "28cdc1000001"
_ANY_ARCH = "x64"  # for scripts of boards that run no machine code
_CHUNK = 1 << 20

Told = Iterator[tuple[Keys, str]]


def problems(job: Job, *, ask: bool = False) -> list[Problem]:
    """What is wrong with a job, beside what job.read tells. ask: for secrets that are typed."""
    told: list[tuple[Keys, str]] = []
    try:
        told += _of_board(job, job.profile)
    except CliError as error:
        told.append((("board",), error.message))
    else:
        told += _of_units(job, ask)
    told += [*_of_server(job, ask), *_of_commands(job)]
    found = [job.problem(key, line) for key, text in told for line in text.splitlines()]
    return sorted(found, key=lambda problem: problem.line or 0)


def notes(job: Job) -> list[str]:
    """What is to be told of a job that can run."""
    told: list[str | None] = []
    board = job.profile
    if job.firmware and board.firmware and not fnmatch(job.firmware.name, board.firmware):
        told.append(f"{job.firmware.name} is not named as {board.name}'s firmware is")
    unit = _first(job)
    for _, credential in job.all_credentials:
        if credential.file:
            told.append(open_to_others(job.credentials.file(credential, job.values(unit))))
        elif credential.column and job.devices.csv:
            told.append(open_to_others(job.devices.csv))
    if job.server.key:
        told.append(open_to_others(job.server.key))
    if job.server.certificate:
        end = own_certificate.ends_soon(job.server.certificate)
        if end:
            told.append(f"{job.server.certificate}, the station's, ends on {end:%Y-%m-%d}")
    return list(dict.fromkeys(filter(None, told)))


def sample(unit: NewUnit) -> NewUnit:
    """The unit, with what only the board can tell in the form that it has."""
    return NewUnit(unit.serial, unit.metadata, unit.unique_id or _UNIQUE_ID, unit.mac or _MAC)


def _first(job: Job) -> NewUnit:
    return sample(next(job.units(), NewUnit("A1", {})))


def _of_board(job: Job, board: Board) -> Told:
    if job.firmware and job.firmware_sha256:
        digest = _sha256(job.firmware)
        if digest != job.firmware_sha256.lower():
            yield ("firmware_sha256",), f"{job.firmware.name} is another: its SHA-256 is {digest}"
        yield from _told("firmware", lambda: _check_firmware(job, board))
    yield from _told("parts", lambda: application.modules_of(job.parts))
    if job.app:
        app = job.app
        yield from _told("app", lambda: application.app(board, app))
    if job.acceptance:
        script = job.acceptance
        arch = board.arch or _ANY_ARCH
        yield from _told("acceptance", lambda: mpy.compile_file(script, arch))
    if job.settings:
        yield from _told("settings", lambda: configuration.template(job))
    yield from _of_files(job, board)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_firmware(job: Job, board: Board) -> None:
    assert job.firmware
    if isinstance(board.flash, Esptool):
        esp.check(job.firmware, board, board.flash)
    elif isinstance(board.flash, Uf2):
        uf2.check(job.firmware, board, board.flash)
    else:
        raise CliError(f"{board.name} brings its own MicroPython: leave out firmware")


def _told(key: str, check: Callable[[], object]) -> Told:
    try:
        check()
    except CliError as error:
        yield (key,), error.message
    except UnicodeDecodeError:
        yield (key,), "is not UTF-8"
    except OSError as error:
        yield (key,), f"can't be read: {error.strerror}"


def _of_files(job: Job, board: Board) -> Told:
    root = application.root(board)
    ours = {root + name for name in ("main.py", "app.py", "app.mpy", "config.json")}
    for name in job.files:
        path = PurePosixPath(name)
        if ".." in path.parts or str(path) != name or not name.startswith(root):
            yield ("files", name), "is no path on the board from its root, such as /data.bin"
        elif name in ours or {"lib", "est"} & {*path.parts[:2]}:
            yield ("files", name), "is a file of mpest's own on the board"


def _of_server(job: Job, ask: bool) -> Told:
    server = job.server
    problem = names.url_problem(server.url)
    if problem:
        yield ("server", "url"), problem
    if isinstance(server.trust, Path):
        try:
            read_trust((str(server.trust),))
        except CliError as error:
            yield ("server", "trust"), error.message
    if server.serve and not server.serve.folder.parent.is_dir():
        yield ("server", "serve", "folder"), f"there is no folder {server.serve.folder.parent}"
    if server.certificate and server.key:
        try:
            own_certificate.check_dates(server.certificate)
            yield from _of_key(job, server.certificate, server.key, ask)
        except CliError as error:
            yield ("server", "certificate"), error.message
    for key, credential in job.all_credentials:
        if not credential.per_board and key != ("server", "key_password"):
            yield from _of_credential(job, key, credential, ask)


def _of_key(job: Job, certificate: Path, key: Path, ask: bool) -> Told:
    credential = job.server.key_password
    password = None
    if credential:
        where = ("server", "key_password")
        failed = list(_of_credential(job, where, credential, ask))
        if failed or (credential.prompt and not ask):
            yield from failed
            return
        password = job.credentials.read("password of the station's key", credential)
    try:
        own_certificate.load(certificate, key, password)
    except CliError as error:
        hint = "" if credential or "password" not in error.message else ": see key_password"
        yield ("server", "key"), error.message + hint


def _of_credential(job: Job, key: Keys, credential: Credential, ask: bool) -> Told:
    try:
        job.credentials.read(".".join(map(str, key)), credential, ask=ask)
    except CliError as error:
        yield key, error.message


def _of_commands(job: Job) -> Told:
    unit = _first(job)
    commands: list[tuple[Keys, list[str] | None]] = [
        (("label", "print"), job.label.print if job.label else None),
        (("hooks", "start"), job.hooks.start),
        (("hooks", "end"), job.hooks.end),
    ]
    commands += [(("hooks", "after", step), hook) for step, hook in job.hooks.after.items()]
    commands += [(("irreversible", n, "run"), one.run) for n, one in enumerate(job.irreversible)]
    for key, command in commands:
        if command:
            once = key in (("hooks", "start"), ("hooks", "end"))
            try:
                program = job.command_of(command, None if once else unit)[0]
                if not shutil.which(program):
                    yield key, f"there is no program {program}"
            except CliError as error:
                yield key, error.message


def _of_units(job: Job, ask: bool) -> Told:
    """What is wrong with a template for a board; of each template the first board is told."""
    first: dict[Keys, str] = {}
    more: dict[Keys, int] = {}
    named: dict[tuple[str, ...], str] = {}
    count = 0
    for unit in job.units():
        count += 1
        for key, text in _of_unit(job, sample(unit), named, ask):
            more[key] = more[key] + 1 if key in more else 0
            first.setdefault(key, f"{unit.serial}: {text}")
    if job.devices.plugged:
        for key, text in _of_plugged(job, ask):
            first.setdefault(key, text)
            more.setdefault(key, 0)
    elif job.quantity and job.quantity > count > 0:
        yield ("quantity",), f"is {job.quantity}, and devices names {count}"
    for key, text in first.items():
        yield key, text + (f" (and {more[key]} more)" if more[key] else "")


def _of_plugged(job: Job, ask: bool) -> Told:
    try:
        one = job.plugged_unit(_UNIQUE_ID, _MAC, "A1")
        other = job.plugged_unit(_UNIQUE_ID[::-1], _MAC[::-1], "B2")
    except CliError as error:
        yield ("devices", "serial"), error.message
        return
    if one.serial == other.serial:
        yield ("devices", "serial"), "must hold {unique_id} or {mac}: all boards have the same"
        return
    named: dict[tuple[str, ...], str] = {}
    for unit in (one, other):
        yield from _of_unit(job, unit, named, ask)


def _of_unit(job: Job, unit: NewUnit, named: dict[tuple[str, ...], str], ask: bool) -> Told:
    """named: serial numbers by the names of the boards before."""
    told = False
    asked: list[str] = []
    try:
        asked = [job.subject_of(unit)]
        problem = names.subject_problem(asked[0])
        if not problem and job.birth and "serialNumber" not in names.attributes(asked[0]):
            problem = "has no serialNumber, which a birth certificate needs (IEEE 802.1AR 8.6)"
        if problem:
            told = True
            yield ("subject",), problem
    except CliError as error:
        told = True
        yield ("subject",), error.message
    for number, template in enumerate(job.san):
        try:
            asked.append(job.alternative_of(template, unit))
            problem = names.alternative_problem(asked[-1])
        except CliError as error:
            problem = error.message
        if problem:
            told = True
            yield ("san", number), problem
    if told:
        return  # settings and labels would say the same
    other = named.setdefault(tuple(asked), unit.serial)
    if other != unit.serial:
        yield ("subject",), f"is the one of {other} too: {asked[0]}"
    told_secrets = list(_of_secrets(job, unit))
    yield from told_secrets or _of_settings(job, unit, ask)
    if job.label:
        try:
            labels.make(job, unit, draw=False)
        except CliError as error:
            where, _, text = error.message.partition(": ")
            yield (*where.split("."),), text


def _of_secrets(job: Job, unit: NewUnit) -> Told:
    for key, credential in job.all_credentials:
        if credential.per_board:
            try:
                job.credentials.read("", credential, job.values(unit))
            except CliError as error:
                yield key, error.message


def _of_settings(job: Job, unit: NewUnit, ask: bool) -> Told:
    try:
        if job.settings:
            configuration.template(job)
    except CliError:
        return  # it was told once
    for on_the_line in (False, True) if job.network else (False,):
        try:
            configuration.own_files(job, unit, on_the_line=on_the_line, ask=ask)
        except CliError as error:
            yield ("network" if on_the_line else "settings",), error.message
