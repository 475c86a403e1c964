"""OpenWrt's service under busybox ash; what procd would start, run by MicroPython."""

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mpest.runtimes import Program
from mpest.server import ServerConfig, running_server

ROOT = Path(__file__).parents[2]
INIT = ROOT / "packaging/openwrt/mpest.init"
# Of OpenWrt: what sources a service, and procd's functions, which tell what they are asked for.
RC_COMMON = """\
procd_open_instance() { echo "open $1"; }
procd_set_param() { echo "set $*"; }
procd_close_instance() { echo close; }
. "$1"
[ "$USE_PROCD" = 1 ] && "$2_service"
"""


@pytest.fixture
def start(tmp_path: Path, program: Callable[[str], Program]) -> Callable[[], list[list[str]]]:
    """Starts the service on a system below tmp_path; returns what procd is asked for."""
    busybox = shutil.which("busybox")
    if not busybox:
        assert os.environ.get("CI") != "true", "needs busybox"
        pytest.skip("needs busybox (Debian: apt install busybox)")
    found = program("micropython")
    micropython = tmp_path / "micropython"
    exports = "".join(f"export {name}={shlex.quote(v)}\n" for name, v in found.env.items())
    micropython.write_text(f'#!/bin/sh\n{exports}exec {shlex.join(found.argv)} "$@"\n')
    micropython.chmod(0o755)
    library = tmp_path / "usr/lib/mpest"
    for name in ("est", "estd"):
        shutil.copytree(
            ROOT / "firmware" / name, library / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "firmware/configuration.py", library)
    agent = ROOT / "packaging/openwrt/mpest.agent"
    (library / "agent").write_text(f"#!{busybox} ash\n{agent.read_text()}")
    (library / "agent").chmod(agent.stat().st_mode)
    (tmp_path / "etc/mpest").mkdir(parents=True)
    (tmp_path / "rc.common").write_text(RC_COMMON)
    text = INIT.read_text()
    for path in ("/usr/bin/micropython", "/usr/lib/mpest", "/etc/mpest"):
        at = micropython if path.endswith("micropython") else Path(f"{tmp_path}{path}")
        assert f"={path}\n" in text
        text = text.replace(f"={path}\n", f"={at}\n")
    service = tmp_path / "mpest.init"
    service.write_text(text)

    def run() -> list[list[str]]:
        done = subprocess.run(
            [busybox, "ash", "-eu", tmp_path / "rc.common", service, "start"],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [shlex.split(line) for line in done.stdout.splitlines()]

    return run


def test_nothing_to_start(start: Callable[[], list[list[str]]]) -> None:
    assert start() == []


def test_an_instance_of_each_configuration_enrols(
    start: Callable[[], list[list[str]]], tmp_path: Path
) -> None:
    folder = tmp_path / "etc/mpest"
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        shutil.copy(server.ca_pem, folder / "ca.pem")
        for name in ("one", "two"):
            config = {"url": server.url, "anchors": "ca.pem", "subject": f"CN={name}"}
            (folder / f"{name}.json").write_text(json.dumps(config))
        asked = start()
        assert [words[1] for words in asked if words[0] == "open"] == ["one", "two"]
        assert asked.count(["set", "respawn", "3600", "60", "0"]) == 2
        assert asked.count(["set", "file", f"{folder}/two.json"]) == 1
        command = [words[2:] for words in asked if words[:2] == ["set", "command"]][1]
        environment = [words[2:] for words in asked if words[:2] == ["set", "env"]][1]
        agent = subprocess.Popen(
            ["env", "-i", *environment, *command], stderr=subprocess.PIPE, text=True
        )
        assert agent.stderr
        try:
            lines = []
            for line in agent.stderr:
                lines.append(line)
                if line.startswith("renewed:"):
                    break
            assert any(line.startswith("renewed:") for line in lines), lines
        finally:
            agent.terminate()
            agent.communicate()
    state = folder / "state/two"
    assert (state.stat().st_mode & 0o777) == 0o700
    assert list(state.glob("identity*"))


@pytest.fixture
def keep(tmp_path: Path) -> Callable[[str], subprocess.Popen[str]]:
    """Runs a script of the shell as the agent of instance `one`; ubus writes what it is told."""
    busybox = shutil.which("busybox")
    assert busybox
    ubus = tmp_path / "ubus"
    # As procd ends an instance: its process is told.
    ubus.write_text(f'#!/bin/sh\necho "$*" >{tmp_path}/told\nkill $PPID\nsleep 0.2\n')
    ubus.chmod(0o755)

    def run(script: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [busybox, "ash", ROOT / "packaging/openwrt/mpest.agent", "one", "sh", "-c", script],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def test_wrong_settings_end_an_instance(
    keep: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    agent = keep("echo 'config: wrong' >&2; exit 2")
    assert "config: wrong\none stays ended: mend its settings" in agent.communicate()[1]
    assert agent.returncode == 2
    told = (tmp_path / "told").read_text()
    assert json.loads(told.removeprefix("call service delete ")) == {
        "name": "mpest",
        "instance": "one",
    }


@pytest.mark.parametrize("code", [0, 5, 7])
def test_other_ends_are_left_to_procd(
    keep: Callable[[str], subprocess.Popen[str]], tmp_path: Path, code: int
) -> None:
    agent = keep(f"exit {code}")
    assert agent.communicate() == ("", "")
    assert agent.returncode == code
    assert not (tmp_path / "told").exists()


def test_signals_reach_the_agent(keep: Callable[[str], subprocess.Popen[str]]) -> None:
    agent = keep(
        "trap 'echo hangup' HUP; trap 'echo end; exit 2' TERM; echo ready;"
        " while :; do sleep 0.1; done"
    )
    assert agent.stdout
    assert agent.stdout.readline() == "ready\n"
    for _ in range(2):
        agent.send_signal(signal.SIGHUP)
        assert agent.stdout.readline() == "hangup\n"
    agent.terminate()
    assert agent.communicate()[0] == "end\n"
    assert agent.returncode == 2


def test_what_an_upgrade_keeps() -> None:
    assert (ROOT / "packaging/openwrt/mpest.keep").read_text() == "/etc/mpest/\n"
