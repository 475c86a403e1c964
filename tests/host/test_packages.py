"""What boards install, installed by MicroPython's own tools, and enrolling."""

import ast
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from port_board import board

from mpest import packages, shipped
from mpest.exits import Exit
from mpest.runtimes import Program
from mpest.server import ServerConfig, running_server
from mpest.sim.board_process import run_board
from mpest.toolchain import mpy

Find = Callable[[str], Program]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    done = CliRunner().invoke(packages.main, [str(folder / "all")])
    assert done.exit_code == Exit.DONE, done.output
    listed = json.loads((folder / "all/mip/index.json").read_text())["packages"]
    assert done.output.endswith(": " + ", ".join(one["name"] for one in listed) + "\n")
    return folder / "all"


@pytest.fixture(scope="module")
def index(built: Path) -> Iterator[str]:
    """Address of the mip index."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(built / "mip"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def micropython(program: Program, script: Path, code: str) -> None:
    script.write_text(code)
    done = subprocess.run([*program.argv, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def enrol(library: Path, runtime: str, state: Path) -> None:
    """Enrol and renew with the est package that lies in `library` on the board."""
    whole = (library / "est" / packages.PACKED).exists()
    login = {"user": "u", "password": "p"} if whole or list(library.rglob("auth.*")) else {}
    auth = "basic" if login else "none"
    config = ServerConfig(directory=state / "ca", port=0, auth=auth, users={"u": "p"})
    with running_server(config) as server:
        root = x509.load_pem_x509_certificate(server.ca_pem.read_bytes())
        board = {
            "url": server.url,
            "anchors": [root.public_bytes(Encoding.DER).hex()],
            "subject": "CN=a",
            "operations": ["enroll", "reenroll"],
        } | login
        events = list(run_board(board, runtime, state / "board", library))
        assert [event["event"] for event in events] == ["enroll", "reenroll"], events
        server.config.faults = {"http-404@simplereenroll"}
        board["operations"] = ["reenroll"]
        (refused,) = run_board(board, runtime, state / "board", library)
    whole = whole or list(library.rglob("advice.*"))
    next_step = " (check URL and label)" if whole else ""
    assert refused["type"] == "Refused"
    assert refused["message"] == f"simplereenroll: refused with HTTP 404: not here{next_step}"


def test_every_module_is_in_a_package() -> None:
    modules = {f"est/{path.name}" for path in (shipped.folder("firmware") / "est").glob("*.py")}
    held = [path for paths in packages.packages().values() for path in paths]
    assert sorted(held) == sorted(modules)
    assert len([paths for paths in packages.packages().values() if paths]) <= 10
    # What mip takes from the repository itself.
    for file, name in (("package", "est"), ("minimum", "est-minimum")):
        listed = json.loads((shipped.folder("firmware") / f"{file}.json").read_text())
        assert listed["version"] == packages.version()
        assert sorted(listed["urls"]) == sorted([path, path] for path in packages.parts(name))


def test_the_holder_of_a_module() -> None:
    for name in ("est.rsa_key", "est-rsa-key", "rsa_key"):
        assert packages.holder(name) == "est-own-keys"
    assert packages.holder("est-none") is None


# Not on MicroPython for x86-64, or on none.
_ELSEWHERE = {
    *("p256_machine", "p256_rv32", "p256_thumb"),  # for other processors
    *("linking", "sslcontext"),  # for CPython
}


@pytest.mark.parametrize("name", packages.packages())
def test_a_package_brings_what_it_imports(
    index: str, name: str, program: Find, tmp_path: Path
) -> None:
    target = tmp_path / "lib"
    code = f"import mip\nmip.install({name!r}, index={index!r}, target={str(target)!r})\n"
    micropython(program("micropython"), tmp_path / "install.py", code)
    found = {path.relative_to(target).with_suffix(".py") for path in target.rglob("*.*py")}
    assert found == set(map(Path, packages.parts(name)))
    modules = sorted(path.stem for path in found if path.stem not in {*_ELSEWHERE, "__init__"})
    code = f"import sys\nsys.path.insert(0, {str(target)!r})\n"
    code += "".join(f"import est.{module}\n" for module in modules)
    micropython(program("micropython"), tmp_path / "import.py", code)


def test_mpremote_brings_the_same(index: str, program: Find, tmp_path: Path) -> None:
    """On one board, since it is slow: each package adds what it needs and the ones before lack."""
    root = tmp_path / "board"
    installed: set[Path] = set()
    for name in sorted(packages.packages(), key=lambda name: len(packages.parts(name))):
        with board(program("micropython"), root) as port:
            command = [sys.executable, "-m", "mpremote", "connect", port, "mip", "--index", index]
            done = subprocess.run(
                [*command, "install", name], capture_output=True, text=True, timeout=240
            )
        assert done.returncode == 0, done.stdout + done.stderr
        installed |= set(map(Path, packages.parts(name)))
        library = root / "lib"
        assert installed == {
            path.relative_to(library).with_suffix(".py") for path in library.rglob("*.*py")
        }, name


def _imports(module: str) -> set[str]:
    """The modules of est that one imports at its top: without them it cannot be loaded."""
    found: set[str] = set()
    tree = ast.parse((shipped.folder("firmware") / "est" / f"{module}.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "est":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("est."):
            found.add(str(node.module).removeprefix("est."))
    return {one for one in found if (shipped.folder("firmware") / f"est/{one}.py").exists()}


@pytest.mark.parametrize("name", packages.packages())
def test_a_package_needs_what_its_modules_import(name: str) -> None:
    """Also those that no MicroPython here loads."""
    have = {Path(path).stem for path in packages.parts(name)}
    missing = {one: _imports(one) - have for one in have}
    assert {one: lack for one, lack in missing.items() if lack} == {}


@pytest.mark.parametrize("runtime", ["micropython", "micropython-armhf"], indirect=True)
@pytest.mark.parametrize("name", ["est", "est-minimum"])
def test_mip(
    index: str,
    runtime: str,
    name: str,
    program: Find,
    tmp_path: Path,
) -> None:
    """The least install has neither passwords nor csrattrs nor the table of the curve."""
    target = tmp_path / "lib"
    code = f"import mip\nmip.install({name!r}, index={index!r}, target={str(target)!r})\n"
    micropython(program(runtime), tmp_path / "install.py", code)
    found = {path.relative_to(target).with_suffix(".py") for path in target.rglob("*.*py")}
    assert found == set(map(Path, packages.parts(name)))
    enrol(target, runtime, tmp_path)


def test_mip_installs_source(index: str, program: Find, tmp_path: Path) -> None:
    target = tmp_path / "lib"
    code = f"import mip\nmip.install('est-storage', index={index!r}, target={str(target)!r}"
    micropython(program("micropython"), tmp_path / "install.py", code + ", mpy=False)\n")
    found = {str(path.relative_to(target)) for path in target.rglob("*.*py")}
    assert found == set(packages.parts("est-storage"))


def test_mip_installs_it_packed(index: str, program: Find, tmp_path: Path) -> None:
    """Three files in place of 84; what is added later is found beside them."""
    target = tmp_path / "lib"
    code = "import mip\n"
    for name in ("est-packed", "est-own-keys-packed", "est-serverkeygen-packed"):
        code += f"mip.install({name!r}, index={index!r}, target={str(target)!r})\n"
        micropython(program("micropython"), tmp_path / "install.py", code)
        if name == "est-packed":
            found = {path.name for path in target.rglob("*") if path.is_file()}
            assert found == {"__init__.mpy", "modules", "sha512_viper.py"}
            enrol(target, "micropython", tmp_path)
            opener = (target / "est/__init__.mpy").read_bytes()
    assert (target / "est/__init__.mpy").read_bytes() == opener
    beside = {path.stem for path in target.rglob("*.mpy")} - {"__init__"}
    names = ("est-own-keys", "est-cmc", "est-serverkeygen")
    assert beside == {Path(path).stem for name in names for path in packages.packages()[name]}
    code = f"import sys\nsys.path.insert(0, {str(target)!r})\nfrom est import agent, rsa_key\n"
    code += "if not rsa_key.__file__ == agent.__file__.replace('agent', 'rsa_key'):\n"
    code += "    sys.exit(1)\n"
    micropython(program("micropython"), tmp_path / "use.py", code)


@pytest.fixture(scope="module")
def in_one_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with est packed, as `mpest flash` installs it on a Pico W."""
    library = tmp_path_factory.mktemp("packed")
    for path, data in packages.packed(packages.installed("armv6m"), "armv6m").items():
        (library / path).parent.mkdir(exist_ok=True)
        (library / path).write_bytes(data)
    return library


