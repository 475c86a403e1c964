"""docs/features.md names tests that there are."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_named_test_exists():
    text = (ROOT / "docs/features.md").read_text().partition("## Clients and servers")[2]
    before, servers, after = re.split(r"(?m)^(?=\| server \|)|^(?=What its server)", text)
    features = (before + after).splitlines()
    rows = [row for row in features if row.startswith("| ") and "ours |" not in row]
    named = set(re.findall(r"tests/[\w/]+\.py::test_\w+", servers))
    for row in rows:
        found = re.fullmatch(r"\|.*\| `(tests/[\w/]+\.py::test_\w+)` \|", row)
        assert found, f"names no test: {row}"
        named.add(found[1])
    assert named
    done = subprocess.run(
        [*(sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:xdist"), *named],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
