"""Policy files: what patterns fit, what is wrong with a file, and that `mpest serve` heeds it."""

import base64
import contextlib
import json
import re
import ssl
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from documents import block
from hypothesis import given
from hypothesis import strategies as st
from server_client import PKCS10, body_of, make_csr, write

from mpest.cli import main
from mpest.server.patterns import check_alternative, fits, same_alternative
from mpest.server.policy import Policy
from mpest.server.principals import Principal


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_name_stands_for_itself_alone(name: str, other: str) -> None:
    words = {"user": name}
    assert fits("{user}", name, words)
    assert fits("a-{user}-b", f"a-{name}-b", words)
    assert fits("{user}", other, words) == (name == other)
    assert not fits("{user}", name + other, words)
    assert not fits("{serialNumber}", name, words)


@given(st.text())
def test_a_pattern_without_signs_is_literal(text: str) -> None:
    literal = re.sub(r"[*{}]", "", text)
    assert fits(literal, literal)
    assert fits(literal, text) == (literal == text)


@pytest.mark.parametrize(
    ("pattern", "text", "same"),
    [
        ("*", "a", True),
        ("*", "", False),
        ("a*", "a", False),
        ("a*a", "aa", False),
        ("a*a", "aaa", True),
        ("*a*", "bab", True),
        ("*a*", "ab", False),
        ("*-*b", "a-b-b", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("**", "a", False),
        ("**", "ab", True),
        ("*-*-*-*-*-*-*-*x", "-" * 1000, False),
        ("*a*a*a*a*a*a*a*ab", "a" * 1000, False),
    ],
)
def test_signs(pattern: str, text: str, same: bool) -> None:
    assert fits(pattern, text) == same


@given(st.text("ab*", max_size=6), st.text("ab", max_size=8))
def test_signs_are_tried_in_all_ways(pattern: str, text: str) -> None:
    wanted = re.fullmatch(pattern.replace("*", ".+"), text) is not None
    assert fits(pattern, text) == wanted


@pytest.mark.parametrize(
    ("pattern", "name", "same"),
    [
        ("DNS:*.a.example", "b.a.example", True),
        ("DNS:*.a.example", "c.b.a.example", False),
        ("DNS:*.a.example", ".a.example", False),
        ("DNS:*.a.example", "a.example", False),
        ("DNS:*.A.example", "B.a.EXAMPLE", True),
        ("DNS:{user}.example", "Ann.example", True),
        ("DNS:a.example", "axexample", False),
        ("DNS:a.example", "a.example\n", False),
        ("URI:a.example", "a.example", False),
    ],
)
def test_host_names(pattern: str, name: str, same: bool) -> None:
    assert same_alternative(pattern, x509.DNSName(name), {"user": "ann"}) == same


RULE = '[[rule]]\nusers = "a"\n'


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        ("[[rule]]", "rule[0]: a rule names users, tokens or factory"),
        ("[rule]", "rule: found a table, allowed is a list"),
        ("rule = 1", "rule: found 1, allowed is a list"),
        ('rules = "x"', "rules: no such entry, known are reserved, rule"),
        (f"{RULE}san = 5", "rule[0].san: found 5, allowed is a list"),
        (f"{RULE}user = 5", "rule[0].user: no such entry, known are eku, factory, "),
        (f'{RULE}subject = "x"', "'x' is no subject such as CN=device-1,O=Example"),
        (f'{RULE}subject = "C={{user}}"', "'C={user}' is no subject such as"),
        (f'{RULE}subject = ""', "a subject is expected, such as CN={user}"),
        (f'{RULE}subject = "CN={{name}}"', "{name} is none of {user} {serialNumber} {CN}"),
        (f'{RULE}san = "a.example"', "'a.example' begins with none of DNS: IP: URI: email:"),
        (f'{RULE}san = "IP:10.0.0.1/8"', "10.0.0.1/8 is no address and no network such as"),
        (f'{RULE}eku = "codeSigning"', "found \"codeSigning\", allowed is 'clientAuth', "),
        (f'{RULE}key_usage = "keyCertSign"', 'found "keyCertSign", allowed is \'digital'),
        (f"{RULE}eku = []", "eku names no purpose: leave it out for clientAuth"),
        (
            f'{RULE}key_types = "P-1"',
            'found "P-1", P-256, P-384, RSA-2048 or the like is expected',
        ),
        (f'{RULE}lifetime = "90"', "90 has no unit: 90d are days; or h, m, s"),
        (f"{RULE}lifetime = 90", "90 has no unit: 90d are days; or h, m, s"),
        (f'{RULE}role = "boss"', "found \"boss\", allowed is 'holder' or 'ra'"),
        (f'{RULE}role = "ra"', "an ra needs the subjects that it may bring, as subject"),
        (f"{RULE}limit = 5", "limit is for role ra"),
        (f"{RULE}limit = 0", "limit: found 0, allowed is 1 or more"),
        (f'{RULE}until = "soon"', 'found "soon", a date such as 2027-12-31 is expected'),
        (f"{RULE}until = 5", "until: found 5, a date such as 2027-12-31 is expected"),
        ('[[rule]]\nfactory = "sha256:12"', "'sha256:12' is no subject such as"),
        ('{"rule": ', "policy is neither TOML nor JSON: "),
    ],
)
def test_wrong_policy_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "policy", policy)
    write(tmp_path / "users", "ann:secret\n")
    command = ["serve", "--dir", "ca", "--port", "0", "--auth", "basic", "--users", "users"]
    done = CliRunner().invoke(main, [*command, "--policy", "policy"])
    assert done.exit_code == 2, done.stderr
    assert line in done.stderr
    assert done.stderr.startswith("Error: policy")
    assert done.stderr.count("\n") == 1
    assert not re.search("should|a valid |Field|Input|type=", done.stderr)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--policy", "policy"], "--policy says who may have what, --auth none that everybody"),
        (
            ["--policy", "policy", "--auth", "mtls", "--open"],
            "--policy says who may have what, --open that everybody may: leave one out",
        ),
        (["--policy", "missing", "--auth", "mtls"], "can't read missing: No such file"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], line: str) -> None:
    done = CliRunner().invoke(main, ["serve", "--dir", "ca", "--port", "0", *options])
    assert (done.exit_code, line in done.stderr) == (2, True), done.stderr
    assert done.stderr.count("\n") == 1


