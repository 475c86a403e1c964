"""The demand of id-kp-cmcRA: which certificates pass, and platforms that show none."""

import sys

import check
import est
from est import asn1, cmcra, der, extensions
from est.errors import UsageError
from test_messages import KEY, certificate

RA = "1.3.6.1.5.5.7.3.28"
SERVER = "1.3.6.1.5.5.7.3.1"


class Context:
    """What est.cmcra sees of an est.tls.Context."""

    class ssl:
        pass

    def __init__(self, callback):
        self.ssl = Context.ssl()
        if callback:
            self.ssl.verify_callback = callback


def leaf(*oids):
    purposes = der.sequence(*[der.tlv(asn1.OID, extensions.oid(oid)) for oid in oids])
    extra = [(check.BASIC_CONSTRAINTS, der.sequence()), (check.EXT_KEY_USAGE, purposes)]
    return certificate("CN=a", "CN=root", KEY, KEY, extra=extra if oids else extra[:1]).der


def test_only_the_leaf_is_asked():
    seen = []

    def callback(certificate, depth):
        seen.append(depth)
        return 0

    context = Context(callback)
    cmcra.required(context)
    refuses = context.ssl.verify_callback
    assert refuses(leaf(SERVER, RA), 0) == 0
    assert refuses(leaf(RA), 0) == 0
    assert refuses(leaf(SERVER), 1) == 0
    assert seen == [0, 0, 1]
    for one in (leaf(SERVER), leaf(), leaf("1.3.6.1.5.5.7.3.27"), b"", b"\x30\x00"):
        assert refuses(one, 0) != 0
    refuses = Context(lambda certificate, depth: 1)
    cmcra.required(refuses)
    assert refuses.ssl.verify_callback(leaf(RA), 0) == 1


def test_without_a_callback_the_demand_fails():
    error = check.raises(UsageError, cmcra.required, Context(None))
    assert "verify_callback" in str(error)


def test_the_handshake_loads_nothing():
    """x509 and what it brings would find the heap full of TLS."""
    context = Context(lambda certificate, depth: 0)
    cmcra.required(context)
    certificate = leaf(SERVER, RA)
    gone = {name: sys.modules.pop(name) for name in list(sys.modules) if name[:4] == "est."}
    for name in gone:
        delattr(est, name[4:])
    try:
        assert context.ssl.verify_callback(certificate, 0) == 0
        assert not [name for name in sys.modules if name[:4] == "est."]
    finally:
        sys.modules.update(gone)
        for name, module in gone.items():
            setattr(est, name[4:], module)


def test_malformed():
    whole = leaf(SERVER, RA)
    for size in range(len(whole)):
        assert not cmcra._is_ra(whole[:size])
    check.mutated(cmcra._is_ra, whole)
