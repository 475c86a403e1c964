"""Any policy of the server's, which is none of the device's code: read right, and satisfied."""

from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from mpest.server import CsrAttrsPolicy
from mpest.server.csr_demands import check_demands
from mpest.server.csrattrs import EXTENSIONS
from mpest.sim import cpython

cpython.install()

from est import asn1, csr, csrattrs, extensions, keys  # noqa: E402

KEY = keys.P256Key(bytes(31) + b"\7")
SUBJECT = "CN=board,O=Example,OU=one,OU=two,C=DE,serialNumber=7,DC=x"
NAMES = ["DNS:a.example", "DNS:b.example", "IP:192.0.2.1", "IP:2001:db8::1", "URI:urn:a"]
NAMES += ["email:a@b.example"]
RDNS = ["CN", "O", "OU", "OU=sensors", "C", "C=FR", "serialNumber", "DC", "L=Lyon"]
USAGES = ["digitalSignature", "nonRepudiation", "keyEncipherment", "keyAgreement"]

san = st.lists(
    st.sampled_from([*NAMES[:5], "DNS:", "IP:", "URI:", "DNS:c.example"]), min_size=1, unique=True
)
usage = st.lists(st.sampled_from(USAGES), min_size=1, unique=True)
purposes = st.lists(st.sampled_from(["clientAuth", "serverAuth"]), min_size=1, unique=True)


@st.composite
def policies(draw):
    style = draw(st.sampled_from(["old", "template", "both"]))
    listed = []
    for oid, values in (("subjectAltName", san), ("keyUsage", usage), ("extKeyUsage", purposes)):
        if not draw(st.booleans()):
            continue
        words = draw(st.none() | values)
        if words and style != "template":
            words = [word for word in words if word[-1] != ":"] or None
        listed.append({"oid": oid, "critical": draw(st.booleans()), "values": words})
    return CsrAttrsPolicy(
        style=style,
        key=draw(st.sampled_from(["P-256", "P-384", "RSA-2048", "RSA-4096", None])),
        digest=draw(st.sampled_from(["sha256", "sha384", "sha512", None])),
        challenge_password=draw(st.booleans()),
        extension_request=listed,
        subject=None
        if style == "old"
        else draw(st.none() | st.lists(st.sampled_from(RDNS), unique=True)),
        extension_template_as_printed=draw(st.booleans()),
    )


@given(policies())
@settings(deadline=None)
def test_policies_are_read_as_they_are_meant(policy):
    attrs = csrattrs.parse(policy.to_der())
    template = policy.style != "old"
    assert hasattr(attrs, "subject") == template
    assert (attrs.keys + attrs.hints or [None])[0] == policy.key
    assert attrs.challenge_password == policy.challenge_password
    digest = (attrs.signature or "").lower()
    assert digest == "" if template else (policy.digest or "") in digest
    listed = {asn1.oid_text(oid): (critical, value) for oid, critical, value in attrs.extensions}
    assert listed == {
        # A name on its own says nothing of how critical it is.
        one.oid: (one.critical and (template or one.content() is not None), one.content())
        for one in policy.extension_request
    }
    if template:
        assert (attrs.subject is None) == (policy.subject is None)
        assert len(attrs.subject or ()) == len(policy.subject or ())
    assert attrs.unknown == []


@given(policies())
@settings(deadline=None, max_examples=50)
def test_the_request_has_what_the_server_demands(policy):
    """But for the key and its signature, which are another's work."""
    policy = policy.model_copy(update={"key": None, "digest": None})
    asked = policy.subject or []
    enough = all(asked.count(open_rdn) <= SUBJECT.count(f"{open_rdn}=") for open_rdn in asked)
    if not enough:
        return
    log = []
    extra = [extensions.challenge("code")]
    attrs = csrattrs.parse(policy.to_der())
    wanted = extensions.requested(NAMES, ["clientAuth"])
    subject, listed = attrs.apply(SUBJECT, wanted, [], extra, log.append)
    made = x509.load_der_x509_csr(csr.build(KEY, subject, listed, extra))
    assert made.is_signature_valid
    check_demands(made, policy)
    known = {one.oid.dotted_string for one in made.extensions}
    assert known <= set(EXTENSIONS.values())
    assert all("no place" in line for line in log)
