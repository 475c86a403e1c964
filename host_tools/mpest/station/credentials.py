"""Passwords and tokens of a job: it says where they are, and holds none itself."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, ConfigDict, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from mpest import settings
from mpest.exits import CliError
from mpest.sim.inputs import read_secret
from mpest.station import templates

_HOW = (
    'a secret does not stand in the job: write {file = "FILE"}, {env = "NAME"}, '
    '{prompt = true}, {systemd = "NAME"} or {column = "NAME"} in its place'
)
_SYSTEMD = "CREDENTIALS_DIRECTORY"
_OTHERS = 0o077  # rights of anybody but the owner


class Credential(BaseModel):
    """Where a secret is: one of these."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    file: str | None = None
    """Its first line is the secret. A template: each board may have a file of its own."""
    env: str | None = None
    prompt: bool = False
    """Somebody types it, once."""
    systemd: str | None = None
    """A credential of the service that the line runs as (systemd.exec(5), LoadCredential=)."""
    column: str | None = None
    """Of the CSV file of the devices. The ledger does not get this column."""

    _key: str = PrivateAttr("")

    @property
    def per_board(self) -> bool:
        """Whether each board has one of its own."""
        return self.column is not None or "{" in (self.file or "")

    @property
    def key(self) -> str:
        """The job's entry that it stands in, such as "server.password"."""
        return self._key

    @model_validator(mode="before")
    @classmethod
    def _is_a_reference(cls, given: Any) -> Any:
        # Whatever else stands here may be a secret, so no message shows it.
        match given:
            case {"prompt": True, **others} if not others:
                return given
            case {"file": str(name), **others} if name and not others:
                return given
            case {"env": str(name), **others} if name and not others:
                return given
            case {"column": str(name), **others} if name and not others:
                return given
            case {"systemd": str(name), **others} if name and "/" not in name and not others:
                return given
        raise PydanticCustomError(settings.HIDDEN, _HOW)


class Secrets:
    """Reads the secrets that a job names. One that is typed is asked for once, then remembered.

    folder: in which the files are. rows: {serial: {column: secret}} of the devices' CSV file.
    """

    def __init__(self, folder: Path, rows: Mapping[str, Mapping[str, str]]) -> None:
        self._folder = folder
        self._rows = rows
        self._typed: dict[str, str] = {}  # by the key in the job

    def read(
        self,
        what: str,
        credential: Credential,
        values: Mapping[str, str] | None = None,
        *,
        ask: bool = True,
    ) -> str | None:
        """The secret that `what` names; `values` are those of the board's templates, if any.

        None where somebody would have to type it and is not to be asked. Raises CliError.
        """
        if credential.prompt:
            if credential.key not in self._typed and ask:
                self._typed[credential.key] = click.prompt(what, hide_input=True, err=True)
            return self._typed.get(credential.key)
        if credential.env:
            secret = os.environ.get(credential.env)
            if not secret:
                raise CliError(f"the environment has no {credential.env}")
            return secret
        if credential.systemd:
            folder = os.environ.get(_SYSTEMD)
            if not folder:
                raise CliError(f"there is no {_SYSTEMD}: the line is no service of systemd")
            return read_secret(str(Path(folder) / credential.systemd))
        if credential.column:
            serial = (values or {}).get("serial", "")
            secret = self._rows.get(serial, {}).get(credential.column)
            if not secret:
                raise CliError(f"column {credential.column} is blank for {serial}")
            return secret
        return read_secret(str(self.file(credential, values)))

    def file(self, credential: Credential, values: Mapping[str, str] | None = None) -> Path:
        """The file that holds it. Raises CliError."""
        try:
            name = templates.expand(credential.file or "", values or {}, templates.file_name)
        except templates.TemplateError as error:
            raise CliError(str(error)) from None
        return self._folder / name


def open_to_others(file: Path) -> str | None:
    """What to tell of a file that others than its owner may read; None if it is well."""
    try:
        mode = file.stat().st_mode & 0o777
    except OSError:
        return None
    if not mode & _OTHERS:
        return None
    return f"{file} has the mode {mode:03o}, others may read its secrets: chmod 600 {file}"
