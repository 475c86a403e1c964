"""systemd as PID 1 of namespaces of its own, over this machine's files, which stay as they are."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

import pytest

_SYSTEMD = "/lib/systemd/systemd"
_BOOT = """\
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs {folder}
mkdir {folder}/upper {folder}/work {folder}/root
cd {folder}
mount -t overlay overlay -o lowerdir={lower},upperdir=upper,workdir=work root
cd root
mount --rbind /dev dev
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
rm -rf etc/systemd/system/*
mkdir run/trial
for target in {targets}; do
    printf '[Unit]\\nDefaultDependencies=no\\n' >run/trial/$target.target
done
mkdir old
pivot_root . old
umount -l old
export SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/trial container=docker
exec {systemd} --unit=multi-user.target --show-status=no
"""
# None of the machine's own units: some of them would set up the kernel, which is the host's too.
_TARGETS = "sysinit basic sockets timers paths multi-user shutdown umount"
_SECONDS = 60  # for what takes one on an idle machine


def need() -> None:
    """Skip the test where systemd cannot be had; CI must have it."""
    reason = None
    if not os.path.exists(_SYSTEMD) or not shutil.which("unshare"):
        reason = "needs systemd (Debian: apt install systemd)"
    elif os.getuid():
        reason = "needs root, which makes namespaces and mounts"
    if reason:
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


class Machine:
    """A machine with nothing started. Its network is loopback alone; what is written is lost.

    lower: the folder of its system, this machine's own unless given.
    """

    def __init__(self, lower: str = "/") -> None:
        self._folder = tempfile.mkdtemp(prefix="mpest-systemd-")
        boot = _BOOT.format(folder=self._folder, lower=lower, systemd=_SYSTEMD, targets=_TARGETS)
        command = ["unshare", "--mount", "--pid", "--net", "--cgroup", "--uts", "--ipc", "--fork"]
        command += ["--kill-child", "sh", "-c", boot]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._outside = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        self._servers: list[subprocess.Popen[str]] = []
        try:
            self._inside = self._first_child()
            self.wait("systemctl is-system-running")
        except BaseException:
            self.close()
            raise

    def _first_child(self) -> int:
        pid = self._outside.pid
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until and self._outside.poll() is None:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if children and os.readlink(f"/proc/{children[0]}/exe") == os.path.realpath(_SYSTEMD):
                return int(children[0])
            time.sleep(0.05)
        self._log.seek(0)
        raise AssertionError(f"systemd does not start: {self._log.read()}")

    def command(self, *words: str | Path) -> list[str | Path]:
        """What runs `words` as root of that machine."""
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        enter = ("nsenter", "--target", str(self._inside), "--all", "--")
        return [*enter, "env", "-i", path, "LC_ALL=C.UTF-8", *words]

    def in_its_network(self, *words: str | Path) -> list[str | Path]:
        """What runs `words` with this machine's files, in that machine's network."""
        return ["nsenter", "--target", str(self._inside), "--net", "--", *words]

    def run(self, *words: str | Path, code: int = 0, stdin: str = "") -> str:
        """Run a program there, which is to end with `code`; returns what it printed."""
        done = subprocess.run(
            self.command(*words),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            cwd="/",
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def shell(self, script: str, code: int = 0) -> str:
        """Run lines of a shell there."""
        return self.run("sh", "-ec", script, code=code)

    def wait(self, condition: str, unit: str = "") -> None:
        """Until a line of a shell is true there; else fails with the journal of `unit`."""
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            done = subprocess.run(
                self.command("sh", "-c", condition), capture_output=True, cwd="/"
            )
            if not done.returncode:
                return
            time.sleep(0.2)
        about = self.shell(f"systemctl status -n 50 {unit} || :") if unit else ""
        raise AssertionError(f"never: {condition}\n{about}")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file there, as those of root are unless `mode` says otherwise."""
        self.run("sh", "-ec", f"mkdir -p {Path(path).parent}; cat >{path}", stdin=text)
        self.run("chmod", f"{mode:o}", path)

    def serve(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start a program there that runs until the machine ends; its output comes by a pipe."""
        process = subprocess.Popen(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
        )
        self._servers.append(process)
        return process

    def close(self) -> None:
        """End all that runs there."""
        self._outside.kill()  # --kill-child
        self._outside.wait()
        for server in self._servers:
            server.communicate()
        self._log.close()
        os.rmdir(self._folder)

    def __enter__(self) -> "Machine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