@pytest.mark.parametrize("runtime", ["micropython", "micropython-picow-like"], indirect=True)
def test_packed(in_one_file: Path, runtime: str, tmp_path: Path) -> None:
    enrol(in_one_file, runtime, tmp_path)


def test_packed_modules_load_as_others_do(
    in_one_file: Path, program: Find, tmp_path: Path
) -> None:
    code = f"""
import os, sys
os.chdir({str(in_one_file.parent)!r})
sys.path.insert(0, {in_one_file.name!r})
import est
os.chdir("/")
from est import comb, keys
from est.ec import P256
assert keys.__file__ == "/.est/keys.mpy", keys.__file__
# The table is read where it lies.
assert comb.find(P256, 5, 2)[3] > 4096
private = P256.generate()
assert P256.verify(P256.public(private), bytes(32), P256.sign(private, bytes(32)))
for name in ("nothing", "modules"):
    try:
        __import__("est." + name)
        sys.exit(name)
    except ImportError as error:
        assert "est." + name in str(error)
# A second import takes the place of the first.
sys.path.insert(0, {str(in_one_file)!r})
for name in list(sys.modules):
    if name[:3] == "est":
        del sys.modules[name]
from est import agent
assert agent.__file__ == "/.est/agent.mpy"
"""
    micropython(program("micropython"), tmp_path / "use.py", code)


