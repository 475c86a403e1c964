"""`mpest serve` as people and scripts start it."""

import base64
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager

import pytest
from click.testing import CliRunner
from server_client import write

from mpest.cli import main
from mpest.server import CsrAttrsPolicy, ServerConfig, running_server
from mpest.server.faults import DESCRIPTIONS, NEEDS

MPEST = [sys.executable, "-c", "from mpest.cli import main; main()", "serve"]


@contextmanager
def serving(*arguments):
    """A process, and its first event; stopped by SIGTERM."""
    process = subprocess.Popen(
        [*MPEST, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_events_and_a_clean_end(tmp_path, number):
    directory = tmp_path / "ca"
    with serving("--dir", directory, "--port", "0", "--json") as (process, first):
        assert first["event"] == "listening"
        assert first["ca"] == str(directory / "ca.pem")
        assert first["url"] == f"https://127.0.0.1:{first['port']}/.well-known/est"
        assert len(bytes.fromhex(first["fingerprint"])) == 32
        context = ssl.create_default_context(cafile=first["ca"])
        with urllib.request.urlopen(f"{first['url']}/cacerts", context=context) as answer:
            size = len(answer.read())
        event = json.loads(process.stdout.readline())
        assert event.pop("id") == answer.headers["X-Request-ID"]
        assert 0 <= event.pop("seconds") < 60
        assert event == {
            "event": "request",
            "method": "GET",
            "path": "/.well-known/est/cacerts",
            "operation": "cacerts",
            "status": 200,
            "reason": None,
            "tls": "TLSv1.3",
            "resumed": False,
            "client": None,
            "user": None,
            "issued": [],
            "revoked": [],
            "authorization": False,
            "bytes_in": 0,
            "bytes_out": size,
        }
        process.send_signal(number)
        assert process.wait(60) == 0
        people = process.stderr.read()
        assert people.endswith("Stopped.\n")
    assert first["fingerprint"] in people
    assert f"mpest simulate --url {first['url']} --trust {first['ca']}" in people


def test_as_many_connections_as_told(tmp_path):
    limits = ["--max-connections", "2", "--max-connections-per-address", "2"]
    with serving("--dir", tmp_path / "ca", "--port", "0", "--json", *limits) as (process, first):
        with ExitStack() as stack:
            for _ in range(3):
                tcp = socket.create_connection(("127.0.0.1", first["port"]), 60)
                stack.enter_context(tcp)
            assert tcp.recv(1) == b""
            event = json.loads(process.stdout.readline())
            assert event["reason"] == "refused, for too many connections of it are open"
        process.terminate()


def test_answers_under_way_are_finished(tmp_path):
    """SIGTERM ends what is idle at once, and what is under way once it is answered."""
    late = ["--fault", "late@cacerts"]
    with serving("--dir", tmp_path / "ca", "--port", "0", "--json", *late) as (process, first):
        context = ssl.create_default_context(cafile=first["ca"])
        with (
            socket.create_connection(("127.0.0.1", first["port"]), 60) as idle,
            socket.create_connection(("127.0.0.1", first["port"]), 60) as tcp,
            context.wrap_socket(tcp, server_hostname="127.0.0.1") as busy,
            context.wrap_socket(idle, server_hostname="127.0.0.1"),
        ):
            busy.sendall(b"GET /.well-known/est/cacerts HTTP/1.1\r\nHost: x\r\n\r\n")
            assert json.loads(process.stdout.readline())["status"] == 200
            process.terminate()
            answer = b""
            while piece := busy.recv(65536):
                answer += piece
        assert process.wait(60) == 0
        assert process.stderr.read().endswith("Stopped.\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert len(answer.partition(b"\r\n\r\n")[2]) > 500


def test_on_every_address(tmp_path):
    """It says which they are, and its certificate holds each."""
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        own.connect(("192.0.2.1", 9))  # sends nothing
    except OSError:
        pytest.skip("this machine has no network")
    address = own.getsockname()[0]
    own.close()
    arguments = ("--dir", tmp_path / "ca", "--port", "0", "--host", "0.0.0.0", "--json")
    with serving(*arguments) as (process, first):
        assert f"https://{address}:{first['port']}/.well-known/est" in first["urls"]
        context = ssl.create_default_context(cafile=first["ca"])
        for url in (first["url"], *first["urls"]):
            urllib.request.urlopen(f"{url}/cacerts", context=context).close()
        process.terminate()
        people = process.stderr.read()
    for url in first["urls"]:
        assert f"from other machines {url}\n" in people
        assert "127.0.0.1" not in url


def test_a_new_root_is_told_from_the_old(tmp_path):
    arguments = ("--dir", tmp_path / "ca", "--port", "0", "--json")
    with serving(*arguments) as (_, first):
        pass
    with serving(*arguments, "--rollover") as (process, second):
        process.terminate()
        people = process.stderr.read()
    assert second["fingerprint"] != first["fingerprint"]
    assert f"follows the one with SHA-256 {first['fingerprint']}" in people


def test_all_options_together(tmp_path):
    users = write(tmp_path / "users", "ann:se:cret\n\nbob:other\n")
    policy = write(tmp_path / "policy.json", '{"key": "P-384", "digest": "sha384"}')
    options = ["--json", "--port", "0", "--auth", "digest", "--host", "localhost"]
    options += ["--approve-after", "1.5", "--label", "acme", "--fault", "http-503@cacerts"]
    options += ["--fault", "close", "--fault-times", "1", "--no-wrap", "--lifetime", "12h"]
    options += ["--chain-length", "2", "--tls-max", "1.2", "--mtls-probe"]
    files = ["--dir", tmp_path / "ca", "--users", users, "--csrattrs", policy]
    with serving(*options, *files) as (process, first):
        assert first["url"].endswith("/.well-known/est/acme")
        assert first["probe_port"]
        context = ssl.create_default_context(cafile=first["ca"])
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{first['url']}/cacerts", context=context)
        caught.value.close()
        assert caught.value.code == 503
        with urllib.request.urlopen(f"{first['url']}/cacerts", context=context) as answer:
            assert b"\n" not in answer.read()
        with urllib.request.urlopen(f"{first['url']}/csrattrs", context=context) as answer:
            assert answer.status == 200
        assert json.loads(process.stdout.readline())["tls"] == "TLSv1.2"
        process.terminate()
        assert process.wait(60) == 0
        assert "se:cret" not in process.stderr.read()


def test_port_taken(tmp_path):
    with serving("--dir", tmp_path / "one", "--port", "0", "--json") as (_, first):
        done = subprocess.run(
            [*MPEST, "--dir", tmp_path / "two", "--port", str(first["port"])],
            capture_output=True,
            text=True,
        )
    assert done.returncode == 6
    port = first["port"]
    assert done.stderr == f"Error: can't listen on 127.0.0.1 port {port}: Address already in use\n"


@pytest.mark.parametrize("option", ["--mtls-probe", "--rollover"])
def test_one_server_in_a_folder(tmp_path, option):
    folder = tmp_path / "ca"

    def start(port):
        command = [*MPEST, "--dir", folder, "--port", port, option]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def kept():
        # The server's own reads move the marks in that one.
        paths = [path for path in folder.iterdir() if path.name != "est.db-shm"]
        return {path.name: path.read_bytes() for path in paths}

    with serving("--dir", folder, "--port", "0", "--json") as (process, first):
        before = kept()
        for port in ("0", str(first["port"])):
            done = start(port)
            assert done.returncode == 7
            assert done.stderr == (
                f"Error: another server uses {folder}; stop it or use another --dir\n"
            )
        assert kept() == before
        context = ssl.create_default_context(cafile=first["ca"])
        with urllib.request.urlopen(f"{first['url']}/cacerts", context=context) as answer:
            assert answer.status == 200
        process.kill()  # nothing is left that bars the next
        process.wait(60)
    with serving("--dir", folder, "--port", "0", "--json") as (_, second):
        assert second["fingerprint"] == first["fingerprint"]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--fault", "nonsense"], 2, "unknown fault 'nonsense'"),
        (["--fault", "close@lunch"], 2, "unknown operation 'lunch' in fault 'close@lunch'"),
        (["--fault", "tls-expired@cacerts"], 2, "leave out @cacerts"),
        (
            ["--fault", "http-500", "--fault", "http-503"],
            2,
            "Error: faults: http-500 and http-503 can't be combined",
        ),
        (["--auth", "basic"], 2, "--auth basic needs --users FILE"),
        (["--auth", "token"], 2, "--auth token needs --token-file FILE"),
        (["--auth", "basic", "--users", "missing"], 2, "can't read missing: No such file"),
        (["--auth", "basic", "--users", "bad-users"], 2, "entry 2 is not name:password"),
        (
            ["--csrattrs", "bad-policy"],
            2,
            'bad-policy: key: found "P-1", allowed is ',
        ),
        (["--csrattrs", "bad-users"], 2, "bad-users is neither TOML nor JSON"),
        (
            ["--serverkeygen", "bad-policy"],
            2,
            "bad-policy: key: no such entry, known are ",
        ),
        (["--serverkeygen", "bad-key"], 2, "bad-key: secrets: an AES key has 16 or 32 bytes"),
        (["--users", "good-users"], 2, "--users needs --auth basic or digest"),
        (["--auth", "token", "--token-file", "empty"], 2, "empty holds no token: it takes one a"),
        (["--auth", "basic", "--users", "empty"], 2, "empty names no user: it takes lines of"),
        (["--token-file", "bad-users"], 2, "--token-file needs --auth token"),
        (["--factory-ca", "bad-users"], 2, "--factory-ca needs --auth mtls"),
        (["--auth", "mtls", "--factory-ca", "bad-users"], 2, "holds no certificate in PEM"),
        (["--auth", "mtls", "--factory-ca", "."], 2, "can't read .: Is a directory"),
        (["--enforce-csrattrs"], 2, "--enforce-csrattrs needs --csrattrs FILE"),
        (["--host", "b\xfccher.example"], 2, "host: an address or a host name in ASCII"),
        (["--host", ""], 2, "host: an address or a host name in ASCII"),
        (["--host", "a..b"], 2, "a..b is no host name"),
        (["--label", "a/b"], 2, "label: a word without / ? # % is expected"),
        (["--label", "simpleenroll"], 2, "is the name of an operation"),
        (["--fault-times", "3"], 2, "--fault-times needs --fault NAME"),
        (["--dir", "bad-users/ca"], 7, "can't use bad-users/ca: Not a directory"),
        (["--dir", "bad-ca"], 7, "ca.pem is missing"),
    ],
)
def test_wrong_use_is_one_line_and_a_code(tmp_path, monkeypatch, arguments, code, line):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "bad-users", "ann:geheim\ngeheim2\n")
    write(tmp_path / "good-users", "ann:geheim\n")
    write(tmp_path / "empty", "\n\n")
    write(tmp_path / "bad-policy", '{"key": "P-1"}')
    write(tmp_path / "bad-key", 'secrets = { 00 = "geheim" }')
    (tmp_path / "bad-ca").mkdir()
    write(tmp_path / "bad-ca" / "ca.key", "junk")
    done = CliRunner().invoke(main, ["serve", "--dir", "ca", "--port", "0", *arguments])
    assert done.exit_code == code
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert "geheim" not in done.stderr


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        ('oids = ["1.2.three"]', "oids[0]: '1.2.three' is no OID such as 2.5.29.15"),
        ("oids = 5", "oids: found 5, allowed is a list"),
        ("oids = [5]", "oids[0]: found 5, allowed is text in quotes"),
        ('key = "P-521"', """key: found "P-521", allowed is 'P-256', 'P-384', 'RSA-2048', """),
        ('challenge_password = "so"', 'challenge_password: found "so", allowed is true or false'),
        (
            'extension_request = ["name"]',
            "extension_request[0]: 'name' is none of subject",
        ),
        ("extension_request = [true]", "extension_request[0]: found true, a name, an OID or a "),
        ("[[extension_request]]", "extension_request[0].oid: is missing"),
        (
            '[[extension_request]]\noid = "keyUsage"\ncritical = 2',
            "extension_request[0].critical: found 2, allowed is true or false",
        ),
        (
            '[[extension_request]]\noid = "keyUsage"\nvalue = "="',
            'extension_request[0].value: found "=", base64 is expected',
        ),
        (
            '[[extension_request]]\noid = "keyUsage"\nvalues = ["a"]',
            "extension_request[0]: 'a' is none of digitalSignature ",
        ),
        (
            '[[extension_request]]\noid = "keyUsage"\nname = 1',
            "extension_request[0].name: no such entry, known are critical, oid, value, values",
        ),
        ('subject = ["CN"]', "a subject can be asked for with style template or both only"),
        (
            'extension_request = [{ oid = "subjectAltName", values = ["DNS:b\xfccher.example"] }]',
            "'DNS:b\xfccher.example' is not ASCII: a host name begins with xn-- then",
        ),
        ("surprise = 1", "surprise: no such entry, known are challenge_password, digest, "),
        (f'raw_der_base64 = "{"-" * 999}"', f'raw_der_base64: found "{"-" * 59}..., base64 '),
        ('{"oids": null}', "oids: found null, allowed is a list"),
        ('{"oids": ', "policy is neither TOML nor JSON: "),
    ],
)
def test_wrong_policy_in_plain_words(tmp_path, monkeypatch, policy, line):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "policy", policy)
    command = ["serve", "--dir", "ca", "--port", "0", "--csrattrs", "policy"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert line in done.stderr
    assert done.stderr.startswith("Error: policy")
    assert done.stderr.count("\n") == 1
    assert not re.search("should|a valid |Field|input|type=", done.stderr)


@pytest.mark.parametrize("name", ["secrets", "psk", "public_keys", "secret", "cipher"])
def test_wrong_secrets_are_not_shown(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    table = name in ("secrets", "public_keys")
    write(tmp_path / "policy", f"{name} = " + ('{ "ge-heim" = "00" }' if table else '"ge-heim"'))
    command = ["serve", "--dir", "ca", "--port", "0", "--serverkeygen", "policy"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: policy: {name}: ")
    assert "heim" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--lifetime", "soon"],
        ["--lifetime", "99999999d"],
        ["--fault-times", "0"],
        ["--port", "99999"],
        ["--auth", "magic"],
        ["--wat"],
    ],
)
def test_wrong_options_are_code_2(tmp_path, arguments):
    done = CliRunner().invoke(main, ["serve", "--dir", "ca", "--port", "0", *arguments])
    assert done.exit_code == 2


def test_a_lifetime_without_a_unit_is_refused():
    done = CliRunner().invoke(main, ["serve", "--dir", "ca", "--port", "0", "--lifetime", "90"])
    assert done.exit_code == 2
    assert "90 has no unit: 90d are days" in done.stderr


def test_fault_help_lists_every_fault():
    done = CliRunner().invoke(main, ["serve", "--dir", "x", "--port", "0", "--fault", "help"])
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == sorted(DESCRIPTIONS)
    assert set(NEEDS) <= set(DESCRIPTIONS)
    for name, needed in NEEDS.items():
        assert f"(needs {needed})" in re.search(f"^{name} .*", done.stdout, re.MULTILINE)[0]


def test_a_fault_does_nothing_without_what_it_needs(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", faults={"csrattrs-malformed"})
    with running_server(config) as server:
        context = ssl.create_default_context(cafile=server.ca_pem)

        def answer():
            with urllib.request.urlopen(f"{server.url}/csrattrs", context=context) as reply:
                return base64.b64decode(reply.read())

        assert answer() == b"\x30\x00"
        server.config.csrattrs = CsrAttrsPolicy()
        der = answer()
        assert der[1] > len(der) - 2
