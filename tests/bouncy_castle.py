"""Programs in Java that use Bouncy Castle."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# Where Debian's libbcpkix-java puts them; elsewhere name them as Java does.
JARS = os.environ.get("MPEST_BOUNCY_CASTLE") or ":".join(
    f"/usr/share/java/{name}.jar" for name in ("bcprov", "bcutil", "bcpkix")
)


def run(source: Path, *arguments: object) -> str:
    """Its output. Without Java or Bouncy Castle the test is skipped, or fails in CI."""
    missing = [path for path in JARS.split(":") if not Path(path).exists()]
    if missing or not shutil.which("java"):
        words = "needs java and Bouncy Castle: apt install default-jdk-headless libbcpkix-java"
        if os.environ.get("CI") == "true":
            pytest.fail(words, pytrace=False)
        pytest.skip(words)
    command = ["java", "-cp", JARS, str(source), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout
