"""What a certificate's key may be used for: extended key usage (RFC 5280 4.2.1.12)."""

from micropython import const

from est import der

_EXT_KEY_USAGE = const(b"\x55\x1d\x25")
_CLIENT_AUTH = const(b"\x2b\x06\x01\x05\x05\x07\x03\x02")
_ANY_PURPOSE = const(b"\x55\x1d\x25\x00")


def lists(value, *purposes):
    """Whether ExtKeyUsageSyntax DER `value` lists one of `purposes`, object identifiers (bytes).

    Raises DerError.
    """
    listed = der.Reader(value).enter()
    while listed.more():
        if listed.oid() in purposes:
            return True
    return False


def is_for_client(certificate):
    """Whether TLS clients may show est.x509.Certificate `certificate`: any may without EKU."""
    usage = certificate.extension(_EXT_KEY_USAGE)
    return usage is None or lists(usage, _CLIENT_AUTH, _ANY_PURPOSE)
