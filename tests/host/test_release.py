"""`make release` ends where versions differ, and where wheel or sdist hold what they must not."""

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import release
from click import ClickException

ROOT = release.ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files of ours that tell a version, as they must be for a release."""
    for name in [*release.versions(ROOT), "CHANGELOG.md"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    version = release.versions(ROOT)["pyproject.toml"]
    (tmp_path / "CHANGELOG.md").write_text(
        f"# C\n\n## [Unreleased]\n\n## [{version}] - 2026-11-30\n"
    )
    return tmp_path


def test_our_versions_agree() -> None:
    assert len(release.versions(ROOT)) > 4
    assert len(set(release.versions(ROOT).values())) == 1


def test_changelog_and_version(checkout: Path) -> None:
    version = release.check_versions(checkout)
    assert version == release.versions(ROOT)["pyproject.toml"]
    changelog = checkout / "CHANGELOG.md"
    changelog.write_text(
        "## [Unreleased]\n\n- New.\n\n" + changelog.read_text().split("\n\n", 2)[2]
    )
    with pytest.raises(ClickException, match="not in"):
        release.check_versions(checkout)
    changelog.write_text(f"## [{version}]\n")
    with pytest.raises(ClickException, match="no line"):
        release.check_versions(checkout)


@pytest.mark.parametrize("name", sorted(release.versions(ROOT).keys() - {"pyproject.toml"}))
def test_a_wrong_version_is_named(checkout: Path, name: str) -> None:
    version = release.versions(checkout)[name]
    text = (checkout / name).read_text()
    (checkout / name).write_text(text.replace(f'"{version}"', '"9.9.9"'))
    with pytest.raises(ClickException, match=f"{name} says 9.9.9, pyproject.toml {version}"):
        release.check_versions(checkout)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    yield release.build(ROOT, tmp_path_factory.mktemp("dist"))


def test_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, _ = built
    release.check_wheel(wheel, ROOT)
    lost = "mpest/files/firmware/est/agent.py"
    for name, words in (("less.whl", f"less.whl lacks {lost}$"), ("more.whl", "hold .*x.pyc$")):
        changed = tmp_path / name
        with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(changed, "w") as new:
            for entry in old.namelist():
                if name != "less.whl" or entry != lost:
                    new.writestr(entry, old.read(entry))
            if name == "more.whl":
                new.writestr("mpest/__pycache__/x.pyc", b"")
        with pytest.raises(ClickException, match=words):
            release.check_wheel(changed, ROOT)


def test_sdist(built: tuple[Path, Path], tmp_path: Path) -> None:
    _, sdist = built
    release.check_sdist(sdist, ROOT)
    with tarfile.open(sdist) as old, tarfile.open(tmp_path / "a.tar.gz", "w:gz") as new:
        for member in old:
            if not member.name.endswith("boards/UNIX/board.toml"):
                new.addfile(member, old.extractfile(member))
    with pytest.raises(ClickException, match=r"lacks boards/UNIX/board\.toml$"):
        release.check_sdist(tmp_path / "a.tar.gz", ROOT)
