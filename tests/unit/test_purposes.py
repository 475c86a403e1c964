"""Extended key usage: what is listed, and what is no list. What TLS loads."""

import sys

import check
from est import asn1, der, extensions, purposes
from est.errors import EstError, UsageError
from test_messages import KEY, certificate

CLIENT, SERVER, OTHER = [extensions.oid("1.3.6.1.5.5.7.3.%d" % arc) for arc in (2, 1, 27)]


def usage(*oids):
    return der.sequence(*[der.tlv(asn1.OID, oid) for oid in oids])


def test_one_of_those_asked_for_is_enough():
    value = usage(CLIENT, SERVER)
    for wanted, found in (
        ((CLIENT,), True),
        ((SERVER,), True),
        ((OTHER,), False),
        ((OTHER, SERVER), True),
        ((), False),
        ((SERVER[:-1],), False),
    ):
        assert purposes.lists(value, *wanted) is found
    assert not purposes.lists(usage(), CLIENT)


def test_malformed():
    whole = usage(CLIENT, SERVER)
    check.truncated(lambda data: purposes.lists(data, OTHER), whole)
    check.mutated(lambda data: purposes.lists(data, OTHER), whole)
    for value in (b"", der.set_of(), der.sequence(asn1.integer(1))):
        check.raises(EstError, purposes.lists, value, CLIENT)


def test_what_tls_clients_may_show():
    any_purpose = extensions.oid("2.5.29.37.0")
    for listed, good in (
        (None, True),  # RFC 5280 4.2.1.12: without the extension the key is for any purpose
        ((CLIENT,), True),
        ((SERVER, CLIENT), True),
        ((any_purpose,), True),
        ((SERVER,), False),
        ((OTHER,), False),
        ((), False),
        ((CLIENT + b"\1",), False),
        ((any_purpose[:-1],), False),
    ):
        extra = () if listed is None else [(extensions.oid("2.5.29.37"), usage(*listed))]
        leaf = certificate("CN=leaf", "CN=root", KEY, KEY, extra=extra)
        assert purposes.is_for_client(leaf) is good, listed
    bad = certificate("CN=leaf", "CN=root", KEY, KEY, extra=[(extensions.oid("2.5.29.37"), b"x")])
    check.raises(EstError, purposes.is_for_client, bad)


class Tls:
    """Stands in for the platform's tls, which loads nothing of `refused`."""

    PROTOCOL_TLS_CLIENT = 0

    def __init__(self, *refused):
        self.refused = refused

    def SSLContext(self, protocol):
        return self

    def load_verify_locations(self, certificate):
        if certificate in self.refused:
            raise ValueError("invalid cert")


class Agent:
    def __init__(self, anchor):
        self.anchor = anchor

    def anchors(self):
        return [self.anchor]


def presentable(*refused):
    """What of a chain is presented, as numbers, and what is logged."""
    chain = [
        certificate("CN=%s" % name, "CN=root", KEY, KEY).der for name in ("leaf", "middle", "root")
    ]
    log = []
    usual = sys.modules.get("tls")
    sys.modules["tls"] = Tls(*[chain[at] for at in refused])
    try:
        found = purposes.chain(Agent(chain[2]), chain[:2], log.append)
    finally:
        del sys.modules["tls"]
        if usual:
            sys.modules["tls"] = usual
    return [chain.index(one) for one in found], log


def test_what_tls_does_not_load_is_not_presented():
    assert presentable() == ([0, 1], [])
    assert presentable(1) == ([0], ["TLS does not load CN=middle: not presented"])
    assert presentable(0) == ([1], ["TLS does not load CN=leaf: not presented"])
    # Then it is not the chain's fault.
    error = check.raises(UsageError, presentable, 0, 2)
    assert "too little heap" in str(error)
