"""Makes all that a release consists of, in dist: wheel, sdist, packages. No upload.

It ends at the first thing that is wrong: a version that differs, a changelog without it, a file
that is missing or does not belong, a wheel that does not run.
"""

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

import click
from rich.console import Console

ROOT = Path(__file__).parents[1]
# Where the folders of the checkout lie in the wheel: as in pyproject.toml.
_IN_WHEEL = {
    "host_tools/est": "est",
    "host_tools/estd": "estd",
    "host_tools/mpest": "mpest",
    "boards": "mpest/files/boards",
    "firmware": "mpest/files/firmware",
}
_IN_SDIST = ("boards", "docs", "examples", "firmware", "host_tools")
_DOCUMENTS = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md")


def versions(root: Path) -> dict[str, str]:
    """{file: the version that it tells} of a checkout."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    found = {"pyproject.toml": str(project["version"])}
    for path in sorted((root / "firmware").glob("*.json")):
        told = json.loads(path.read_text())
        if "version" in told:
            found[f"firmware/{path.name}"] = told["version"]
    for name in ("firmware/manifest.py", "firmware/est/__init__.py"):
        stated = re.search(r"version(?:__)? ?= ?\"([^\"]+)\"", (root / name).read_text())
        found[name] = stated[1] if stated else "none"
    return found


def check_versions(root: Path) -> str:
    """The version that all files of a checkout tell. Raises ClickException."""
    told = versions(root)
    version = told["pyproject.toml"]
    for name, other in told.items():
        if other != version:
            raise click.ClickException(f"{name} says {other}, pyproject.toml {version}")
    sections = re.split(r"^## ", (root / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    heads = [section.splitlines()[0] for section in sections]
    if not any(
        re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", head) for head in heads
    ):
        raise click.ClickException(f"CHANGELOG.md has no line ## [{version}] - YYYY-MM-DD")
    for head, section in zip(heads, sections, strict=True):
        if head == "[Unreleased]" and section.strip() != head:
            raise click.ClickException(f"CHANGELOG.md has changes that are not in {version} yet")
    return version


def tracked(root: Path, *folders: str) -> set[str]:
    """Paths of the files in these folders, or of these files, that git knows."""
    done = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--", *folders],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return set(done.stdout.decode().rstrip("\0").split("\0"))


def _check(name: str, found: set[str], expected: set[str]) -> None:
    for what, paths in (("lacks", expected - found), ("should not hold", found - expected)):
        if paths:
            raise click.ClickException(f"{name} {what} {', '.join(sorted(paths))}")


def check_wheel(wheel: Path, root: Path) -> None:
    """The wheel holds the host tools, boards and firmware, whole, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        path.replace(folder, place, 1)
        for folder, place in _IN_WHEEL.items()
        for path in tracked(root, folder)
    }
    _check(wheel.name, found, expected)


def check_sdist(sdist: Path, root: Path) -> None:
    """The sdist holds what the wheel is built from, the documents and examples; no tests."""
    with tarfile.open(sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive if member.isfile()}
    expected = tracked(root, *_IN_SDIST, *_DOCUMENTS) | {"pyproject.toml"}
    # hatchling adds these.
    _check(sdist.name, files - {"PKG-INFO", ".gitignore"}, expected)


def build(root: Path, folder: Path) -> tuple[Path, Path]:
    """(wheel, sdist) of a checkout, in `folder`."""
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, root],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return wheel, sdist


def try_out(wheel: Path, version: str) -> None:
    """Install the wheel into a fresh venv, and run the demo there."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        bin_ = Path(folder) / "bin"
        install = [bin_ / "pip", "install", "--quiet", f"{wheel}[all]"]
        subprocess.run(install, cwd=folder, check=True)
        told = subprocess.run(
            [bin_ / "mpest", "--version"], cwd=folder, check=True, capture_output=True, text=True
        ).stdout
        if version not in told.split():
            raise click.ClickException(f"mpest --version says {told.strip()!r}, not {version}")
        subprocess.run([bin_ / "mpest", "demo"], cwd=folder, check=True)


def main() -> None:
    console = Console(highlight=False)
    dist = ROOT / "dist"
    try:
        version = check_versions(ROOT)
        shutil.rmtree(dist, ignore_errors=True)
        wheel, sdist = build(ROOT, dist)
        check_wheel(wheel, ROOT)
        check_sdist(sdist, ROOT)
        try_out(wheel, version)
        packages = [sys.executable, "-m", "mpest.packages", dist / "packages"]
        subprocess.run(packages, stdout=subprocess.DEVNULL, check=True)
    except click.ClickException as error:
        error.show()
        sys.exit(1)
    except subprocess.CalledProcessError as error:
        sys.exit(f"Error: {error}")
    console.print(f"mpest {version}, in dist:")
    for path in sorted([*dist.glob("*"), *dist.glob("packages/*")]):
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        size = sum(one.stat().st_size for one in files)
        count = f" in {len(files)} files" if path.is_dir() else ""
        console.print(f"  {path.relative_to(dist)!s:32} {size:10,} bytes{count}")


if __name__ == "__main__":
    main()
