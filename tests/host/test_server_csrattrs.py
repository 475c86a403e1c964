"""The CsrAttrs encoding, byte for byte and as openssl reads it."""

import base64
import subprocess

import pytest
from pydantic import ValidationError

from mpest.server import CsrAttrsPolicy


def parsed(policy):
    """openssl's view: one word per element, OIDs by name."""
    done = subprocess.run(
        ["openssl", "asn1parse", "-inform", "DER"],
        input=policy.to_der(),
        capture_output=True,
        check=True,
    )
    lines = done.stdout.decode().splitlines()
    return [line.split(":", 3)[-1].strip() for line in lines if "prim" in line]


def test_default_policy():
    policy = CsrAttrsPolicy()
    assert parsed(policy) == ["id-ecPublicKey", "prime256v1", "ecdsa-with-SHA256"]
    key = "3015" + "06072a8648ce3d0201" + "310a" + "06082a8648ce3d030107"
    assert policy.to_der().hex() == "3021" + key + "06082a8648ce3d040302"


def test_everything_named():
    policy = CsrAttrsPolicy(
        oids=["1.2.840.113549.1.9.20"],
        challenge_password=True,
        key="RSA-3072",
        digest="sha384",
        extension_request=["2.5.29.17", "1.3.6.1.1.1.1.22"],
    )
    assert parsed(policy) == [
        "friendlyName",
        "challengePassword",
        "rsaEncryption",
        "0C00",
        "Extension Request",
        "X509v3 Subject Alternative Name",
        "1.3.6.1.1.1.1.22",
        "sha384WithRSAEncryption",
    ]


def test_extension_with_a_value():
    policy = CsrAttrsPolicy(
        key="P-384",
        digest=None,
        extension_request=[
            {"oid": "2.5.29.15", "critical": True, "value": base64.b64encode(b"\x03\x02\x07\x80")}
        ],
    )
    assert parsed(policy)[2:] == [
        "Extension Request",
        "X509v3 Key Usage",
        "255",
        "03020780",
    ]


def test_nothing_wanted_is_an_empty_sequence():
    assert CsrAttrsPolicy(key=None, digest=None).to_der() == b"\x30\x00"


def test_raw_der_goes_out_unchanged():
    assert CsrAttrsPolicy(raw_der_base64=b"MAA=", key="P-384").to_der() == b"\x30\x00"


def test_long_lengths():
    policy = CsrAttrsPolicy(oids=["1.2.3.4.5.6.7.8.9"] * 100)
    assert len(parsed(policy)) == 103


@pytest.mark.parametrize(
    "settings",
    [
        {"oids": ["1.2.three"]},
        {"oids": ["9.9.9"]},
        {"key": "P-521"},
        {"digest": "sha1"},
        {"raw_der_base64": "***"},
        {"surprise": 1},
        {"extension_request": [{"oid": "1.2.3"}]},
    ],
)
def test_bad_policies_are_refused(settings):
    with pytest.raises(ValidationError):
        CsrAttrsPolicy.model_validate(settings)
