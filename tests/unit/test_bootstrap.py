"""Trust from a fingerprint: what is told where it leads to no anchor."""

import hashlib

import check
from est import asn1, bootstrap, der, run
from est.errors import NotTrusted
from test_messages import KEY, OTHER, certificate

CA = (check.BASIC_CONSTRAINTS, der.sequence(der.tlv(asn1.BOOLEAN, b"\xff")))
ROOT = certificate("CN=root", "CN=root", KEY, KEY, extra=[CA])
NO_CA = certificate("CN=plain", "CN=plain", KEY, KEY)
SIGNS_NOT = certificate(
    "CN=mute", "CN=mute", KEY, KEY, extra=[CA, (check.KEY_USAGE, b"\3\2\7\x80")]
)
SERVER = certificate("CN=server", "CN=plain", OTHER, KEY)


class Asking:
    """What est.bootstrap needs of an est.agent.Agent."""

    def __init__(self, named):
        self.trust = hashlib.sha256(named.der).digest()
        self.log = [].append


def refused(named, *offered):
    """Text of the error where the server offers these certificates."""
    kept = bootstrap._cacerts
    found = [one.der for one in offered], SERVER.der
    bootstrap._cacerts = lambda agent, anchors, first: check.steps(found)
    try:
        return str(check.raises(NotTrusted, run, bootstrap.anchors(Asking(named))))
    finally:
        bootstrap._cacerts = kept


def test_why_there_is_no_anchor():
    assert "neither" in refused(ROOT, NO_CA)
    assert "neither" in refused(ROOT)
    for named in (NO_CA, SIGNS_NOT):
        text = refused(named, named, ROOT)
        assert "%s has the given fingerprint, but is no CA" % named in text, text
    # The certificate of the server itself, which offers no root.
    assert "offers no root" in refused(SERVER, NO_CA)
    assert "offers no root" in refused(SERVER)
