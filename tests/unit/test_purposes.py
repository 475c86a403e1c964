"""Extended key usage: what is listed, and what is no list."""

import check
from est import der, extensions, purposes
from est.errors import EstError
from test_messages import KEY, certificate

CLIENT, SERVER, OTHER = [extensions.oid("1.3.6.1.5.5.7.3.%d" % arc) for arc in (2, 1, 27)]


def usage(*oids):
    return der.sequence(*[der.tlv(der.OID, oid) for oid in oids])


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
    for value in (b"", der.set_of(), der.sequence(der.integer(1))):
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
