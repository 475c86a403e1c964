"""Finding programs on PATH, and fetching Debian's through the real apt."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import ports
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpest.exits import CliError, Exit
from mpest.toolchain import debian, runtimes

CI = os.environ.get("CI") == "true"
needs_apt = pytest.mark.skipif(
    not CI and not all(map(shutil.which, ("apt-get", "dpkg", "dpkg-deb"))), reason="needs apt"
)


def run(program, *arguments):
    return subprocess.run(
        [*program.argv, *arguments],
        env={**os.environ, **program.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )


@pytest.fixture
def bin_path(tmp_path, monkeypatch):
    """An empty PATH and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("MPEST_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def off_path(monkeypatch):
    """PATH as it is, but for the programs that are looked for."""
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name: None if name in runtimes.names() else which(name)
    )


def script(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def configure_apt(folder, monkeypatch, sources, deb822=False):
    """Make apt read these sources instead of the machine's."""
    folder.mkdir(exist_ok=True)
    parts = folder / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    (parts / ("test.sources" if deb822 else "test.list")).write_text(sources)
    config = folder / "apt.conf"
    config.write_text(f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{parts}";\n')
    monkeypatch.setenv("APT_CONFIG", str(config))


# Programs on PATH


def test_path_comes_first(bin_path):
    fake = script(bin_path / "micropython", "echo micropython 1 25 0")
    assert runtimes.find("micropython", fetch=False) == runtimes.Program(
        "micropython", (str(fake),), {}, "1.25.0", "PATH"
    )


@pytest.mark.parametrize(
    "body",
    [
        "echo micropython 1 22 2",
        "echo \"ImportError: no module named 'tls'\" >&2; exit 1",
        "echo cpython 3 11 2",
        "kill -SEGV $$",
        "exit 0",
        "printf '\\377\\376'",
    ],
    ids=["old", "no tls", "cpython", "crash", "silent", "not text"],
)
def test_unfit_program_is_refused(bin_path, body):
    fake = script(bin_path / "micropython", body)
    with pytest.raises(
        runtimes.RuntimeMissing, match=r"1\.23 or later with a tls module"
    ) as error:
        runtimes.find("micropython", fetch=False)
    assert str(fake) in error.value.message
    assert error.value.exit_code == Exit.USAGE


def test_unrunnable_program_is_refused(bin_path):
    script(bin_path / "micropython", "").write_bytes(b"\x7fELF nothing")
    with pytest.raises(runtimes.RuntimeMissing):
        runtimes.find("micropython", fetch=False)


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, 9)))
def test_oldest_version(bin_path, version):
    script(bin_path / "micropython", f"echo micropython {version[0]} {version[1]} {version[2]}")
    if version >= (1, 23, 0):
        found = runtimes.find("micropython", fetch=False)
        assert found.version == ".".join(map(str, version))
    else:
        with pytest.raises(runtimes.RuntimeMissing):
            runtimes.find("micropython", fetch=False)


def test_pki_must_know_est(bin_path):
    fake = script(
        bin_path / "pki", "printf 'strongSwan 5.9.8 PKI tool\\n  pki --scep   enroll\\n'"
    )
    with pytest.raises(runtimes.RuntimeMissing):
        runtimes.find("pki", fetch=False)
    script(fake, "printf 'strongSwan 6.0.1 PKI tool\\n  pki --est     (-E)  enroll\\n'")
    assert runtimes.find("pki", fetch=False).version == "6.0.1"


def test_relative_path(bin_path, monkeypatch):
    script(bin_path / "estclient", "echo Available EST client options")
    monkeypatch.chdir(bin_path.parent)
    monkeypatch.setenv("PATH", "bin")
    assert runtimes.find("estclient").argv == (str(bin_path / "estclient"),)


# Systems without Debian's packages


@pytest.mark.parametrize("name", runtimes.names())
def test_no_apt(bin_path, name):
    with pytest.raises(runtimes.RuntimeMissing, match="this system has no apt-get") as error:
        runtimes.find(name)
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("system", "name", "advice"),
    [
        ("darwin", "micropython", "`brew install micropython`"),
        ("darwin", "estserver", "on Linux where apt has a Debian mirror"),
        ("linux", "micropython", "`apt install micropython`"),
        ("linux", "micropython-armhf", "on Linux where apt has a Debian mirror"),
    ],
)
def test_advice(bin_path, monkeypatch, system, name, advice):
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(runtimes.RuntimeMissing, match=advice):
        runtimes.find(name)


def test_command_goes_on_past_a_missing_program(bin_path):
    script(bin_path / "estserver", "echo Available EST server options")
    result = CliRunner().invoke(runtimes.main, ["micropython", "estserver"])
    assert result.exit_code == Exit.USAGE
    assert "brew install" in result.stderr or "apt install" in result.stderr
    assert "missing" in result.stdout
    assert "PATH" in result.stdout


