"""Every fault of certificates does what its description says."""

import base64
import ssl

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from fault_tests import fault, raw
from server_client import (
    certificates,
    connect,
    enroll,
    exchange,
    get,
    make_csr,
    server_certificate,
)

from mpest.server import EstServer, ServerConfig, der
from mpest.server.ca import now


async def issued(server, csr):
    async with connect(server) as session:
        status, text, _ = await enroll(session, csr)
    assert status == 200
    return certificates(text)


@fault("wrong-key")
async def test_wrong_key(server, name):
    csr = make_csr()
    (leaf,) = await issued(server, csr)
    assert leaf.public_key() != csr.public_key()
    assert leaf.subject == csr.subject
    leaf.verify_directly_issued_by(server.ca_certificates[0])


@fault("wrong-ca")
async def test_wrong_ca(server, name):
    csr = make_csr()
    (leaf,) = await issued(server, csr)
    assert leaf.public_key() == csr.public_key()
    with pytest.raises((ValueError, InvalidSignature)):
        leaf.verify_directly_issued_by(server.ca_certificates[0])


@fault("expired-cert")
async def test_expired(server, name):
    (leaf,) = await issued(server, make_csr())
    assert leaf.not_valid_before_utc < leaf.not_valid_after_utc < now()
    leaf.verify_directly_issued_by(server.ca_certificates[0])


@fault("ca-cert-instead")
async def test_ca_instead(server, name):
    assert await issued(server, make_csr()) == server.ca_certificates


@fault("no-certs")
async def test_no_certificates(server, name):
    async with connect(server) as session:
        status, text, _ = await enroll(session, make_csr())
    assert status == 200
    assert len(base64.b64decode(text)) < 60


@pytest.mark.filterwarnings("ignore:PKCS#7 certificates could not")
@fault("extra-certs")
async def test_strangers_come_first(server, name):
    csr = make_csr()
    bag = await issued(server, csr)
    assert [one.public_key() == csr.public_key() for one in bag] == [False, False, True]


@fault("broken-cert")
async def test_a_broken_one_comes_first(server, name):
    async with connect(server) as session:
        _, text, _ = await enroll(session, make_csr())
    broken = der.sequence(der.integer(1))
    assert broken + b"\x30\x82" in base64.b64decode(text)


@pytest.mark.filterwarnings("ignore:PKCS#7 certificates could not")
@fault("reverse-order")
async def test_root_comes_first(server, name):
    csr = make_csr()
    bag = await issued(server, csr)
    assert bag[0] == server.ca_certificates[-1]
    assert bag[-1].public_key() == csr.public_key()


async def added_roots(server):
    """(new root, whether the old root signed it, whether it signed the old one) in /cacerts."""
    _, body = await raw(server)
    (old,), found = server.ca_certificates, certificates(body)
    links = [one for one in found if one.issuer == one.subject and one != old]
    signed = {one: [root for root in (old, *links) if _signed(root, one)] for one in links}
    (new,) = [one for one in links if one in signed[one] and one.public_key() != old.public_key()]
    forward = [one for one in links if one.public_key() == new.public_key() and one != new]
    back = [one for one in links if one.public_key() == old.public_key() and new in signed[one]]
    return new, [one for one in forward if old in signed[one]], back


def _signed(issuer, certificate):
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


@pytest.mark.filterwarnings("ignore:PKCS#7 certificates could not")
@fault("rollover-forged", "rollover-one-way", "rollover-link-expired", "rollover-unrelated")
async def test_rollovers_that_prove_nothing(server, name):
    _, forward, back = await added_roots(server)
    valid = [one for one in forward if one.not_valid_after_utc > now()]
    assert bool(forward) == (name in ("rollover-one-way", "rollover-link-expired"))
    assert bool(valid) == (name == "rollover-one-way")
    assert bool(back) == (name in ("rollover-forged", "rollover-link-expired"))


@pytest.mark.filterwarnings("ignore:PKCS#7 certificates could not")
@fault("rollover-old-expired")
async def test_rollover_after_the_end_of_the_root(server, name):
    _, forward, back = await added_roots(server)
    assert forward and back
    _, body = await raw(server)
    (old,) = server.ca_certificates
    shown = [one for one in certificates(body) if _signed(old, one) and _signed(one, one)]
    assert [one.not_valid_after_utc < now() for one in shown] == [True]


@fault(
    "tls-wrong-ca",
    "tls-wrong-name",
    "tls-expired",
    "tls-not-yet-valid",
    "tls-self-signed",
    "tls-client-only",
)
async def test_tls_fault_stops_the_handshake(server, name):
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        await exchange(server, get("cacerts"))
    words = {
        "tls-wrong-ca": "local issuer",
        "tls-wrong-name": "IP address mismatch",
        "tls-expired": "expired",
        "tls-not-yet-valid": "not yet valid",
        "tls-self-signed": "self-signed",
        "tls-client-only": "purpose",
    }
    assert words[name] in str(caught.value)
    assert server.events == []
    server.config.faults = set()
    assert (await raw(server))[0].startswith("HTTP/1.1 200")


async def test_wrong_name_may_still_be_a_cmc_ra(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", cmc_ra=True, faults={"tls-wrong-name"})
    async with EstServer(config) as server:
        leaf = await server_certificate(server)
    extensions = leaf.extensions
    san = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["elsewhere.example"]
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert "1.3.6.1.5.5.7.3.28" in {oid.dotted_string for oid in purposes}
