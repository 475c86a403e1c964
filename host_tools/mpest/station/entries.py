"""The entries of a job file, table by table."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from mpest import settings
from mpest.station import devices
from mpest.station.credentials import Credential

STEPS = (
    *("wait", "identify", "firmware", "settings", "key", "request"),
    *("enrol", "install", "prove", "accept", "label"),
)
"""Of one board, in order."""
LIMITED = ("identify", "settings", "key", "enrol", "install", "prove", "accept")
"""Those that may take long, or fail by a bad contact."""
OURS = "default"
"""In place of a label's file: the template that comes with mpest."""

FINGERPRINT = "sha256:"
MAX_NAME = 64
"""Characters of names that stand in certificates, in the ledger and on labels."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _beside_the_job(name: object, info: ValidationInfo) -> Path:
    """The file of this name. Raises ValueError where it can't be read."""
    if not isinstance(name, str) or not name:
        raise ValueError("the name of a file is expected, in quotes")
    path = Path(info.context or ".") / name
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        with path.open("rb"):
            return path
    except (OSError, ValueError) as error:
        raise ValueError(getattr(error, "strerror", None) or str(error)) from None


def _trust(text: object, info: ValidationInfo) -> Path | str:
    if not isinstance(text, str) or not text.lower().startswith(FINGERPRINT):
        return _beside_the_job(text, info)
    digits = text[len(FINGERPRINT) :].replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise ValueError("64 hexadecimal digits are expected")
    return FINGERPRINT + digits


def _label_beside(name: object, info: ValidationInfo) -> Path:
    return Path(OURS) if name == OURS else _beside_the_job(name, info)


def _folder_beside(name: object, info: ValidationInfo) -> Path:
    folder = Path(info.context or ".") / str(name)
    if not isinstance(name, str) or "\0" in name or not folder.is_dir():
        raise ValueError("there is no such folder")
    return folder


def _any_beside(name: object, info: ValidationInfo) -> Path:
    """A path that need not be there yet."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError("the name of a folder is expected, in quotes")
    return Path(info.context or ".") / name


File = Annotated[Path, BeforeValidator(_beside_the_job)]
Trust = Annotated[Path | str, BeforeValidator(_trust)]
LabelFile = Annotated[Path, BeforeValidator(_label_beside)]
Folder = Annotated[Path, BeforeValidator(_folder_beside)]
Name = Annotated[
    str,
    settings.matching(
        f"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}",
        f"a name of letters, digits and . _ - ({MAX_NAME} at most)",
    ),
]
Text = Annotated[
    str, AfterValidator(lambda text: text if text.strip() and text.isprintable() else _no_text())
]
Seconds = Annotated[int, Field(ge=0, le=86400)]
Command = Annotated[list[Text], Field(min_length=1)]
"""A program and its arguments, which are templates. No shell reads them."""


def _no_text() -> str:
    raise ValueError("text is expected that can be printed")


class Serve(Strict):
    """A `mpest serve` of the job's own, for a line without a network."""

    folder: Annotated[Path, BeforeValidator(_any_beside)]
    """Of its CA, made at the first start."""
    password: Credential
    """Of the CA's keys."""
    lifetime: settings.Lifetime = timedelta(days=90)
    """Of certificates."""


class Server(Strict):
    """The EST server, and what the station shows it."""

    url: Text
    """With `serve`, what the boards get for the field."""
    trust: Trust = ""
    """A file of CA certificates, or sha256: and the fingerprint of one in lower-case hex."""
    serve: Serve | None = None
    certificate: File | None = None
    """The station's own, as registration authority, and its key."""
    key: File | None = None
    key_password: Credential | None = None
    user: Text | None = None
    password: Credential | None = None
    token: Credential | None = None

    @model_validator(mode="after")
    def _pairs(self) -> "Server":
        for one, other in (("certificate", "key"), ("user", "password")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"{one} and {other} go together")
        if self.user and self.token:
            raise ValueError("user and token: one of them is enough")
        if self.key_password and not self.key:
            raise ValueError("key_password goes with key")
        if self.serve and (self.certificate or self.user or self.token):
            raise ValueError("with serve the station needs no certificate, user or token")
        return self


