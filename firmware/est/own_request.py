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
        reader = der.Reader(request)
        fields = reader.enter()
        reader.end()
        info = fields.element(asn1.SEQUENCE)
        algorithm = fields.element(asn1.SEQUENCE)
        signature = fields.bit_string()
        fields.end()
        info_fields = der.Reader(info).enter()
        version = info_fields.integer()
        info_fields.skip(asn1.SEQUENCE)
        spki = info_fields.element(asn1.SEQUENCE)
        if info_fields.more():  # some leave out the attributes where there are none
            info_fields.skip(0xA0)
        info_fields.end()
        if version or not x509.verify(spki, algorithm, info, signature):
            raise UsageError("not version 1, or not signed with its own key")
    except (PeerError, NotTrusted, UsageError) as error:
        raise UsageError("the request: %s" % error)
    key = keys.load(key)
    if spki != key.spki():
        raise UsageError("the request: for another key than the one given")
    return key.der(), request
