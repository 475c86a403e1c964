"""What a board installs: .mpy files and ROMFS images for each architecture, and an index for mip.

`python -m mpest.packages FOLDER` writes

    ARCH/lib/est/*.mpy, ARCH/package.json, ARCH/minimum.json, ARCH.romfs
    mip/  served over HTTP: mip.install("est", index="http://HOST:PORT")
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from mpest import boards, shipped
from mpest.exits import CliError, Exit
from mpest.toolchain import mpy

_HASH = 8  # hex digits of SHA-256 that name a file in an index
_INIT = "est/__init__.py"
_PACKED = "est-packed"
PACKED = "modules"
"""Name of the file that holds the modules of est, beside __init__.mpy."""
_MPY_FORMAT = "6"  # of every MicroPython from 1.23


def packages() -> dict[str, list[str]]:
    """{name: [path of a module]} of each package, without those that it needs."""
    return {name: [f"est/{stem}.py" for stem in entry["modules"]] for name, entry in _listed()}


def needs() -> dict[str, list[str]]:
    """{name: [package that comes with it]}."""
    return {name: entry["needs"] for name, entry in _listed()}


def _listed() -> Iterable[tuple[str, dict[str, list[str]]]]:
    by_name: dict[str, dict[str, list[str]]] = json.loads(_read("packages"))
    return by_name.items()


def parts(name: str = "est") -> list[str]:
    """Paths of the modules of package `name` and of those that it needs, the latter first."""
    paths = [path for needed in needs()[name] for path in parts(needed)]
    return list(dict.fromkeys([*paths, *packages()[name]]))


def holder(module: str) -> str | None:
    """Name of the package that holds `module`, such as est.rsa."""
    path = module.removeprefix("est").lstrip(".-").replace("-", "_")
    return next((name for name, paths in packages().items() if f"est/{path}.py" in paths), None)


# What est.store needs where closing a file is not enough, by the kind of storage.
_OF_STORAGE = {"fat": ["est/fat.py", "est/files.py"], "host": ["est/files.py", "est/posix.py"]}


def installed(arch: str | None, storage: str = "littlefs2") -> list[str]:
    """Paths of the modules that boards of an architecture and a kind of storage install."""
    suffixes = mpy.machine_code(arch)
    code = [path for path in packages()["est-speed"] if Path(path).stem.endswith(suffixes)]
    return parts() + code + _OF_STORAGE.get(storage, [])


def packed(paths: Sequence[str], arch: str) -> dict[str, bytes]:
    """{path on the board: octets} of modules `paths` in one file, and its __init__.

    firmware/packed.py describes the file.
    """
    firmware = shipped.folder("firmware")
    modules = [path for path in paths if path != _INIT]
    compiled = {Path(path).stem: mpy.compile_file(firmware / path, arch) for path in modules}
    # The offsets grow with the index: they are written in as many digits as will do.
    digits = len(str(sum(map(len, compiled.values())) + 32 * len(compiled)))
    offset = sum(len(name) + digits + 2 for name in compiled) + 1
    index = ""
    for name, data in compiled.items():
        index += f"{name} {offset:0{digits}}\n"
        offset += len(data)
    with tempfile.TemporaryDirectory(prefix="mpest-packed-") as folder:
        init = Path(folder) / "__init__.py"
        init.write_text((firmware / _INIT).read_text() + (firmware / "packed.py").read_text())
        opener = mpy.compile_file(init, arch)
    content = f"{index}\n".encode() + b"".join(compiled.values())
    return {"est/__init__.mpy": opener, f"est/{PACKED}": content}


def unpacked(whole: bytes) -> dict[str, bytes]:
    """{name: .mpy} of a file that `packed` makes."""
    index = [line.split() for line in whole.partition(b"\n\n")[0].decode().splitlines()]
    starts = [int(offset) for _, offset in index]
    ends = [*starts[1:], len(whole)]
    return {name: whole[a:b] for (name, _), a, b in zip(index, starts, ends, strict=True)}


def version() -> str:
    """Version of the device package."""
    text: str = json.loads(_read("package"))["version"]
    return text


def _read(name: str) -> str:
    return (shipped.folder("firmware") / f"{name}.json").read_text()


def build_mpy(folder: Path, arch: str) -> None:
    """Write `folder` as installed on a board: lib/est/*.mpy, with package.json for mip."""
    firmware = shipped.folder("firmware")
    for path in installed(arch):
        out = folder / "lib" / _compiled(path)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(mpy.compile_file(firmware / path, arch))
    for name, paths in (("package", installed(arch)), ("minimum", parts("est-minimum"))):
        urls = [[_compiled(path), "lib/" + _compiled(path)] for path in paths]
        _write_json(folder / f"{name}.json", {"urls": urls, "version": version()})


def build_romfs(folder: Path, image: Path) -> None:
    """Write a ROMFS image of `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "mpremote", "romfs", "--no-mpy", "-o", image, "build", folder],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise CliError(f"mpremote cannot build {image.name}: {done.stderr.strip()[-200:]}")


def build_index(folder: Path) -> list[str]:
    """Write an index as micropython-lib's: source for any version, .mpy for the current format.

    Returns the names of the packages.
    """
    firmware = shipped.folder("firmware")
    files: dict[str, dict[str, list[str]]] = {"py": {}, _MPY_FORMAT: {}}
    for path in sorted({path for paths in packages().values() for path in paths}):
        source = (firmware / path).read_bytes()
        files["py"][path] = [path, _add(folder, source)]
        compiled = mpy.compile_file(firmware / path, "armv6m")
        # Without native code the same file serves every architecture. With it, the board compiles.
        if mpy.is_native(compiled):
            files[_MPY_FORMAT][path] = files["py"][path]
        else:
            files[_MPY_FORMAT][path] = [_compiled(path), _add(folder, compiled)]
    entries: list[dict[str, Any]] = []
    for name, modules in packages().items():
        for form, released in files.items():
            hashes = [released[path] for path in modules]
            described: dict[str, Any] = {"v": 1, "version": version(), "hashes": hashes}
            described["deps"] = [[needed, "latest"] for needed in needs()[name]]
            _release(folder, form, name, described)
        versions = {form: [version()] for form in files}
        entries.append({"name": name, "version": version(), "versions": versions})
    portable = [path for path, (out, _) in files[_MPY_FORMAT].items() if out.endswith(".mpy")]
    paths = [path for path in parts() if path in portable]
    hashes = [[path, _add(folder, data)] for path, data in packed(paths, "armv6m").items()]
    hashes += [files["py"][path] for path in parts() if path not in portable]
    packed_release = {"v": 1, "version": version(), "hashes": hashes}
    for name, described in {_PACKED: packed_release, **_beyond(files[_MPY_FORMAT])}.items():
        _release(folder, _MPY_FORMAT, name, described)
        versions = {_MPY_FORMAT: [version()]}
        entries.append({"name": name, "version": version(), "versions": versions})
    _write_json(folder / "index.json", {"v": 2, "packages": entries})
    return [entry["name"] for entry in entries]


def _beyond(files: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    # What is added to est-packed: by its usual name it would bring est in single files.
    inside = {"est", *needs()["est"]}
    return {
        f"{name}-packed": {
            "v": 1,
            "version": version(),
            "hashes": [files[path] for path in modules],
            "deps": [
                [_PACKED if needed in inside else f"{needed}-packed", "latest"]
                for needed in needs()[name]
            ],
        }
        for name, modules in packages().items()
        if name not in inside
    }


def _release(folder: Path, form: str, name: str, described: dict[str, Any]) -> None:
    for release in ("latest", version()):
        _write_json(folder / "package" / form / name / f"{release}.json", described)


def _compiled(path: str) -> str:
    return path.removesuffix(".py") + ".mpy"


def _add(folder: Path, data: bytes) -> str:
    name = hashlib.sha256(data).hexdigest()[:_HASH]
    path = folder / "file" / name[:2] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Build into FOLDER all that boards install; what was there is replaced."""
    arches = {boards.load(name).arch for name in boards.names()}
    try:
        shutil.rmtree(folder, ignore_errors=True)
        for arch in sorted(filter(None, arches)):
            build_mpy(folder / arch, arch)
            build_romfs(folder / arch, folder / f"{arch}.romfs")
            size = sum(path.stat().st_size for path in (folder / arch).rglob("*.mpy"))
            click.echo(f"{folder / arch}: {size:,} bytes of .mpy")
        names = build_index(folder / "mip")
    except OSError as error:
        raise CliError(f"cannot write {folder}: {error}", Exit.STORAGE) from error
    click.echo(f"{folder / 'mip'}: {', '.join(names)}")


if __name__ == "__main__":
    main()