class Range(Strict):
    """Serial numbers that are counted."""

    first: Text
    last: Text

    @model_validator(mode="after")
    def _counts(self) -> "Range":
        devices.in_range(self.first, self.last)
        return self


class Columns(Strict):
    """How a CSV file names the columns that templates call so."""

    serial: Text | None = None
    unique_id: Text | None = None
    mac: Text | None = None


class Devices(Strict):
    """Which boards there are to be."""

    csv: File | None = None
    delimiter: Literal[",", ";", "\t"] = ","
    columns: Columns = Columns()
    range: Range | None = None
    plugged: bool = False
    """Whatever is plugged in, `serial` being made of what it says of itself."""
    serial: Text | None = None
    scan: bool = False
    """A board begins once its serial number was scanned."""

    @model_validator(mode="after")
    def _one(self) -> "Devices":
        if sum((self.csv is not None, self.range is not None, self.plugged)) != 1:
            raise ValueError("one of csv, range and plugged = true is expected")
        if self.csv is None and self.model_fields_set & {"delimiter", "columns"}:
            raise ValueError("delimiter and columns are for csv")
        if self.serial and not self.plugged:
            raise ValueError("serial is for plugged = true")
        if self.serial and self.scan:
            raise ValueError("serial and scan: a serial number is made, or scanned")
        return self


class Network(Strict):
    """What of config.json is another one on the line, and is withdrawn at the end."""

    ssid: Text | None = None
    password: Credential | None = None
    """Of the Wi-Fi."""
    country: Text | None = None
    user: Text | None = None
    """At the EST server, with `secret`, a one-time password; or a token."""
    secret: Credential | None = None
    token: Credential | None = None
    enrolment_code: Credential | None = None


class Birth(Strict):
    """The IDevID (IEEE 802.1AR): hardwareModuleName of RFC 4108, with this type."""

    hardware_type: Annotated[
        str,
        settings.matching(r"[0-2](\.(0|[1-9][0-9]{0,9}))+", 'an OID such as "1.3.6.1.4.1.99.1"'),
    ]


class Label(Strict):
    """zpl, svg: templates. qr: what the QR code holds."""

    zpl: LabelFile | None = None
    svg: LabelFile | None = None
    qr: Text = "{serial}"
    scan: bool = True
    """A label counts once it was scanned back."""
    print: Command | None = None
    """Gets the ZPL, or else the SVG, on standard input."""

    @model_validator(mode="after")
    def _any(self) -> "Label":
        if self.zpl is None and self.svg is None:
            raise ValueError("zpl or svg is expected, or both")
        if self.scan and "{serial}" not in self.qr:
            raise ValueError("qr must hold {serial}, or nobody can tell what is scanned")
        return self


class Hooks(Strict):
    """Commands around the steps. after: by the step's name."""

    start: Command | None = None
    after: dict[Literal[STEPS], Command] = {}  # type: ignore[valid-type]
    end: Command | None = None


class Irreversible(Strict):
    """What can't be undone, such as fuses: once, after acceptance."""

    name: Name
    run: Command


class Page(Strict):
    """The operator's page. Without a PIN it shows, and nothing can be done by it."""

    pin: Credential | None = None
    idle: Seconds = 1800
    """Without a board or anything done here, after which the PIN is asked again; 0 for never."""


class Limit(Strict):
    """Of a step. seconds: for one try; of enrol for one exchange with the server, or for the
    board's own network. retries: after the first, where it was the contact."""

    seconds: Annotated[int, Field(gt=0, le=86400)] | None = None
    retries: Annotated[int, Field(ge=0, le=100)] | None = None


Digits = Annotated[str, settings.matching("[0-9a-fA-F]{64}", "64 hexadecimal digits")]
