"""Whenever the power goes, the board has settings, and the new ones are not lost."""

import os
import subprocess
from pathlib import Path

import pytest

from mpest.sim import cpython

PROGRAM = Path(__file__).with_name("configuration_cuts.py")


# A torn or garbled sector of a folder may lose any of its files on FAT.
@pytest.mark.parametrize(
    ("disk", "variant"),
    [
        ("littlefs", "clean"),
        ("littlefs", "torn"),
        ("littlefs", "noise"),
        ("fat", "clean"),
        ("fat", "reordered"),
    ],
)
def test_settings_survive_a_power_cut(disk, variant, program):
    found = program("micropython")
    done = subprocess.run(
        [*found.argv, PROGRAM, disk, variant],
        env={**os.environ, **found.env, "MICROPYPATH": f"{PROGRAM.parent}:{cpython.firmware()}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 5
