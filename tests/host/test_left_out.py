"""Without the vectors of others the tests say so at their end, and those on our own go on."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_without_vectors_of_others(program: Callable[[str], object], tmp_path: Path) -> None:
    program("micropython")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(f"tests/unit/test_{name}.py" for name in ("kdf", "cmc", "signed", "pem")),
            "tests/host/test_unit_on_micropython.py::test_passes[test_kdf.py-micropython]",
        ],
        cwd=ROOT,
        env={**os.environ, "MPEST_VECTORS": str(tmp_path), "CI": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    # Of test_kdf, once on each interpreter.
    assert re.search(r"\b1 skipped\b", done.stdout), done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("2 tests were left out, for there are no vectors of others in ")
    assert str(tmp_path) in last
    assert "MPEST_VECTORS" in last and "CONTRIBUTING.md" in last


def test_each_set_of_others_is_described() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tests = [*ROOT.glob("tests/unit/test_*.py"), *ROOT.glob("tests/host/test_*.py")]
    sets = r"[\"(](libest|rfc\d+|cmc|wycheproof)/"
    used = {name for path in tests for name in re.findall(sets, path.read_text())} - {"libest"}
    assert used >= {"cmc", "rfc7030"}
    assert [name for name in used if f"| `{name}` |" not in text] == []
