"""A certification request of the caller's, made elsewhere: checked before a server sees it."""

from est import asn1, der, keys, x509
from est.errors import NotTrusted, PeerError, UsageError


def check(request, key):
    """(DER of `key` for TLS, `request`). key: private key DER, as for est.keys.load.

    Raises UsageError unless `request` is a CertificationRequest (RFC 2986, DER) signed by `key`.
    """
    if not isinstance(key, bytes):
        raise UsageError("an own request takes its key, in DER")
    try:
        whole = der.Reader(request)
        fields = whole.enter()
        whole.end()
        info = fields.element(asn1.SEQUENCE)
        algorithm = fields.element(asn1.SEQUENCE)
        signature = fields.bit_string()
        fields.end()
        asked = der.Reader(info).enter()
        version = asked.integer()
        asked.skip(asn1.SEQUENCE)
        spki = asked.element(asn1.SEQUENCE)
        if asked.more():  # some leave out the attributes where there are none
            asked.skip(0xA0)
        asked.end()
        if version or not x509.verify(spki, algorithm, info, signature):
            raise UsageError("not version 1, or not signed with its own key")
    except (PeerError, NotTrusted, UsageError) as error:
        raise UsageError("the request: %s" % error)
    key = keys.load(key)
    if spki != key.spki():
        raise UsageError("the request: for another key than the one given")
    return key.der(), request
