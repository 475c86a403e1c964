"""`mpest agent`, and the same on MicroPython, against the test server."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import openssl
from cryptography import x509
from documents import block, commands
from linux_agent import WITHOUT_FFI, LinuxAgent, command

from mpest.server import EstServer, ServerConfig, running_server

ROOT = Path(__file__).parents[2]
RUNTIMES = ("cpython", "micropython")
# Until what failed is tried again, without a reason to try before: a minute less a quarter.
_FIRST_RETRY = 45


@pytest.fixture
def runtime(request: pytest.FixtureRequest, program) -> str:
    name: str = request.param
    if name != "cpython":
        program("micropython")
    return name


@pytest.fixture(scope="module")
def est(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EstServer]:
    config = ServerConfig(
        directory=tmp_path_factory.mktemp("ca"),
        auth="basic",
        users={"board": "correct horse"},
    )
    with running_server(config) as server:
        yield server


@pytest.fixture
def agent(est: EstServer, tmp_path: Path, runtime: str) -> LinuxAgent:
    return LinuxAgent(est.url, est.ca_pem, tmp_path, runtime)


each = pytest.mark.parametrize("runtime", RUNTIMES, indirect=True)
# Nothing in it differs by the runtime that the unit tests do not show.
once = pytest.mark.parametrize("runtime", ["micropython"], indirect=True)


def leaf(agent: LinuxAgent) -> x509.Certificate:
    return x509.load_pem_x509_certificate((agent.export / "cert.pem").read_bytes())


def test_as_the_page_starts_it_on_micropython(est: EstServer, tmp_path: Path, program) -> None:
    """In the folder of a clone."""
    (line,) = commands(block("docs/linux.md", "MICROPYPATH"))
    variable, _, *options, file = shlex.split(line)
    assert file == "FILE"
    agent = LinuxAgent(est.url, est.ca_pem, tmp_path, "micropython")
    micropython = program("micropython")
    done = subprocess.run(
        [*micropython.argv, *options, agent.file(), "--once"],
        env=os.environ | micropython.env | dict([variable.split("=")]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert leaf(agent)


@each
def test_a_life(agent: LinuxAgent, est: EstServer) -> None:
    """Enrolled, asked, renewed, revoked, while it runs; it wakes for nothing else."""
    ran = agent.folder / "ran"
    agent.config["hooks"] = {
        "on_renewed": ["sh", "-c", f'echo "$RENEWED_LINEAGE $RENEWED_DOMAINS" >>{ran}'],
        "log": str(agent.hook_log),
    }
    with agent.running() as daemon:
        daemon.says("hook: renewed: done")
        first = leaf(agent)
        openssl("verify", "-CAfile", est.ca_pem, agent.export / "cert.pem")
        assert (agent.export / "key.pem").stat().st_mode & 0o777 == 0o640
        assert ran.read_text() == f"{agent.export} board-1.example\n"
        status = agent.status()
        assert status["agent"] == "running"
        assert status["next"] == "renew"
        assert status["certificate"]["serial"] == f"{first.serial_number:x}".zfill(40)
        time.sleep(0.5)
        before = daemon.switches()
        time.sleep(3)
        # One may be for memory that the system took back.
        assert daemon.switches() - before <= 1
        # A second one is told, whatever it is to do.
        second = agent.run("--once")
        assert second.returncode == 7
        assert f"an agent runs in {agent.state} already" in second.stderr
        assert agent.run("reset").returncode == 2
        done = agent.run("renew", "--now", "--json")
        assert done.returncode == 0, done.stderr
        names = [json.loads(line)["event"] for line in done.stdout.splitlines()]
        assert names == ["ordered", "answered", "candidate", "proven", "renewed", "hook"]
        assert leaf(agent) != first
        # The log of the daemon has it, too.
        daemon.says("renewed: generation=2")
        # With other settings, in the same process.
        agent.config["export"] = {"folder": str(agent.export), "combined": "all.pem"}
        agent.file()
        daemon.hang_up()
        daemon.says("hook: renewed: done", 3)
        assert "PRIVATE KEY" in (agent.export / "all.pem").read_text()
        agent.file(url="http://est.example")
        daemon.hang_up()
        daemon.says("url must be https://")
        # What only an agent finds would end it, and it is not started again then.
        agent.file(anchors=str(agent.folder / "none.pem"))
        daemon.hang_up()
        daemon.says("config: anchors: ")
        done = agent.run("status")
        assert "agent:       running" in done.stdout
        assert done.returncode == 0
        done = agent.run("revoke", "--reason", "no such")
        assert done.returncode == 2 and "error: " in done.stderr, done.stderr
        done = agent.run("revoke", "--reason", "superseded")
        assert done.returncode == 0 and "revoked: " in done.stderr
    # Killed: what is stored is shown.
    assert agent.status()["agent"] == "not running"


@each
def test_by_a_timer(agent: LinuxAgent, est: EstServer) -> None:
    done = agent.run("--once")
    assert done.returncode == 0, done.stderr
    first = leaf(agent)
    # Nothing is due, and nobody is asked.
    requests = est.handshakes
    assert agent.run("--once").returncode == 0
    assert est.handshakes == requests
    assert leaf(agent) == first
    # What was removed comes back.
    (agent.export / "cert.pem").unlink()
    if os.geteuid() == 0:
        # Root leaves nothing there that the agent's user could not read.
        os.chown(agent.state, 65534, -1)
        done = agent.run("export")
        assert done.returncode == 2 and "is the user nobody's" in done.stderr
        assert agent.run("status").returncode == 0
        os.chown(agent.state, 0, -1)
    assert agent.run("export").returncode == 0
    assert leaf(agent) == first
    (agent.state / "hooks.log").write_text("")
    assert agent.run("reset").returncode == 0
    assert sorted(path.name for path in agent.state.iterdir()) == ["est.lock"]
    assert not (agent.export / "key.pem").exists()
    assert agent.run("status").returncode == 2
    done = agent.run("export")
    assert done.returncode == 2 and "there is no certificate to export yet" in done.stderr


@each
def test_an_export_that_fails(agent: LinuxAgent) -> None:
    """It is told once, and tried again later."""
    agent.export.mkdir()
    (agent.export / "cert.pem").write_text("of another program")
    done = agent.run("--once", key="P-384")
    assert done.returncode == 2 and done.stderr.count("failed: export: /") == 1, done.stderr
    assert "Warning" not in done.stderr
    assert "failure:     export: " in agent.run("status").stdout
    (agent.export / "cert.pem").unlink()
    done = agent.run("--once", key="P-384")
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    assert leaf(agent)


@each
def test_what_fails(agent: LinuxAgent, est: EstServer) -> None:
    failed = agent.folder / "failed"
    agent.config["hooks"] = {
        "on_failed": ["sh", "-c", f'echo "$MPEST_TYPE" >>{failed}'],
        "log": str(agent.hook_log),
    }
    done = agent.run("--once", subject=None)
    assert done.returncode == 2 and "config.json: subject is missing" in done.stderr
    wrong = {"secret_file": None, "secret": "wrong"}
    done = agent.run("--once", **wrong)
    assert done.returncode == 4 and "failed: simpleenroll: refused with HTTP 401" in done.stderr
    assert failed.read_text() == "Refused\n"
    status = agent.run("status")
    assert status.returncode == 4 and "failure:     simpleenroll: refused" in status.stdout
    # Not before its time, and not told twice; who asks hears why.
    for _ in range(2):
        done = agent.run("--once", **wrong)
        assert done.returncode == 5
        assert "note: not now: the next try is at 2" in done.stderr
        assert ", after: simpleenroll: refused with HTTP 401" in done.stderr
        status = agent.run("status", **wrong)
        assert status.returncode == 4 and "failure:     simpleenroll: refused" in status.stdout
    assert failed.read_text() == "Refused\n"
    # Another password waits for nothing.
    failing = {"on_renewed": ["false"], "log": str(agent.hook_log)}
    done = agent.run("--once", hooks=failing)
    assert done.returncode == 8 and "hook: renewed: false ended with 1" in done.stderr
    status = agent.run("status")
    assert status.returncode == 8 and "hook due:    " in status.stdout
    assert "failure" not in status.stdout
    assert agent.run("export", hooks=failing).returncode == 8
    assert agent.run("renew", "--now", hooks=failing).returncode == 8


@once
def test_a_server_that_says_to_wait(tmp_path: Path, runtime: str) -> None:
    config = ServerConfig(directory=tmp_path / "ca", approve_after=600)
    with running_server(config) as server:
        agent = LinuxAgent(server.url, server.ca_pem, tmp_path / "agent", runtime)
        done = agent.run("--once")
        assert done.returncode == 5 and "note: not now: the next try is at 2" in done.stderr
        status = agent.run("status").stdout
        assert "order:       waiting" in status and "next:        retry at 2" in status


@each
def test_without_standard_files(agent: LinuxAgent) -> None:
    """What is opened in their place is none of them: lines would go to records and server."""
    start, environment = command(agent.runtime)
    agent.config["hooks"] = {"reload": "true"}
    words = [*start, "renew", "--now", "--json", "--config", str(agent.file())]
    for closed in ("<&-", "2>&-", ">&-", "<&- >&- 2>&-"):
        shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *words]
        assert subprocess.run(shell, env=environment).returncode == 0, closed
        assert (agent.state / "est.lock").read_bytes() == b""
        assert leaf(agent)
        assert agent.run("reset").returncode == 0


@once
def test_a_damaged_identity(agent: LinuxAgent) -> None:
    """What is asked for enrols anew, as the agent by itself does."""
    assert agent.run("--once").returncode == 0
    first = leaf(agent)
    for copy in agent.state.glob("identity.?"):
        copy.write_bytes(b"")
    done = agent.run("--dry-run")
    assert done.returncode == 0, done.stderr
    assert "the stored identity: damaged" in done.stderr
    assert "CN=board-1,O=Example would be asked for by simpleenroll now" in done.stderr
    done = agent.run("renew", "--now")
    assert done.returncode == 0, done.stderr
    assert leaf(agent) != first


@each
def test_while_a_hook_runs(agent: LinuxAgent) -> None:
    """It is told how it stands by what is stored; what it cannot do now is not done later."""
    begun = agent.folder / "begun"
    words = ["sh", "-c", f"echo $MPEST_TRY >>{begun}; sleep 100"]
    agent.config["hooks"] = {"on_renewed": words, "log": str(agent.hook_log)}
    with agent.running() as daemon:
        daemon.says("renewed: generation=1")
        status = agent.run("status")
        assert status.returncode == 0 and "agent:       busy" in status.stdout
        assert "is busy, such as with a hook, or is stopped: this is" in status.stderr
        assert "hook due:    renewed, try 1" in status.stdout
        renewal = agent.run("renew", "--now")
        assert renewal.returncode == 5 and "ask again later" in renewal.stderr
        # With its hook.
        daemon.process.terminate()
        assert daemon.process.wait(60) == 0


@each
def test_an_agent_that_is_ended_while_a_hook_runs(agent: LinuxAgent) -> None:
    """The hook ends too: by SIGTERM at once, else before it runs again."""
    begun = agent.folder / "begun"
    words = ["sh", "-c", f"echo $MPEST_TRY $$ >>{begun}; sleep 100; :"]
    agent.config["hooks"] = {"on_renewed": words, "log": str(agent.hook_log)}

    def hook(count: int) -> tuple[str, Path]:
        end = time.monotonic() + 60
        while not begun.exists() or begun.read_text().count("\n") < count:
            assert time.monotonic() < end, daemon.text()
            time.sleep(0.1)
        number, process = begun.read_text().splitlines()[-1].split()
        return number, Path("/proc", process, "cmdline")

    def ended(process: Path) -> bool:
        end = time.monotonic() + 60
        # Whoever adopted it may not have waited for it yet.
        while process.exists() and process.read_bytes():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    with agent.running() as daemon:
        number, process = hook(1)
        assert number == "1"
        daemon.process.terminate()
        assert daemon.process.wait(60) == 0
        assert ended(process)
    with agent.running() as daemon:
        number, killed = hook(2)
        assert number == "2"
        # It begins before it is noted.
        noted = killed.parent.name.encode() + b" "
        end = time.monotonic() + 60
        while not any(noted in path.read_bytes() for path in agent.state.glob("hooks.?")):
            assert time.monotonic() < end
            time.sleep(0.1)
        daemon.process.kill()
        daemon.process.wait()
        assert killed.read_bytes()
    with agent.running() as daemon:
        daemon.says("hook: a command that an agent before this one left is ended")
        number, process = hook(3)
        assert number == "3" and ended(killed)
        daemon.process.terminate()
        assert daemon.process.wait(60) == 0
    # What is no daemon has the exit code of the signal.
    start, environment = command(agent.runtime)
    once = subprocess.Popen([*start, "--once", "--config", str(agent.file())], env=environment)
    try:
        number, process = hook(4)
        once.terminate()
        assert once.wait(60) == -signal.SIGTERM
        assert ended(process)
    finally:
        once.kill()


@each
def test_dry_run(agent: LinuxAgent, est: EstServer) -> None:
    issued = len(est.issued())
    done = agent.run("--dry-run")
    assert done.returncode == 0, done.stderr
    assert "the server takes the login" in done.stderr
    assert "CN=board-1,O=Example would be asked for by simpleenroll now" in done.stderr
    done = agent.run("--dry-run", hooks={"on_renewed": ["true"], "reload": "no-such-program -r"})
    assert done.returncode == 7 and "there is no program no-such-program" in done.stderr
    done = agent.run("--dry-run", secret_file=None, secret="wrong")
    assert done.returncode == 4 and "wrong user, password or token" in done.stderr
    done = agent.run("--dry-run", anchors=None, sha256="00" * 32)
    assert done.returncode == 3, done.stderr
    # What needs no server is told before it is asked.
    handshakes = est.handshakes
    export = {"folder": str(agent.export), "group": "nobody is called so"}
    for arguments in (("--dry-run",), ("--once",), ()):
        done = agent.run(*arguments, subject="board", export=export)
        assert done.returncode == 2 and "config: subject: " in done.stderr
        assert "config: export: group: there is no nobody is called so here" in done.stderr
    done = agent.run("--once", state=str(agent.folder / "secret"))
    assert done.returncode == 7 and "secret is no folder" in done.stderr
    assert est.handshakes == handshakes
    # Nobody was asked for a certificate, and nothing was written.
    assert len(est.issued()) == issued
    assert not agent.state.exists()
    assert agent.run("--once").returncode == 0
    records = {path.name: path.read_bytes() for path in agent.state.iterdir()}
    done = agent.run("--dry-run")
    assert done.returncode == 0 and "would be renewed by simplereenroll at " in done.stderr
    assert records == {path.name: path.read_bytes() for path in agent.state.iterdir()}


@each
def test_an_identity_of_another_program(agent: LinuxAgent, est: EstServer) -> None:
    """The first order is a renewal: no password is needed."""
    other = LinuxAgent(est.url, est.ca_pem, agent.folder / "other", agent.runtime)
    assert other.run("--once").returncode == 0
    pair = ("--cert", str(other.export / "fullchain.pem"), "--key", str(other.export / "key.pem"))
    nameless: dict[str, None] = {"user": None, "secret_file": None}
    done = agent.run("--dry-run", *pair, **nameless)
    assert done.returncode == 0 and "would be renewed by simplereenroll" in done.stderr
    assert not agent.state.exists()
    assert agent.run("--once", *pair, **nameless).returncode == 0
    assert leaf(agent) == leaf(other)
    done = agent.run("renew", "--now", **nameless)
    assert done.returncode == 0, done.stderr
    assert "ordered: operation=simplereenroll" in done.stderr
    assert leaf(agent) != leaf(other)
    done = agent.run("reset")
    done = agent.run("--once", "--cert", str(agent.folder / "none"), "--key", pair[3])
    assert done.returncode == 2 and "failed: identity_certificate: " in done.stderr


@each
def test_an_identity_that_is_none(agent: LinuxAgent, est: EstServer) -> None:
    """Wrong configuration, told in plain words, whether or not it is to go on for ever."""
    folder = agent.folder
    for name in ("a", "b"):
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=" + name),
            *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"),
        )
    locked = folder / "locked.key"
    openssl("pkcs8", "-topk8", "-in", folder / "a.key", "-passout", "pass:x", "-out", locked)
    (folder / "junk").write_bytes(b"\xff\xfe junk")
    wrongs = (
        ("b.key", "failed: identity_key is not that of identity_certificate\n"),
        ("locked.key", "private key: encrypted, and no password was given\n"),
        ("junk", f" identity_key: {folder}/junk: it is neither PEM nor DER\n"),
        ("b.pem", f" identity_key: {folder}/b.pem: no private key in PEM or DER\n"),
    )
    for key, words in wrongs:
        pair = {"identity_certificate": str(folder / "a.pem"), "identity_key": str(folder / key)}
        for arguments in ((), ("--once",)) if key == "b.key" else (("--dry-run",),):
            done = agent.run(*arguments, **pair)
            assert done.returncode == 2 and words in done.stderr, done.stderr
            assert "Error" not in done.stderr
    factory = {key.replace("identity", "factory"): str(folder / "junk") for key in pair}
    done = agent.run("--once", **factory)
    assert done.returncode == 2 and "factory_certificate: " in done.stderr
    # It is of no matter once there is one.
    assert agent.run("--once").returncode == 0
    assert agent.run("--once", **pair).returncode == 0


@once
def test_a_card_in_another_board(agent: LinuxAgent) -> None:
    assert agent.run("--once").returncode == 0
    from mpest.sim import cpython

    cpython.install()
    from est import posix, store

    records = store.Store(str(agent.state))
    (kept,) = store.unpack(records.load("agent"))
    number = kept["hardware"]
    kept["hardware"] = "10000000abcdef01"
    records.save("agent", store.pack(kept))
    posix.close(str(agent.state))
    agent.config["subject"] = "CN=board-{id}"
    done = agent.run("--once")
    assert done.returncode == 0
    assert f"CN=board-{number}" in agent.run("status").stdout
    assert "hardware: this card, or its copy, was in board 10000000abcdef01 before" in done.stderr
    # Some years on.
    records = store.Store(str(agent.state))
    meta, *items = store.unpack(records.load("identity"))
    meta["not_after"] = meta["not_before"] + 1
    records.save("identity", store.pack(meta, *items))
    status = agent.run("status")
    assert status.returncode == 5 and "has ENDED" in status.stdout


@each
def test_an_upgrade_under_it(agent: LinuxAgent) -> None:
    """Replaced files start it again under the same number, once nothing of them changes."""
    agent.checkout = agent.folder / "checkout"
    for name in ("firmware", "host_tools"):
        shutil.copytree(
            Path(__file__).parents[2] / name,
            agent.checkout / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    with agent.running() as daemon:
        daemon.says("renewed: generation=1")
        source = agent.checkout / "firmware" / "estd" / "run.py"
        new = source.with_name("new")
        new.write_text(source.read_text().replace('"certificate until "', '"valid until "'))
        new.replace(source)
        # It looks before its next step, whatever wakes it.
        asked = agent.run("renew", "--now")
        assert asked.returncode == 5 and "est was replaced: ask again" in asked.stderr
        daemon.says("est was replaced: the agent starts again")
        end = time.monotonic() + 60
        while agent.status()["agent"] != "running":
            assert time.monotonic() < end and daemon.process.poll() is None
            time.sleep(0.5)
        assert agent.run("renew", "--now").returncode == 0


@pytest.mark.parametrize("runtime", [WITHOUT_FFI], indirect=True)
def test_without_ffi(agent: LinuxAgent) -> None:
    """Programs of the system do what the C library does else; what docs/linux.md says is less."""
    agent.config["hooks"] = {"on_renewed": ["true"], "log": str(agent.hook_log)}
    with agent.running() as daemon:
        daemon.says("hook: renewed: done")
        assert agent.state.stat().st_mode & 0o777 == 0o700
        assert (agent.export / "key.pem").stat().st_mode & 0o777 == 0o640
        second = agent.run("--once")
        assert second.returncode == 7 and "an agent runs in" in second.stderr
        assert agent.run("renew", "--now").returncode == 0
        assert agent.status()["certificate"]["generation"] == 2
        # It ends, for its supervisor to start it.
        daemon.hang_up()
        assert daemon.process.wait(60) == -signal.SIGHUP


@once
def test_a_state_that_is_removed_under_it(agent: LinuxAgent) -> None:
    """It begins anew at its next step, and beside no other agent."""
    agent.config["hooks"] = {"on_renewed": "false"}
    with agent.running() as daemon:
        daemon.says("again in 10 s")
        shutil.rmtree(agent.state)
        daemon.says("the state was replaced: the agent starts again")
        daemon.says("again in 10 s", 2)
        shutil.rmtree(agent.state)
        with agent.running() as other:
            other.says("renewed: generation=1")
            assert daemon.process.wait(60) == 7


@each
def test_a_network_that_returns(agent: LinuxAgent) -> None:
    """It is tried at once, and not only when the back-off is over."""
    if os.geteuid() or not (shutil.which("unshare") and shutil.which("ip")):
        pytest.skip("needs root, unshare and ip")
    # A name would be looked up first.
    with agent.running("unshare", "--net", url="https://127.0.0.1:8443") as daemon:
        daemon.says("cannot reach 127.0.0.1 port 8443")
        failed = time.monotonic()
        # What is told before it sleeps comes before it listens.
        time.sleep(1)
        in_network = ["nsenter", "--net", "--target", str(daemon.process.pid)]
        subprocess.run([*in_network, "ip", "link", "set", "lo", "up"], check=True)
        daemon.says("cannot reach 127.0.0.1 port 8443", 2)
        assert time.monotonic() - failed < _FIRST_RETRY


@once
def test_trust_anchors(agent: LinuxAgent) -> None:
    """They are exported; damage to their record takes nothing away."""
    told = agent.folder / "told"
    words = ["sh", "-c", f"echo $MPEST_EVENT >>{told}"]
    agent.config["hooks"] = {"on_renewed": words, "on_trust": words}
    agent.config["export"]["anchors"] = "ca.pem"
    assert agent.run("--once").returncode == 0
    anchors = (agent.export / "ca.pem").read_bytes()
    assert told.read_text() == "renewed\n"
    kept = {path: path.read_bytes() for path in agent.state.glob("anchors.*")}
    for path in kept:
        path.write_bytes(b"EST2" + bytes(100))
    assert agent.run("--once").returncode == 0
    assert (agent.export / "ca.pem").read_bytes() == anchors
    assert told.read_text() == "renewed\n"
    for path, octets in kept.items():
        path.write_bytes(octets)
    (agent.export / "ca.pem").resolve().write_bytes(b"")
    assert agent.run("--once").returncode == 0
    assert (agent.export / "ca.pem").read_bytes() == anchors


def test_a_key_is_on_no_medium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython's ssl reads keys from files, which are in memory alone."""
    from mpest.sim import cpython

    cpython.install()
    import tls

    from est import pem

    def refused(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a file for a key")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refused)
    monkeypatch.setattr("tempfile.mkstemp", refused)
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", "/CN=a", "-keyout", key, "-out", cert),
    )
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    (certificate,) = pem.decode(cert.read_text(), "CERTIFICATE")
    (private,) = pem.decode(key.read_text(), "PRIVATE KEY")
    for _ in range(2):
        context.load_cert_chain(certificate, private)
