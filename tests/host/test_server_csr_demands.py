"""What /csrattrs asks for is demanded of a CSR, where the server is told so."""

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from server_client import connect, enroll, make_csr, names

from mpest.server import CsrAttrsPolicy, EstServer, ServerConfig
from mpest.server.ca import key_usage
from mpest.server.csr_demands import check_demands
from mpest.server.wire import Refused

USAGE = key_usage("digital_signature")
CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
TWO_NAMES = [{"oid": "subjectAltName", "values": ["DNS:", "IP:", "DNS:a.example"]}]


def lacking(csr, **policy):
    """What the refusal says after its colon; "" where there is none."""
    policy = CsrAttrsPolicy.model_validate({"key": None, "digest": None} | policy)
    try:
        check_demands(csr, policy)
    except Refused as refused:
        assert refused.reply.status == 400
        return str(refused).partition(": ")[2]
    return ""


def alternative(*dns):
    both = [x509.DNSName(name) for name in dns]
    return x509.SubjectAlternativeName([*both, x509.IPAddress(ipaddress.ip_address("192.0.2.1"))])


@pytest.mark.parametrize(
    ("given", "policy", "words"),
    [
        ({}, {"key": "P-256", "digest": "sha256"}, ""),
        ({}, {"key": "P-384"}, "a key of P-384, it is P-256"),
        ({}, {"key": "RSA-2048"}, "a key of RSA-2048, it is P-256"),
        ({"key": ec.generate_private_key(ec.SECP384R1())}, {"key": "P-384"}, ""),
        ({"key": rsa.generate_private_key(65537, 2048)}, {"key": "RSA-2048"}, ""),
        (
            {"key": rsa.generate_private_key(65537, 2048)},
            {"key": "RSA-3072"},
            "a key of RSA-3072, it is RSA-2048",
        ),
        ({}, {"digest": "sha384"}, "a signature with sha384"),
        ({"digest": hashes.SHA384()}, {"digest": "sha384"}, ""),
        ({}, {"digest": "sha384", "style": "template"}, ""),
        ({}, {"challenge_password": True}, "the attribute challengePassword"),
        ({"password": b"code"}, {"challenge_password": True}, ""),
        ({}, {"oids": ["2.5.4.5"]}, "the attribute 2.5.4.5"),
        ({"subject": "CN=a,2.5.4.5=1"}, {"oids": ["2.5.4.5"]}, ""),
        ({}, {"extension_request": ["keyUsage"]}, "the extension keyUsage"),
        ({"extensions": [USAGE]}, {"extension_request": ["keyUsage"]}, ""),
        (
            {"extensions": [USAGE]},
            {"extension_request": [{"oid": "keyUsage", "values": ["digitalSignature"]}]},
            "",
        ),
        (
            {"extensions": [USAGE]},
            {"extension_request": [{"oid": "keyUsage", "values": ["keyAgreement"]}]},
            "the value asked for in the extension keyUsage",
        ),
        (
            {"extensions": [CLIENT]},
            {"extension_request": [{"oid": "extKeyUsage", "values": ["clientAuth"]}]},
            "",
        ),
        (
            {"extensions": [alternative("a.example", "b.example")]},
            {"extension_request": TWO_NAMES, "style": "template"},
            "",
        ),
        (
            {"extensions": [alternative("a.example")]},
            {"extension_request": TWO_NAMES, "style": "template"},
            "the alternative name DNS:",
        ),
        (
            {"extensions": [names("b.example", "c.example")]},
            {"extension_request": TWO_NAMES, "style": "template"},
            "the alternative name DNS:a.example; the alternative name IP:",
        ),
        ({"subject": "OU=b,CN=a"}, {"subject": ["CN", "OU=b"], "style": "template"}, ""),
        (
            {"subject": "OU=c,CN=a"},
            {"subject": ["CN", "OU=b"], "style": "template"},
            "a Subject of CN, OU=b",
        ),
        (
            {"subject": "O=c,OU=b,CN=a"},
            {"subject": ["CN", "OU=b"], "style": "template"},
            "a Subject of CN, OU=b",
        ),
        ({}, {"raw_der_base64": "MAA=", "key": "P-384"}, ""),
    ],
)
def test_demands(given, policy, words):
    assert lacking(make_csr(**given), **policy) == words


def test_everything_that_lacks_is_named():
    found = lacking(make_csr(), key="P-384", digest="sha384", challenge_password=True)
    assert found.count(";") == 2


async def test_demands_reach_the_client(tmp_path):
    policy = CsrAttrsPolicy(challenge_password=True)
    config = ServerConfig(directory=tmp_path / "ca", csrattrs=policy)
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, make_csr()))[0] == 200
        server.config.enforce_csrattrs = True
        status, text, _ = await enroll(session, make_csr())
        assert status == 400
        assert "the request lacks what /csrattrs asks for" in text
        assert "challengePassword" in text
        assert (await enroll(session, make_csr(password=b"code")))[0] == 200
        server.config.csrattrs = None
        assert (await enroll(session, make_csr()))[0] == 200
