"""Builds the Debian package, build/deb/mpest_*.deb, of the wheel of this checkout.

`python packaging/deb.py`; Debian: apt install debhelper dh-python.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
_ENTRY = """\
mpest ({version}) unstable; urgency=medium

  * As CHANGELOG.md says.

 -- The mpest authors <authors@mpest.example>  {date}
"""


def build(folder: Path) -> Path:
    """Build in `folder`, which is emptied; returns the package."""
    shutil.rmtree(folder, ignore_errors=True)
    source = folder / "mpest"
    debian = source / "debian"
    shutil.copytree(ROOT / "packaging/debian", debian)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    dated = ["git", "-C", str(ROOT), "log", "-1", "--format=%aD"]
    date = subprocess.run(dated, check=True, capture_output=True, text=True).stdout.strip()
    (debian / "changelog").write_text(_ENTRY.format(version=version, date=date))
    paragraphs = (ROOT / "LICENSE").read_text().strip().split("\n\n")
    (holder,) = re.findall(r"(?m)^Copyright (?:\(c\) )?(.*)$", "\n\n".join(paragraphs))
    text = "\n\n".join(part for part in paragraphs if len(part.splitlines()) > 1)
    terms = "\n".join(f" {line}" if line else " ." for line in text.splitlines())
    copyright_ = (debian / "copyright").read_text()
    copyright_ = copyright_.replace("@COPYRIGHT@", holder).replace("@LICENSE@", terms)
    (debian / "copyright").write_text(copyright_)
    shutil.copy(ROOT / "docs/linux.md", source)
    wheel = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", source, ROOT]
    for command, place in ((wheel, ROOT), (["dpkg-buildpackage", "-b", "-us", "-uc"], source)):
        done = subprocess.run(command, cwd=place, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"Error: {command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    (package,) = folder.glob("*.deb")
    return package


if __name__ == "__main__":
    if not shutil.which("dh"):
        sys.exit("debhelper is missing; on Debian: apt install debhelper dh-python")
    made = build(ROOT / "build/deb")
    print(f"{made.relative_to(ROOT)}: {made.stat().st_size:,} bytes")
