"""Commands as a user runs them."""

import subprocess
import sys
from pathlib import Path

MPEST = [sys.executable, "-c", "from mpest.cli import main; main()"]


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def mpest(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MPEST, *arguments], capture_output=True, text=True, timeout=100)


def simulate(state: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`mpest simulate`, on CPython unless a later --runtime says otherwise."""
    return mpest("simulate", "--runtime", "cpython", "--state", state, *arguments)
