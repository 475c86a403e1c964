"""The Debian package: lintian is content with it, and it installs, runs and goes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import systemd

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("dh") or not shutil.which("lintian"):
        reason = "needs debhelper, dh-python and lintian"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("deb") / "deb"
    code = "import deb, pathlib, sys; deb.build(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT / "packaging", check=True)
    (path,) = folder.glob("*.deb")
    return path


def test_lintian(package: Path) -> None:
    (changes,) = package.parent.glob("*.changes")
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", changes],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_it_installs_runs_and_goes(package: Path) -> None:
    systemd.need()
    with systemd.Machine() as machine:
        # In place of python3-click.
        machine.shell(f"cp -r {Path(click.__file__).parent} /usr/lib/python3/dist-packages")
        machine.shell(f"dpkg --force-depends -i {package}")
        assert machine.run("stat", "-c", "%U %G %a", "/etc/mpest").split() == [
            *("root", "mpest", "750")
        ]
        assert "mpest, version" in machine.run("mpest", "--version")
        assert "config:" in machine.run(
            *("runuser", "-u", "mpest", "--", "mpest", "agent", "--config", "/nowhere"), code=2
        )
        machine.run("python3", "-c", "import est, estd; from est.agent import Agent")
        shipped = machine.shell("ls /usr/lib/systemd/system/mpest-*")
        for unit in ("agent@.service", "agent-once@.service", "agent@.timer", "deploy@.path"):
            assert f"mpest-{unit}" in shipped
        machine.shell("cd /usr/lib/systemd/system; systemd-analyze verify ./mpest-*")
        machine.shell("mkdir -p /var/lib/mpest/a; touch /etc/mpest/a.json")
        machine.run("dpkg", "--purge", "mpest")
        machine.shell("test ! -e /etc/mpest -a ! -e /var/lib/mpest -a ! -e /usr/bin/mpest")
