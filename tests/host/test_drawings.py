"""The drawings of docs/ are those of their sources."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parents[2] / "docs").glob("*.dot"))


def said(svg: str) -> list[str]:
    """Nodes, edges and texts: where they lie differs from one graphviz to the next."""
    return re.findall(r"<(?:title|text)\b[^>]*>(.*?)</", svg)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_drawing_is_of_its_source(source: Path) -> None:
    if not shutil.which("dot") and os.environ.get("CI") != "true":
        pytest.skip("needs dot (Debian: apt install graphviz)")
    drawn = subprocess.run(["dot", "-Tsvg", source], capture_output=True, text=True, check=True)
    assert said(drawn.stdout)
    assert said(source.with_suffix(".svg").read_text()) == said(drawn.stdout)