def test_command_runs_a_program(program, tmp_path):
    program("micropython")  # found, or fetched
    argv = [sys.executable, "-m", "mpest.runtimes"]
    code = "import sys; print(sys.implementation.name, sys.argv); sys.exit(9)"
    path = tmp_path / "script.py"
    path.write_text(code)
    done = subprocess.run(
        [*argv, "--run", "micropython", path, "--json"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.split()[0]) == (9, "micropython")
    assert "--json" in done.stdout
    for wrong in (["--run", "nonsense"], ["nonsense"]):
        done = subprocess.run([*argv, *wrong], capture_output=True, text=True)
        assert done.returncode == Exit.USAGE
        assert "nonsense" in done.stderr


# apt's sources

ONE_LINE = """\
# deb http://commented/debian trixie main
deb cdrom:[Debian GNU/Linux 12.0.0 _Bookworm_ - Official amd64 NETINST]/ bookworm main
deb http://security/debian-security bookworm-security main
deb [signed-by=/k.gpg] http://vendor/deb stable main
deb http://vendor/linux/debian bookworm stable
deb [trusted=yes] http://second/mirror bookworm contrib main
deb-src http://source/debian trixie main
deb http://first/debian/ bookworm main contrib
deb http://first/debian bookworm-updates main
"""
DEB822 = """\
Types: deb deb-src
URIs: mirror+file:/etc/apt/mirrors/debian.list
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://disabled/debian
Suites: trixie
Components: main
Enabled: no

Types: deb
URIs: http://one/debian http://two/pub/debian
Suites: stable
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abcd
 -----END PGP PUBLIC KEY BLOCK-----
"""


@needs_apt
def test_one_line_sources(tmp_path, monkeypatch):
    configure_apt(tmp_path / "apt", monkeypatch, ONE_LINE)
    assert debian.mirrors() == ["http://first/debian", "http://second/mirror"]


@needs_apt
def test_deb822_sources(tmp_path, monkeypatch):
    configure_apt(tmp_path / "apt", monkeypatch, DEB822, deb822=True)
    found = debian.mirrors()
    assert set(found[:2]) == {"http://one/debian", "http://two/pub/debian"}
    assert found[2:] == ["mirror+file:/etc/apt/mirrors/debian.list"]


@needs_apt
@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["http://a/debian", "https://b:8080/x/debian", "file:/srv/debian"]),
            st.sampled_from(["bookworm", "trixie", "sid", "trixie-security", "noble", "nodistro"]),
            st.sampled_from(["main", "contrib main", "universe", "stable"]),
            st.booleans(),
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_only_debian_archives_count(tmp_path, monkeypatch, entries, deb822):
    text = ""
    expected = set()
    for uri, suite, components, enabled in entries:
        if deb822:
            text += f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {components}\n"
            text += f"Enabled: {'yes' if enabled else 'no'}\n\n"
        else:
            text += f"{'' if enabled else '# '}deb [arch-=armel] {uri} {suite} {components}\n"
        if enabled and suite in ("bookworm", "trixie", "sid") and "main" in components:
            expected.add(uri)
    configure_apt(tmp_path / "apt", monkeypatch, text, deb822)
    if expected:
        assert set(debian.mirrors()) == expected
    else:
        with pytest.raises(debian.NoDebian):
            debian.mirrors()


@needs_apt
def test_ubuntu(tmp_path, monkeypatch, off_path):
    monkeypatch.setenv("MPEST_CACHE", str(tmp_path / "cache"))
    configure_apt(tmp_path / "apt", monkeypatch, "deb http://ubuntu/ubuntu noble main universe\n")
    with pytest.raises(
        runtimes.RuntimeMissing, match=r"no Debian mirror.*apt install libest-utils"
    ):
        runtimes.find("estserver")


@needs_apt
def test_malformed_sources(tmp_path, monkeypatch):
    configure_apt(tmp_path / "apt", monkeypatch, "deb what\n")
    with pytest.raises(CliError, match="apt-get failed: Malformed entry 1"):
        debian.mirrors()


# Fetching


def main_mirror():
    """The machine's own, or a skip where it has none; never a skip in CI."""
    try:
        return debian.mirrors()[0]
    except debian.NoDebian as error:
        if CI:
            raise
        pytest.skip(error.message)


@needs_apt
def test_unreachable_mirror(tmp_path, monkeypatch, off_path):
    port = ports.reserve()  # where nobody listens
    cache = tmp_path / "cache"
    monkeypatch.setenv("MPEST_CACHE", str(cache))
    for variable in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    sources = f"deb http://user:secret@127.0.0.1:{port}/debian trixie main\n"
    configure_apt(tmp_path / "apt", monkeypatch, sources)
    with pytest.raises(runtimes.RuntimeMissing, match="can't be fetched") as error:
        runtimes.find("estserver")
    assert error.value.exit_code == Exit.NETWORK
    assert "127.0.0.1" in error.value.message
    assert "secret" not in error.value.message
    assert "\n" not in error.value.message
    assert not list(cache.glob("partial")) + list(cache.glob("trixie"))


@needs_apt
def test_unwritable_cache(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MPEST_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CliError, match="can't be written") as error:
        debian.fetch("micropython", "amd64")
    assert error.value.exit_code == Exit.STORAGE


