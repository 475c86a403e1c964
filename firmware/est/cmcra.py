"""Servers that are registration authorities by their certificate: id-kp-cmcRA (RFC 7030 3.6.1)."""

from micropython import const

from est import asn1, der, purposes
from est.errors import PeerError, UsageError

_EXT_KEY_USAGE = const(b"\x55\x1d\x25")
_CMC_RA = const(b"\x2b\x06\x01\x05\x05\x07\x03\x1c")
# mbedTLS's X509_FATAL_ERROR, which est.tls takes for a refusal.
_REFUSED = const(-0x3000)


def required(context):
    """Have est.tls.Context `context` end the handshake unless the server's certificate says so.

    The name is checked all the same. Raises UsageError where the platform shows no certificate.
    """
    if not hasattr(context.ssl, "verify_callback"):
        raise UsageError("id-kp-cmcRA cannot be demanded here: this tls has no verify_callback")
    verify = context.ssl.verify_callback

    def check(certificate, depth):
        return verify(certificate, depth) or (0 if depth or _is_ra(certificate) else _REFUSED)

    context.ssl.verify_callback = check


def _is_ra(certificate):
    # Without est.x509: amid the handshake the heap is full.
    try:
        tbs = der.Reader(certificate).enter().enter()
        while tbs.more() and tbs.peek() != 0xA3:
            tbs.skip()
        extensions = tbs.more() and tbs.enter(0xA3).enter()
        while extensions and extensions.more():
            extension = extensions.enter()
            if extension.oid() == _EXT_KEY_USAGE:
                if extension.peek() == asn1.BOOLEAN:
                    extension.skip()
                return purposes.lists(extension.bytes(), _CMC_RA)
    except PeerError:
        pass
    return False