@contextlib.contextmanager
def serving(*arguments: object) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """`mpest serve`: its first event, and its lines for people once it has ended."""
    command = [sys.executable, "-c", "from mpest.cli import main; main()", "serve", "--json"]
    process = subprocess.Popen(
        [*command, "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    people: list[str] = []
    assert process.stdout
    try:
        yield json.loads(process.stdout.readline()), people
    finally:
        process.terminate()
        people += process.communicate(timeout=60)[1].splitlines()


@pytest.mark.parametrize(
    ("options", "subjects"),
    [
        ([], {"CN=ann": 200, "CN=bob": 403, "CN=localhost": 403}),
        (["--open"], {"CN=ann": 200, "CN=bob": 200, "CN=localhost": 403}),
        (["--policy", "policy"], {"CN=ann": 403, "CN=ann,O=Example": 200, "CN=localhost": 403}),
    ],
)
def test_serve(tmp_path: Path, options: list[str], subjects: dict[str, int]) -> None:
    users = write(tmp_path / "users", "ann:secret\n")
    policy = write(tmp_path / "policy", '[[rule]]\nusers = "*"\nsubject = "CN={user},O=Example"')
    options = [str(policy) if one == "policy" else one for one in options]
    login = "Basic " + base64.b64encode(b"ann:secret").decode()
    found = {}
    arguments = ("--dir", tmp_path / "ca", "--auth", "basic", "--users", users, *options)
    with serving(*arguments) as (first, people):
        context = ssl.create_default_context(cafile=first["ca"])
        for subject in subjects:
            request = urllib.request.Request(
                f"{first['url']}/simpleenroll",
                body_of(make_csr(subject)),
                PKCS10 | {"Authorization": login},
            )
            try:
                with urllib.request.urlopen(request, context=context) as answer:
                    found[subject] = answer.status
            except urllib.error.HTTPError as error:
                found[subject] = error.code
                error.close()
    assert found == subjects
    warned = "Open: whoever is let in may have any name but the server's and the CA's." in people
    assert warned == (options == ["--open"])


def hardware(kind: bytes, number: bytes, oid: str = "1.3.6.1.5.5.7.8.4") -> x509.OtherName:
    content = b"\x06" + bytes((len(kind),)) + kind + b"\x04" + bytes((len(number),)) + number
    whole = b"\x30" + bytes((len(content),)) + content
    return x509.OtherName(x509.ObjectIdentifier(oid), whole)


def test_names_of_hardware() -> None:
    """Of birth certificates (IEEE 802.1AR 8.6): its type, and a pattern of its number."""
    kind = bytes.fromhex("2b0601040181fd5901")  # 1.3.6.1.4.1.32473.1
    pattern = "HW:1.3.6.1.4.1.32473.1:A*"
    assert same_alternative(pattern, hardware(kind, b"A17"), {})
    assert same_alternative("HW:1.3.6.1.4.1.32473.1:{CN}", hardware(kind, b"7"), {"CN": "7"})
    deep = b"\x30\x80" * 20_000
    for other in (
        hardware(kind, b"B17"),
        hardware(kind, b"A"),
        hardware(kind[:-1] + b"\x02", b"A17"),
        hardware(kind, b"A17", "1.3.6.1.4.1.311.20.2.3"),
        hardware(kind, b"A\xff"),
        hardware(kind, b"A\n"),
        x509.OtherName(hardware(kind, b"").type_id, hardware(kind, b"A17").value + b"\0"),
        x509.OtherName(hardware(kind, b"").type_id, b"\x0c\x03A17"),
        x509.OtherName(hardware(kind, b"").type_id, deep),
        x509.DNSName("A17"),
    ):
        assert not same_alternative(pattern, other, {}), other
    for wrong in ("HW:A*", "HW:1.3", "HW:1.3.*:A", "HW:1.3:"):
        with pytest.raises(ValueError, match="hardware type and number"):
            check_alternative(wrong)


def test_the_rule_for_birth_certificates() -> None:
    """Of docs/factory.md."""
    rules = tomllib.loads(block("docs/factory.md", '"HW:'))
    [rule] = Policy.model_validate(rules).rule
    assert rule.role == "ra" and rule.san[0].startswith("HW:")


def test_the_rule_for_the_job_of_the_document() -> None:
    """Of docs/factory.md: it allows what the dry run there shows."""
    rules = tomllib.loads(block("docs/factory.md", '"CN=A*,O=*"'))
    shown = block("docs/factory.md", "certified by https")
    subjects = re.findall(r"(?m)^  subject   (.*)$", shown)
    assert len(subjects) == 2
    policy = Policy.model_validate(rules)
    station = Principal("user:station-1", "station-1", {"user": "station-1"})
    for subject in subjects:
        *before, last = re.split(r"(?<!\\),", subject)
        name = x509.Name.from_rfc4514_string(",".join([last, *before]))
        assert policy.may_bring(station, name, datetime.now(UTC)), subject
