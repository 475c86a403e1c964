"""Drives are mounted for real where root may do so, and by a stand-in of udisks."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpest.exits import CliError
from mpest.station import mounting
from mpest.station.mounting import mounted, mounted_at
from mpest.station.usb import Drive


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    """A loop device. It has ext4, for not every kernel knows FAT."""
    image = tmp_path / "image"
    image.write_bytes(bytes(4 << 20))
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", image], check=True)
    command = ["losetup", "--find", "--show", image]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no loop devices here: {done.stderr.strip()}")
    monkeypatch.setattr(mounting, "_KIND", "ext4")
    yield Drive("1-1", done.stdout.strip())
    subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_mounted_by_root(drive: Drive, tmp_path: Path) -> None:
    with mounted(drive) as place:
        assert mounted_at(drive.device) == place
        (place / "A.UF2").write_bytes(b"firmware")
        with mounted(drive) as other:  # somebody has mounted it: it stays where it is
            assert other == place
        assert (place / "A.UF2").exists()
    assert mounted_at(drive.device) is None and not place.exists()
    assert b"firmware" in (tmp_path / "image").read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_what_is_no_drive(tmp_path: Path) -> None:
    none = Drive("1-1", str(tmp_path / "none"))
    words = "the drive of the board at 1-1 can't be mounted: mount: "
    with pytest.raises(CliError, match=words), mounted(none):
        pass


def test_by_udisks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As who is not root; the program is a stand-in that keeps what it is called with."""
    program = tmp_path / "udisksctl"
    program.write_text(f'#!/bin/sh\necho "$1 $2 $4" >>{tmp_path}/calls\n[ ! -e {tmp_path}/no ]\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    places = iter([None, Path("/media/x")])
    monkeypatch.setattr(mounting, "mounted_at", lambda _: next(places))
    with mounted(Drive("1-1", "/dev/sda1")) as place:
        assert place == Path("/media/x")
    assert (tmp_path / "calls").read_text().splitlines() == [
        "mount --no-user-interaction /dev/sda1",
        "unmount --force /dev/sda1",
    ]
    (tmp_path / "no").touch()
    monkeypatch.setattr(mounting, "mounted_at", lambda _: None)
    with pytest.raises(CliError, match="mounted: udisksctl"), mounted(Drive("1-1", "/dev/sda1")):
        pass
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CliError, match="No such file"), mounted(Drive("1-1", "/dev/sda1")):
        pass


def test_names_with_blanks(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text("/dev/sda1 /media/A\\040B\\134 vfat rw 0 0\n/dev/sda10 /c vfat rw 0 0\n")
    assert mounted_at("/dev/sda1", table) == Path("/media/A B\\")
    assert mounted_at("/dev/sda", table) is None
    assert mounted_at("/dev/sda1", tmp_path / "none") is None
