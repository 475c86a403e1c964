"""The CsrAttrs encoding, byte for byte and as openssl reads it."""

import base64
import subprocess
import tomllib

import pytest
from documents import block
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


def policy(text):
    return CsrAttrsPolicy.model_validate(tomllib.loads(text))


RFC_9908_3_4 = """
style = "template"
subject = ["CN", "OU=myDept", "OU=myGroup"]
[[extension_request]]
oid = "subjectAltName"
values = ["DNS:www.myServer.com", "IP:"]
[[extension_request]]
oid = "keyUsage"
critical = true
values = ["digitalSignature", "keyAgreement"]
[[extension_request]]
oid = "extKeyUsage"
"""


@pytest.mark.parametrize(
    ("file", "first"),
    [
        ("normative-oid-16.2.62", ""),
        ("as-printed-oid-9.62", "extension_template_as_printed = true\n"),
    ],
)
def test_the_template_of_rfc_9908(vector, file, first):
    """The policy of RFC 9908 3.4 gives its bytes."""
    name = f"rfc9908/DERIVED-3.4-csrattrs.{file}.der"
    assert policy(first + RFC_9908_3_4).to_der() == vector(name)


def test_the_policy_of_the_documentation():
    found = policy(block("docs/serve.md", "extension_request"))
    assert found.subject == ["CN", "OU=sensors"]
    assert [one.open_names() for one in found.extension_request] == [["IP"], [], []]
    assert found.challenge_password


def test_an_answer_in_both_styles():
    both = policy('style = "both"\nkey = "P-384"\nextension_request = ["keyUsage"]')
    old = policy('key = "P-384"\nextension_request = ["keyUsage"]').to_der()
    assert old[2:] in both.to_der()
    assert parsed(both)[-1] == "X509v3 Key Usage"
    assert "1.2.840.113549.1.9.16.2.61" in parsed(both)


def test_a_template_with_full_values():
    found = policy(
        'style = "template"\nkey = "RSA-3072"\nchallenge_password = true\n'
        '[[extension_request]]\noid = "extKeyUsage"\nvalues = ["clientAuth"]'
    )
    words = parsed(found)
    assert "Extension Request" in words
    assert "challengePassword" in words
    at = words.index("rsaEncryption")
    assert words[at + 1] == "NULL"


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
        {"extension_request": [{"oid": "1.2.3", "values": ["a"]}]},
        {"extension_request": [{"oid": "keyUsage", "values": ["keyCertSign"]}]},
        {"extension_request": [{"oid": "subjectAltName", "values": ["IP:"]}]},
        {"extension_request": [{"oid": "subjectAltName", "values": ["X:a"]}], "style": "template"},
        {"extension_request": [{"oid": "keyUsage", "values": [], "value": "MAA="}]},
        {"subject": ["CN"]},
        {"subject": ["XX"], "style": "template"},
    ],
)
def test_bad_policies_are_refused(settings):
    with pytest.raises(ValidationError):
        CsrAttrsPolicy.model_validate(settings)
