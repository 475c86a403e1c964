"""Installs exactly the lower bounds of pyproject.toml into a venv and runs tests there.

Fails where they do not resolve, or where mpest does not work with them.
"""

import subprocess
import sys
import tomllib
import venv
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build/lower-bounds"
# Tools that no test runs, and mpest's own extras.
LEFT_OUT = {"atheris", "codespell", "mypy", "ruff", "mpest"}
# A path through each dependency, in less than two minutes.
TESTS = (
    "test_boards.py",
    "test_deploy.py::test_wrong_settings_are_told_all_at_once",
    "test_flash.py::test_esptool_writes_firmware",
    "test_flash.py::test_made_up_board",
    "test_flash.py::test_unix",
    "test_job_file.py",
    "test_labels.py",
    "test_ledger_claims.py",
    "test_ledger_command.py::test_csv",
    "test_ledger_command.py::test_report",
    "test_packages.py::test_romfs",
    "test_server_command.py",
    "test_server_desk.py::test_metrics",
    "test_server_log.py::test_broken_requests",
    "test_server_operations.py",
    "test_server_passwords.py::test_tokens",
    "test_server_proxy.py",
    "test_show.py",
)


def lower_bounds() -> dict[str, str]:
    """{name: version}. Raises ValueError for a requirement that is no lower bound alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {}
    for listed in (project["dependencies"], *project["optional-dependencies"].values()):
        for requirement in map(Requirement, listed):
            if requirement.name in LEFT_OUT:
                continue
            (bound,) = requirement.specifier
            if bound.operator != ">=":
                raise ValueError(f"{requirement} is no lower bound")
            if found.setdefault(requirement.name, bound.version) != bound.version:
                raise ValueError(f"{requirement.name} has two lower bounds")
    return found


def main() -> None:
    bounds = lower_bounds()
    venv.create(FOLDER, clear=True, with_pip=True)
    pins = [f"{name}=={version}" for name, version in bounds.items()]
    python = FOLDER / "bin/python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--editable", ".[all]", *pins],
        cwd=ROOT,
        check=True,
    )
    tests = [f"tests/host/{name}" for name in TESTS]
    done = subprocess.run([python, "-m", "pytest", "-q", "-n", "2", *tests], cwd=ROOT)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
