"""curl carries what OpenSSL makes to the test server, and OpenSSL reads the answers."""

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import pytest

from mpest.server import CsrAttrsPolicy, EstServer, ServerConfig, running_server

USER, PASSWORD, TOKEN = "board", "a password", "a token"


@dataclass
class Answer:
    status: int
    content_type: str
    body: bytes


class Client:
    """Somebody with curl and openssl, and files in `folder`."""

    def __init__(self, server: EstServer, folder: Path, openssl: Callable[..., str]) -> None:
        self.server = server
        self.folder = folder
        self.openssl = openssl

    def file(self, name: str) -> Path:
        return self.folder / name

    def ask(self, operation: str, request: Path | None = None, **settings: str) -> Answer:
        """POST `request`, or GET; `settings` are curl's long options, without value where ""."""
        url = operation if "://" in operation else f"{self.server.url}/{operation}"
        body, head = self.file("answer"), self.file("head")
        lines = [f"url = {url}", f"cacert = {self.server.ca_pem}", "silent", "show-error"]
        lines += [f"output = {body}", f"dump-header = {head}", "max-time = 100"]
        if request:
            lines += ['header = "Content-Type: application/pkcs10"']
            lines += ['header = "Content-Transfer-Encoding: base64"', f"data-binary = @{request}"]
        lines += [f'{name} = "{value}"' if value else name for name, value in settings.items()]
        body.write_bytes(b"")
        subprocess.run(["curl", "-K", "-"], input="\n".join(lines), text=True, check=True)
        # The last head: others are of challenges, or 100 Continue.
        last = head.read_text().strip().split("\n\n")[-1]
        status = int(last.split()[1])
        found = re.search(r"^content-type: (.*)$", last, re.MULTILINE | re.IGNORECASE)
        return Answer(status, found[1].strip() if found else "", body.read_bytes())

    def request(self, name: str = "board-1", subject: str = "/CN=board-1") -> Path:
        """A new key in NAME.key and a request for it in NAME.csr, base64 as EST wants it."""
        key, der, text = (self.file(f"{name}.{end}") for end in ("key", "der", "csr"))
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        self.openssl(
            *("req", "-new", "-key", key, "-subj", subject, "-sha256"),
            *("-outform", "DER", "-out", der),
        )
        self.openssl("base64", "-in", der, "-out", text)
        return text

    def certificate(self, answer: Answer, name: str = "board-1") -> Path:
        """The one certificate in an answer, as NAME.pem."""
        assert answer.status == 200, answer
        assert answer.content_type == "application/pkcs7-mime; smime-type=certs-only"
        return self.unpack(answer.body, name)

    def unpack(self, text: bytes, name: str) -> Path:
        """The certificates in the base64 of a PKCS#7, as NAME.pem."""
        pkcs7, pem = self.file(name + ".p7"), self.file(name + ".pem")
        pkcs7.write_bytes(base64.b64decode(text))
        self.openssl(
            "pkcs7", "-inform", "DER", "-in", pkcs7, "-print_certs", "-out", pem, "-outform", "PEM"
        )
        return pem

    def identity(self, name: str = "board-1") -> dict[str, str]:
        """Settings by which curl shows NAME.pem."""
        return {"cert": str(self.file(name + ".pem")), "key": str(self.file(name + ".key"))}


@pytest.fixture
def client(
    request: pytest.FixtureRequest, tmp_path: Path, openssl: Callable[..., str]
) -> Iterator[Client]:
    """A client beside a server whose settings are the parameter."""
    if not shutil.which("curl") and os.environ.get("CI") != "true":
        pytest.skip("needs curl")
    settings = {
        "users": {USER: PASSWORD},
        "tokens": {TOKEN},
        "auth": "basic",
        **getattr(request, "param", {}),
    }
    config = ServerConfig(directory=tmp_path / "server", port=0, **settings)
    with running_server(config) as server:
        yield Client(server, tmp_path, openssl)


LOGIN = {"user": f"{USER}:{PASSWORD}"}


def enroll(client: Client, **settings: str) -> Path:
    return client.certificate(client.ask("simpleenroll", client.request(), **settings))


@pytest.mark.parametrize("client", [{"wrap": 64}, {"wrap": 0}], indirect=True)
def test_cacerts(client: Client) -> None:
    """Wrapped and unwrapped."""
    answer = client.ask("cacerts")
    assert (answer.status, answer.content_type) == (200, "application/pkcs7-mime")
    assert (b"\n" in answer.body) == bool(client.server.config.wrap)
    found = client.unpack(answer.body, "anchors")
    assert client.server.ca_pem.read_text().strip() in found.read_text()


def test_no_csrattrs(client: Client) -> None:
    answer = client.ask("csrattrs")
    assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize(
    "client", [{"csrattrs": CsrAttrsPolicy(key="P-384", challenge_password=True)}], indirect=True
)
def test_csrattrs(client: Client) -> None:
    answer = client.ask("csrattrs")
    assert (answer.status, answer.content_type) == (200, "application/csrattrs")
    der = client.file("csrattrs")
    der.write_bytes(base64.b64decode(answer.body))
    shown = client.openssl("asn1parse", "-inform", "DER", "-in", der)
    for name in ("id-ecPublicKey", "secp384r1", "challengePassword"):
        assert name in shown


