"""The station as a client of an EST server: its credentials, and what the server says."""

from datetime import UTC, datetime
from pathlib import Path

import ports
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs7,
)
from server_client import make_csr

from mpest.exits import CliError
from mpest.server import CsrAttrsPolicy, ServerConfig, running_server
from mpest.station.authority import Authority, Later, Refused, Unreachable, Untrusted

CSR = make_csr("CN=board-1").public_bytes(Encoding.DER)


@pytest.mark.parametrize("form", ["file", "fingerprint"])
def test_it_brings_a_request(tmp_path: Path, form: str) -> None:
    config = ServerConfig(directory=tmp_path, csrattrs=CsrAttrsPolicy(key="P-384"))
    with running_server(config) as server:
        trust = str(server.ca_pem) if form == "file" else f"sha256:{server.fingerprint}"
        authority = Authority(server.url, trust)
        answer = authority.enroll(CSR)
        issued = pkcs7.load_der_pkcs7_certificates(answer)
        assert [entry.subject.rfc4514_string() for entry in issued] == ["CN=board-1"]
        assert pkcs7.load_der_pkcs7_certificates(authority.cacerts())
        assert authority.csrattrs()[0] == 0x30
        assert abs((authority.now() - datetime.now(UTC)).total_seconds()) < 60
        assert authority.enroll(CSR)
        authority.close()
        assert authority.cacerts()


def test_no_csrattrs(tmp_path: Path) -> None:
    with running_server(ServerConfig(directory=tmp_path)) as server:
        assert Authority(server.url, str(server.ca_pem)).csrattrs() == b""


@pytest.mark.parametrize("form", ["plain", "encrypted", "DER"])
def test_a_certificate_of_its_own(tmp_path: Path, form: str) -> None:
    rule = {"users": "station", "role": "ra", "subject": "CN=board-*"}
    config = ServerConfig(
        directory=tmp_path / "ca", auth="mtls", open=False, policy={"rule": [rule]}
    )
    with running_server(config) as server:
        certificate, key = server.new_identity("station")
        files = tmp_path / "station.pem", tmp_path / "station.key"
        password = None
        private = load_pem_private_key(key, None)
        if form == "encrypted":
            password = "of its key"
            key = private.private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())
            )
        if form == "DER":
            certificate = x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)
            key = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        for path, content in zip(files, (certificate, key), strict=True):
            path.write_bytes(content)
        authority = Authority(
            *(server.url, str(server.ca_pem)),
            certificate=files[0],
            key=files[1],
            key_password=password,
        )
        assert authority.enroll(CSR)
        other = make_csr("CN=gateway").public_bytes(Encoding.DER)
        with pytest.raises(Refused) as refused:
            authority.enroll(other)
        assert refused.value.status == 403
        with pytest.raises(Refused):
            Authority(server.url, str(server.ca_pem)).enroll(CSR)


def test_files_that_will_not_do(tmp_path: Path) -> None:
    with running_server(ServerConfig(directory=tmp_path / "ca", auth="mtls")) as server:
        identities = [server.new_identity(name) for name in ("a", "b")]
    certificate, key, locked = (tmp_path / name for name in ("a.pem", "a.key", "a.locked"))
    certificate.write_bytes(identities[0][0])
    private = load_pem_private_key(identities[0][1], None)
    encryption = BestAvailableEncryption(b"right")
    locked.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    url, trust = "https://127.0.0.1", str(certificate)

    def line(shown: Path, with_key: Path, password: str | None = None) -> str:
        with pytest.raises(CliError) as error:
            Authority(url, trust, certificate=shown, key=with_key, key_password=password)
        assert "\n" not in error.value.message
        return error.value.message

    assert "cannot read" in line(certificate, tmp_path / "none")
    assert "cannot read" in line(tmp_path / "none", locked)
    assert "holds no certificate" in line(locked, locked, "right")
    assert "holds no private key" in line(certificate, certificate)
    assert line(certificate, locked).endswith("has a password")
    assert "none of this password" in line(certificate, locked, "wrong")
    key.write_bytes(identities[1][1])
    assert "is not the key of the certificate" in line(certificate, key)
    assert "has no password, yet one is given" in line(certificate, key, "needless")
    with pytest.raises(CliError, match="64 hexadecimal digits"):
        Authority(url, "sha256:12")
    with pytest.raises(CliError, match="the URL must be"):
        Authority("http://127.0.0.1", trust)


def test_what_the_server_says(tmp_path: Path) -> None:
    users = {"station": "its password"}
    config = ServerConfig(directory=tmp_path / "ca", auth="basic", users=users, approve_after=60)
    with running_server(config) as server:
        trust = f"sha256:{server.fingerprint}"
        with pytest.raises(Later) as later:
            Authority(server.url, trust, user="station", password="its password").enroll(CSR)
        assert 0 < later.value.seconds <= 60
        with pytest.raises(Refused) as refused:
            Authority(server.url, trust, user="station", password="another").enroll(CSR)
        assert refused.value.status == 401
        assert "another" not in refused.value.message
        with pytest.raises(Untrusted):
            Authority(server.url, "sha256:" + "ab" * 32).cacerts()
    other_config = ServerConfig(directory=tmp_path / "other")
    with running_server(other_config) as other, pytest.raises(Untrusted):
        Authority(other.url, str(server.ca_pem)).cacerts()
    with pytest.raises(Unreachable, match="is the network up"):
        Authority(f"https://127.0.0.1:{ports.reserve()}", str(server.ca_pem)).cacerts()
