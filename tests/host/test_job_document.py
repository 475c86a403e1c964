"""docs/factory.md has every key of a job, and all that --check finds."""

import re
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from mpest.station import entries
from mpest.station.credentials import Credential
from mpest.station.job import Job

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/factory.md").read_text()
FINDINGS = ROOT / "host_tools/mpest/station"


def section(name: str) -> str:
    return PAGE.split(f"# {name}\n")[1].split("\n#")[0]


def models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models(argument)]


def test_every_key_has_a_place() -> None:
    rows = section("Its keys")
    first_cells = "".join(re.findall(r"(?m)^\| (.*?) \|", rows))
    for name, field in Job.model_fields.items():
        assert f"`{name}`" in first_cells, name
        for model in models(field.annotation):
            if model not in (Credential, entries.Devices):
                for key in model.model_fields:
                    assert re.search(rf"[`{{, ]{key}[`}}, =]", rows), f"{name}.{key}"
    for key in entries.Devices.model_fields:
        assert re.search(rf"`{key}[` ]", section("Devices")), key
    for key in Credential.model_fields:
        assert f"`{{{key} = " in section("Secrets"), key
    for step in entries.STEPS:
        assert f"`{step}`" in rows, step


def test_every_finding_has_a_row() -> None:
    kinds = set()
    for file in FINDINGS.glob("check*.py"):
        kinds |= set(re.findall(r'Finding\(\s*"([\w-]+)"', file.read_text()))
    assert kinds | {"kind"} == set(re.findall(r"(?m)^\| `([\w-]+)` \|", section("The PC")))
