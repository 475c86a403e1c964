"""What a job puts on a board beside the application: config.json, by its template, and files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpest.exits import CliError
from mpest.flash import application
from mpest.flash.application import File
from mpest.station import templates
from mpest.station.credentials import Credential
from mpest.station.entries import FINGERPRINT
from mpest.station.job import AnyUnit, Job

SECRETS = ("password", "secret", "token", "enrolment_code")
"""Keys of config.json."""
HIDDEN = "***"
"""In place of a secret, where it is shown to people."""

_NUMBER = "{id}"  # config.json's own: main.py puts the board's unique id there


def settings(
    job: Job, unit: AnyUnit, *, on_the_line: bool = False, ask: bool = True, hide: bool = False
) -> dict[str, Any] | None:
    """config.json of a board, None for a birth certificate without a template.

    on_the_line: with what the job's [network] has other there. ask: for secrets that are typed;
    else HIDDEN stands for them. hide: so it does for all. Raises CliError.
    """
    if job.settings is None and job.birth:
        return None
    values = job.values(unit)

    def expand(text: str) -> str:
        return templates.expand(text, values | {"id": _NUMBER}, templates.text)

    try:
        made: dict[str, Any] = _strings(template(job) if job.settings else _trust(job), expand)
    except templates.TemplateError as error:
        raise CliError(f"{job.settings}: {error}") from None
    by_job = {
        "url": job.server.url,
        "subject": job.subject_of(unit),
        "san": job.san_of(unit) or None,
        "key": job.key_type,
    }
    for key, value in by_job.items():
        if made.get(key) is None and value is not None:
            made[key] = value
    if job.server.serve and not (made.get("sha256") or made.get("anchors")):
        made |= _trust(job)
    references: dict[str, Credential] = dict(job.secrets.items())
    if on_the_line and job.network:
        for key in type(job.network).model_fields:
            value = getattr(job.network, key)
            if isinstance(value, str):
                made[key] = job.expand(value, unit)
            elif value:
                references[key] = value
    if hide:  # secrets that the template itself holds
        made.update({key: HIDDEN for key in SECRETS if made.get(key)})
    for key, credential in references.items():
        secret = None if hide else job.credentials.read(key, credential, values, ask=ask)
        made[key] = HIDDEN if secret is None else secret
    return made


def own_files(
    job: Job, unit: AnyUnit, *, on_the_line: bool = False, ask: bool = True
) -> tuple[list[File], list[str]]:
    """The user's files on a board, for application.files, and names that the board must have.

    Raises CliError.
    """
    files: list[File] = []
    missing: list[str] = []
    made = settings(job, unit, on_the_line=on_the_line, ask=ask)
    if made is not None:
        if job.settings:
            _check_names(job, unit, made)
        text, trust = json.dumps(made, indent=1).encode(), job.server.trust
        beside = job.settings or (trust if isinstance(trust, Path) else job.source)
        files, missing = application.settings(job.profile, beside, job.parts, text)
    if job.app:
        files.append(application.app(job.profile, job.app))
    files += [File(path, file.read_bytes()) for path, file in job.files.items()]
    return files, missing


def _trust(job: Job) -> dict[str, Any]:
    """What the station trusts, as config.json has it."""
    trust = job.server.trust
    if isinstance(trust, Path):
        return {"anchors": trust.name}
    return {"sha256": trust.removeprefix(FINGERPRINT)}


def lent(job: Job, unit: AnyUnit) -> list[str]:
    """The secrets that a board has on the line alone. Raises CliError."""
    if not job.network:
        return []
    entries = [getattr(job.network, key) for key in type(job.network).model_fields]
    found = (
        job.credentials.read("a secret of the line", entry, job.values(unit))
        for entry in entries
        if isinstance(entry, Credential)
    )
    return [secret for secret in found if secret]


def template(job: Job) -> dict[str, Any]:
    """config.json as the job has it. Raises CliError."""
    assert job.settings
    try:
        made = json.loads(job.settings.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise CliError(f"can't read {job.settings}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        words = "brackets lie too deep" if isinstance(error, RecursionError) else str(error)
        raise CliError(f"{job.settings} is malformed ({words})") from None
    if not isinstance(made, dict):
        raise CliError(f"{job.settings} must be an object: {{...}}")
    return made


def _strings(content: Any, change: Callable[[str], str]) -> Any:
    match content:
        case str():
            return change(content)
        case list():
            return [_strings(entry, change) for entry in content]
        case dict():
            return {key: _strings(entry, change) for key, entry in content.items()}
    return content


def _check_names(job: Job, unit: AnyUnit, made: dict[str, Any]) -> None:
    """Raise CliError where the board would ask for other names by itself than for the job.

    With a birth certificate it does.
    """
    if job.birth:
        return
    own = {"subject": job.subject_of(unit), "san": job.san_of(unit) or None, "key": job.key_type}
    for key, value in own.items():
        there = _strings(made.get(key), lambda text: text.replace(_NUMBER, unit.unique_id)) or None
        if there != value:
            raise CliError(
                f"{job.settings}: {key} is {there!r}, in the job it is {value!r}: the board would "
                f"enrol again. Without {key} it gets the job's"
            )