def test_what_is_packed_is_found_again() -> None:
    paths = packages.parts("est-minimum")
    whole = packages.packed(paths, "armv6m")[f"est/{packages.PACKED}"]
    found = packages.unpacked(whole)
    assert sorted(f"est/{name}.py" for name in found) == sorted(set(paths) - {"est/__init__.py"})
    firmware = shipped.folder("firmware") / "est"
    for name, data in found.items():
        assert data == mpy.compile_file(firmware / f"{name}.py", "armv6m")


def test_romfs(built: Path, program: Find, tmp_path: Path) -> None:
    code = (
        "import sys, vfs\n"
        f"with open({str(built / 'armv6m.romfs')!r}, 'rb') as file:\n"
        "    vfs.mount(vfs.VfsRom(file.read()), '/rom')\n"
        "sys.path[:] = ['/rom/lib']\n"
        "from est.ec import P256\n"
        "private = P256.generate()\n"
        "signature = P256.sign(private, bytes(32))\n"
        "if not P256.verify(P256.public(private), bytes(32), signature):\n"
        "    sys.exit(1)\n"
    )
    micropython(program("micropython"), tmp_path / "rom.py", code)


def test_the_table_is_read_where_it_lies(program: Find, built: Path, tmp_path: Path) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from est import comb
from est.ec import P256
private = bytes(31) + b"\7"
expected = P256.public(private)
for width, parts in ((5, 2), (7, 2)):
    path, offset = comb.find(P256, width, parts)[2:]
    assert path.endswith(".mpy") and offset > 3
    P256._fast = comb.Comb(P256, (width, parts, path, offset))
    assert P256.public(private) == expected
assert not [name for name in sys.modules if name.startswith("est.p256_comb")]
"""
    library = tmp_path / "lib"
    shutil.copytree(built / "armv6m" / "lib", library)
    large = mpy.compile_file(shipped.folder("firmware") / "est/p256_comb7x2.py", "armv6m")
    (library / "est/p256_comb7x2.mpy").write_bytes(large)
    (library / "est/p256_thumb.mpy").unlink()
    runtime = program("micropython")
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run([*runtime.argv, script, library], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Where a copy of the file was cut off, or went wrong from there.
@pytest.mark.parametrize("size", [0, 1, 4, 20, 60, 100, 5000])
@pytest.mark.parametrize("rest", [b"", b"\0", b"\xa5"])
def test_a_damaged_table(
    program: Find, built: Path, tmp_path: Path, size: int, rest: bytes
) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from est.ec import P256
private = bytes(31) + b"\7"
expected = sys.argv[2]
if P256.public(private).hex() != expected:
    sys.exit("public")
signature = P256.sign(private, bytes(32))
if not P256.verify(bytes.fromhex(expected), bytes(32), signature):
    sys.exit("verify")
if P256.verify(bytes.fromhex(expected), b"x" * 32, signature):
    sys.exit("verify another")
"""
    library = tmp_path / "lib"
    shutil.copytree(built / "armv6m" / "lib", library)
    table = library / "est/p256_comb7x2.mpy"
    whole = mpy.compile_file(shipped.folder("firmware") / "est/p256_comb7x2.py", "armv6m")
    table.write_bytes((whole[:size] + len(whole) * rest)[: len(whole)])
    public = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex()
    script = tmp_path / "script.py"
    script.write_text(code)
    argv = [*program("micropython").argv, script, library, point]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_machine_code_runs_under_an_operating_system(program: Find, built: Path) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from est.ec import P256
private = P256.generate()
assert P256.verify(P256.public(private), bytes(32), P256.sign(private, bytes(32)))
assert "est.p256_thumb" in sys.modules
"""
    runtime = program("micropython-picow-like")
    script = built.parent / "script.py"
    script.write_text(code)
    library = built / "armv6m/lib"
    done = subprocess.run([*runtime.argv, script, library], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_part_is_described() -> None:
    described = (Path(__file__).parents[2] / "docs/parts.md").read_text()
    modules = {
        Path(path).stem
        for name, paths in packages.packages().items()
        for path in paths
        if name != "est-minimum"
    }
    assert [
        name for name in (*packages.packages(), *modules) if f"`{name}`" not in described
    ] == []


def test_constants_need_no_import(program: Find, tmp_path: Path) -> None:
    """mpy-cross replaces them; where one is made at run time the import stays."""
    module = tmp_path / "source" / "module.py"
    module.parent.mkdir()
    start = 'from micropython import const\n_SIZE = const(4 << 8)\nTAG = const(b"x")\n'
    sizes = []
    for end in ("", "late = [const(3)]\n"):
        module.write_text(start + end + "def size():\n    return _SIZE\n")
        compiled = mpy.compile_file(module, "armv6m")
        sizes.append(len(compiled))
        (tmp_path / "module.mpy").write_bytes(compiled)
        code = "import module\nassert (module.size(), module.TAG) == (1024, b'x')\n"
        micropython(program("micropython"), tmp_path / "main.py", code)
    assert sizes[0] + 10 < sizes[1]