@pytest.mark.parametrize(
    ("client", "settings", "wrong"),
    [
        ({"auth": "basic"}, LOGIN, LOGIN | {"user": f"{USER}:wrong"}),
        ({"auth": "digest"}, LOGIN | {"digest": ""}, LOGIN),
        (
            {"auth": "token"},
            {"header": f"Authorization: Bearer {TOKEN}"},
            {"header": "Authorization: Bearer wrong"},
        ),
    ],
    ids=["basic", "digest", "token"],
    indirect=["client"],
)
def test_simpleenroll(
    client: Client, settings: dict[str, str], wrong: dict[str, str], check_pair: Callable
) -> None:
    request = client.request()
    for refused in (
        client.ask("simpleenroll", request),
        client.ask("simpleenroll", request, **wrong),
    ):
        assert refused.status == 401
    assert not client.server.issued()
    check_pair(client.server.ca_pem, enroll(client, **settings), client.file("board-1.key"))


@pytest.mark.parametrize("client", [{"auth": "mtls"}], indirect=True)
def test_simpleenroll_with_a_certificate(client: Client, check_pair: Callable) -> None:
    assert client.ask("simpleenroll", client.request()).status == 403
    certificate, key = client.server.new_identity("made-in-a-factory")
    client.file("factory.pem").write_bytes(certificate)
    client.file("factory.key").write_bytes(key)
    found = enroll(client, **client.identity("factory"))
    check_pair(client.server.ca_pem, found, client.file("board-1.key"))


def test_simplereenroll(client: Client, check_pair: Callable) -> None:
    enroll(client, **LOGIN)
    request = client.request("renewed")
    assert client.ask("simplereenroll", request, **LOGIN).status == 403, "no certificate shown"
    other = client.request("other", "/CN=board-2")
    assert client.ask("simplereenroll", other, **client.identity()).status == 400, "other name"
    answer = client.ask("simplereenroll", request, **client.identity())
    check_pair(
        client.server.ca_pem, client.certificate(answer, "renewed"), client.file("renewed.key")
    )
    assert len(client.server.issued()) == 2


def test_a_revoked_certificate_is_refused(client: Client) -> None:
    """By the server, and by OpenSSL with the list that the server publishes."""
    found = enroll(client, **LOGIN)
    client.server.revoke(int(client.server.issued()[0].serial, 16))
    answer = client.ask("simplereenroll", client.request("renewed"), **client.identity())
    assert answer.status == 403
    assert b"revoked" in answer.body
    crl = client.ask(f"{client.server.origin}/crl")
    assert (crl.status, crl.content_type) == (200, "application/pkix-crl")
    client.file("crl.der").write_bytes(crl.body)
    ca, pem = client.server.ca_pem, client.file("crl.pem")
    client.openssl("crl", "-inform", "DER", "-in", client.file("crl.der"), "-out", pem)
    client.openssl("verify", "-CAfile", ca, found)
    with pytest.raises(AssertionError, match="certificate revoked"):
        client.openssl("verify", "-crl_check", "-CRLfile", pem, "-CAfile", ca, found)


@pytest.mark.parametrize("client", [{"label": "sensors"}], indirect=True)
def test_label(client: Client, check_pair: Callable) -> None:
    assert client.server.url.endswith("/.well-known/est/sensors")
    check_pair(client.server.ca_pem, enroll(client, **LOGIN), client.file("board-1.key"))
    for elsewhere in ("", "/others"):
        base = f"{client.server.origin}/.well-known/est{elsewhere}"
        assert client.ask(f"{base}/simpleenroll", client.request(), **LOGIN).status == 404


@pytest.mark.parametrize("client", [{"wrap": 64}, {"wrap": 0}], indirect=True)
def test_serverkeygen(client: Client, check_pair: Callable) -> None:
    answer = client.ask("serverkeygen", client.request(), **LOGIN)
    assert answer.status == 200
    head = f"Content-Type: {answer.content_type}\r\n\r\n".encode()
    parts = {
        part.get_content_type(): part.get_payload(decode=True)
        for part in message_from_bytes(head + answer.body).get_payload()
    }
    assert set(parts) == {"application/pkcs8", "application/pkcs7-mime"}
    client.file("generated.der").write_bytes(parts["application/pkcs8"])
    client.openssl(
        *("pkey", "-inform", "DER", "-in", client.file("generated.der")),
        *("-out", client.file("generated.key")),
    )
    certificate = client.unpack(base64.b64encode(parts["application/pkcs7-mime"]), "generated")
    check_pair(client.server.ca_pem, certificate, client.file("generated.key"))


def test_requests_as_people_send_them(client: Client, check_pair: Callable) -> None:
    """One line, no line end, or other white space: all base64 (RFC 8951 3.1)."""
    text = client.request().read_text()
    for changed in (text.replace("\n", ""), text.replace("\n", "\r\n"), f"\n\n {text}\t\n"):
        client.file("changed").write_text(changed)
        answer = client.ask("simpleenroll", client.file("changed"), **LOGIN)
        check_pair(client.server.ca_pem, client.certificate(answer), client.file("board-1.key"))