@needs_apt
def test_unsigned_archive_is_refused(tmp_path, monkeypatch, off_path):
    archive = tmp_path / "debian"
    index = archive / "dists/trixie/main/binary-all"
    index.mkdir(parents=True)
    (index / "Packages").write_text("")
    (archive / "dists/trixie/Release").write_text("Origin: Debian\nCodename: trixie\n")
    monkeypatch.setenv("MPEST_CACHE", str(tmp_path / "cache"))
    configure_apt(tmp_path / "apt", monkeypatch, f"deb [trusted=yes] file:{archive} trixie main\n")
    with pytest.raises(runtimes.RuntimeMissing, match="not signed"):
        runtimes.find("estserver")


@needs_apt
@pytest.mark.timeout(600)
def test_fetch(tmp_path, monkeypatch, off_path):
    """One fetch is killed half way, then two ask at once, then the copy is damaged."""
    cache = tmp_path / "a cache"
    monkeypatch.setenv("MPEST_CACHE", str(cache))
    main_mirror()
    arch = debian.architecture()

    command = [
        sys.executable,
        "-c",
        f"from mpest.toolchain import debian as d; d.fetch('micropython', {arch!r})",
    ]
    killed = subprocess.Popen(command, start_new_session=True)
    while killed.poll() is None and not (cache / "partial/archives").exists():
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert debian.cached("micropython", arch) is None

    pair = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in pair]
    if any(process.returncode for process in pair) and not CI:
        pytest.skip(f"no network: {said[0]}")
    assert [process.returncode for process in pair] == [0, 0], said
    assert sum("Fetching" in text for text in said) == 1
    assert sorted(path.name for path in cache.iterdir()) == ["lists", "lock", "trixie"]

    program = runtimes.find("micropython", fetch=False)
    assert program.origin == "cache"
    assert run(program, "-c", "print(6 * 7)").stdout == b"42\n"
    root = debian.cached("micropython", arch)
    assert json.loads((root / "packages.json").read_text())["packages"].keys() > {"libc6"}

    Path(program.argv[-1]).write_bytes(b"")
    with pytest.raises(runtimes.RuntimeMissing, match="doesn't run"):
        runtimes.find("micropython", fetch=False)


@needs_apt
@pytest.mark.timeout(600)
def test_fetch_source(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("MPEST_CACHE", str(cache))
    main_mirror()
    with monkeypatch.context() as without:
        without.setattr(shutil, "which", lambda name: None)
        with pytest.raises(debian.NoDebian, match="apt install dpkg-dev"):
            debian.fetch_source("micropython")
    if not CI and not shutil.which("dpkg-source"):
        pytest.skip("needs dpkg-source (apt install dpkg-dev)")
    try:
        tree = debian.fetch_source("micropython")
    except CliError as error:
        if CI:
            raise
        pytest.skip(f"no network: {error.message}")
    assert (tree / "py/mpconfig.h").is_file()
    # quilt's record of what it did: Debian's patches are in.
    assert (tree / ".pc/applied-patches").read_text().split()
    assert debian.versions(tree)["micropython"].startswith("1.")
    assert sorted(path.name for path in cache.iterdir()) == ["lists", "lock", "trixie"]
    monkeypatch.setattr(debian, "mirrors", None)
    assert debian.fetch_source("micropython") == tree


@needs_apt
@pytest.mark.timeout(600)
def test_mirror_half_way_through_a_sync(tmp_path, monkeypatch, off_path):
    """It has no index under the code name, and all under the name `stable`."""
    mirror = main_mirror()

    class HalfSynced(BaseHTTPRequestHandler):
        def do_GET(self):
            if "/dists/trixie/" in self.path:
                self.send_error(404)
            else:
                self.send_response(302)
                self.send_header("Location", mirror + self.path.removeprefix("/debian"))
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_):
            pass

    monkeypatch.setenv("MPEST_CACHE", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), HalfSynced) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}/debian"
        configure_apt(tmp_path / "apt", monkeypatch, f"deb {uri} trixie main\n")
        for variable in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(variable, "127.0.0.1")
        try:
            root = debian.fetch("libest-utils", debian.architecture())
        except CliError as error:
            if CI:
                raise
            pytest.skip(f"no network: {error.message}")
        finally:
            server.shutdown()
    assert json.loads((root / "packages.json").read_text())["archive"] == f"{uri} stable"


# What the other tests run


def test_micropython_runs(program):
    found = program("micropython")
    assert run(found, "-c", "import tls; print(tls.__name__)").stdout == b"tls\n"


@pytest.mark.timeout(600)
def test_armhf_has_32_bits(program):
    found = program("micropython-armhf")
    code = "import struct, sys; print(struct.calcsize('P'), sys.maxsize)"
    assert run(found, "-c", code).stdout == b"4 2147483647\n"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["estserver", "estclient"])
def test_libest_runs(name, program):
    assert b"Available EST" in run(program(name), "-h").stderr


@pytest.mark.timeout(600)
def test_pki_makes_a_key(program):
    found = program("pki")
    done = run(found, "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem")
    assert done.stdout.startswith(b"-----BEGIN EC PRIVATE KEY-----")
    if found.origin == "cache":
        assert done.stderr == b""
