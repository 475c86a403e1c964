"""Job files: what a batch of boards is to become, in TOML. docs/factory.md has the keys."""

import re
import socket
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, PrivateAttr

from mpest import boards, settings
from mpest.boards import Board
from mpest.exits import CliError
from mpest.station import devices as device_lists
from mpest.station import digest, templates
from mpest.station.credentials import Credential, Secrets
from mpest.station.devices import Rows
from mpest.station.entries import (
    LIMITED,
    MAX_NAME,
    STEPS,
    Birth,
    Devices,
    Digits,
    File,
    Folder,
    Hooks,
    Irreversible,
    Label,
    Limit,
    Name,
    Network,
    Page,
    Seconds,
    Server,
    Strict,
    Text,
)
from mpest.station.ledger.units import NewUnit
from mpest.station.problems import JobError, Problem
from mpest.station.toml_lines import Keys, lines_of
from mpest.text import text_of

_MAX_BYTES = 1 << 20  # of a job file; lists of devices are files of their own


def _host_name() -> str:
    name = "".join(
        sign if sign.isascii() and sign.isalnum() else "-" for sign in socket.gethostname()
    )
    return name.strip("-")[:MAX_NAME] or "station"


class AnyUnit(Protocol):
    """A unit, of the job or of the ledger."""

    @property
    def serial(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def unique_id(self) -> str: ...
    @property
    def mac(self) -> str: ...


class Job(Strict):
    """One batch. Paths lead to the files, wherever the job was started."""

    name: Name
    board: str
    boards: Folder | None = None
    """Of more boards."""
    firmware: File | None = None
    firmware_sha256: Digits | None = None
    quantity: Annotated[int, Field(gt=0, le=1_000_000)] | None = None
    key_type: Literal["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"] = "P-256"
    subject: Text
    san: list[Text] = Field(default_factory=list)
    way: Literal["station", "network", "birth"] = "station"
    server: Server
    devices: Devices
    settings: File | None = None
    secrets: dict[Literal["password", "secret", "token", "enrolment_code"], Credential] = Field(
        default_factory=dict
    )
    """By the key of config.json that they are for."""
    network: Network | None = None
    birth: Birth | None = None
    app: File | None = None
    parts: list[Text] = Field(default_factory=list)
    files: dict[Text, File] = Field(default_factory=dict)
    """By their path on the board."""
    acceptance: File | None = None
    label: Label | None = None
    hooks: Hooks = Hooks()
    irreversible: list[Irreversible] = Field(default_factory=list)
    limits: dict[Literal[LIMITED], Limit] = Field(default_factory=dict)  # type: ignore[valid-type]
    station: Name = Field(default_factory=_host_name)
    ledger: Text = "ledger.db"
    ledger_password: Credential | None = None
    lease: Annotated[int, Field(ge=15, le=86400)] = 600
    """Seconds after which another station may go on with the board of one that was killed."""
    idle: Seconds = 1800
    """Seconds without a board or a scan after which the operator is asked again; 0 for never."""
    page: Page | None = None

    _source: Path = PrivateAttr()
    _lines: dict[Keys, int] = PrivateAttr(default_factory=dict)
    _rows: Rows = PrivateAttr(default_factory=Rows)

    @property
    def source(self) -> Path:
        """The job file."""
        return self._source

    @cached_property
    def profile(self) -> Board:
        """The board's. Raises CliError."""
        return boards.load(self.board, self.boards)

    @cached_property
    def credentials(self) -> Secrets:
        """Reads what the job's credentials refer to."""
        return Secrets(self.source.parent, self._rows.secrets)

    @property
    def columns(self) -> tuple[str, ...]:
        """What templates may hold beside templates.WORDS."""
        return self._rows.columns

    def units(self) -> Iterator[NewUnit]:
        """All boards there are to be, in order; none where devices.plugged decides."""
        if self.devices.range:
            yield from device_lists.of_range(self.devices.range.first, self.devices.range.last)
        yield from self._rows.units

    def plugged_unit(self, unique_id: str, mac: str = "", scanned: str = "") -> NewUnit:
        """The unit that a board is which is plugged in, by what was `scanned` where devices.scan
        says so. Raises CliError."""
        unit = NewUnit("", {}, unique_id, mac)
        serial = (
            scanned
            if self.devices.scan
            else self.expand(self.devices.serial or "{unique_id}", unit)
        )
        problem = device_lists.serial_problem(serial)
        if problem:
            raise CliError(f"devices.serial: {problem}")
        return NewUnit(serial, {}, unique_id, mac)

    def values(self, unit: AnyUnit) -> dict[str, str]:
        """What templates have in the place of words."""
        return {
            **unit.metadata,
            "serial": unit.serial,
            "batch": self.name,
            "unique_id": unit.unique_id,
            "mac": unit.mac,
        }

    def expand(
        self, template: str, unit: AnyUnit, escape: templates.Escape = templates.text
    ) -> str:
        """A template for one board. Raises CliError."""
        try:
            return templates.expand(template, self.values(unit), escape)
        except templates.TemplateError as error:
            raise CliError(f"{template!r}: {error}") from None

    def subject_of(self, unit: AnyUnit) -> str:
        """The board's subject, as est.names.name takes it. Raises CliError."""
        return self.expand(self.subject, unit, templates.subject)

    def san_of(self, unit: AnyUnit) -> list[str]:
        """Its alternative names, as est.extensions.requested takes them. Raises CliError."""
        return [self.alternative_of(name, unit) for name in self.san]

    def alternative_of(self, template: str, unit: AnyUnit) -> str:
        """One of them. Raises CliError."""
        return self.expand(template, unit, templates.alternative(template))

    def command_of(self, command: Sequence[str], unit: AnyUnit | None = None) -> list[str]:
        """A program and its arguments; without a unit they know {batch} alone. Raises CliError.

        Its path begins beside the job if its name has a slash, else it is searched for.
        """
        values = self.values(unit) if unit else {"batch": self.name}
        try:
            made = [templates.expand(part, values, templates.text) for part in command]
        except templates.TemplateError as error:
            raise CliError(f"{' '.join(command)}: {error}") from None
        if "/" in made[0]:
            made[0] = str(self.source.parent.absolute() / made[0])
        return made

    def secret_columns(self) -> list[str]:
        """Columns of the CSV file that hold secrets."""
        found = (credential.column for _, credential in self.all_credentials)
        return list(dict.fromkeys(filter(None, found)))

    @cached_property
    def all_credentials(self) -> list[tuple[Keys, Credential]]:
        """Each credential, and the keys that lead to it."""
        return list(_credentials(self))

    def problem(self, key: Keys, text: str) -> Problem:
        """What is wrong with an entry of the job file."""
        return problem_at(self.source, self._lines, key, text)

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex of everything that shapes a board: see mpest.station.digest."""
        return digest.digest(self, self.profile, self._rows.units)


def _credentials(value: object, path: Keys = ()) -> Iterator[tuple[Keys, Credential]]:
    entries: Any = ()
    if isinstance(value, Credential):
        yield path, value
    elif isinstance(value, BaseModel):
        entries = [(name, getattr(value, name)) for name in type(value).model_fields]
    elif isinstance(value, dict):
        entries = value.items()
    for key, entry in entries:
        yield from _credentials(entry, (*path, key))


def problem_at(source: Path, lines: Mapping[Keys, int], key: Keys, text: str) -> Problem:
    """A problem of the entry `key`, with the line of what of it there is."""
    there = next((key[:end] for end in range(len(key), 0, -1) if key[:end] in lines), ())
    return Problem(source, lines.get(there), settings.Wrong(key, "").key, text)


def load(path: Path) -> Job:
    """The job in a file, with its devices. Raises JobError that tells all that is wrong."""
    job, problems = read(path)
    if problems:
        raise JobError(problems)
    return job


def read(path: Path) -> tuple[Job, list[Problem]]:
    """The job in a file, and what is wrong with it all the same.

    Raises JobError where it can't be taken apart.
    """
    text = _text_of(path)
    try:
        content = tomllib.loads(text)
        lines = lines_of(text)
    except (ValueError, RecursionError) as error:
        words = "brackets lie too deep" if isinstance(error, RecursionError) else str(error)
        place = re.search(r"\(at line (\d+),", words)
        raise JobError([Problem(path, place and int(place[1]), "", words)]) from None
    job = settings.check_all(Job, content, path.parent)
    if isinstance(job, list):
        problems = [problem_at(path, lines, wrong.path, wrong.text) for wrong in job]
        raise JobError(sorted(problems, key=lambda problem: problem.line or 0))
    job._source, job._lines = path, lines
    for key, credential in job.all_credentials:
        credential._key = settings.Wrong(key, "").key
    problems = [job.problem(key, text) for key, text in _misfits(job)]
    listed = job.devices
    if listed.csv:
        names = listed.columns.model_dump(exclude_none=True)
        job._rows = device_lists.read(listed.csv, listed.delimiter, names, job.secret_columns())
        problems += [Problem(listed.csv, *told) for told in job._rows.problems]
    return job, problems


def _has_password(url: str) -> bool:
    try:
        return urlsplit(url).password is not None
    except ValueError:
        return False


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ValueError(f"a job file has {_MAX_BYTES >> 10} KiB at most")
        return text_of(data).replace("\r\n", "\n")
    except OSError as error:
        raise JobError([Problem(path, None, "", f"can't be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise JobError([Problem(path, None, "", "is not UTF-8")]) from None
    except ValueError as error:
        raise JobError([Problem(path, None, "", str(error))]) from None


def _misfits(job: Job) -> Iterator[tuple[Keys, str]]:
    """Entries that do not fit each other: (the keys that lead there, the words)."""
    if (job.firmware is None) != (job.firmware_sha256 is None):
        missing = "firmware" if job.firmware is None else "firmware_sha256"
        yield (missing,), "is missing: firmware and firmware_sha256 go together"
    if job.devices.plugged and job.quantity is None:
        yield ("quantity",), "is missing: with devices.plugged nothing else ends the batch"
    for way in ("network", "birth"):
        if (job.way == way) != (getattr(job, way) is not None):
            yield (way,), f'[{way}] and way = "{way}" go together'
    if _has_password(job.ledger):
        yield (
            ("ledger",),
            "holds a password: leave it out, and let ledger_password say where it is",
        )
    names = [entry.name for entry in job.irreversible]
    for number, name in enumerate(names):
        if name in STEPS or name in names[:number]:
            yield ("irreversible", number, "name"), f"{name} is the name of another step"
    if job.settings is None:
        if job.way == "network":
            yield ("settings",), 'is missing: way = "network" takes a config.json'
        if job.secrets:
            yield ("secrets",), "are for the config.json that settings names, which is missing"
    server = job.server
    if not (server.trust or server.serve):
        yield ("server", "trust"), "is missing"
    shown = server.certificate or server.user or server.token or server.serve
    if job.way != "network" and not shown:
        yield ("server",), "certificate and key are missing, or user and password, or token"
    for key, credential in job.all_credentials:
        if credential.per_board and key[0] not in ("secrets", "network"):
            yield key, "is one for all boards: a column or {serial} has another one for each"
        elif credential.column and not job.devices.csv:
            yield key, "a column is one of devices.csv, which is not given"
