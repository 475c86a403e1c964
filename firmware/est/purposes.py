"""What a certificate is good for: extended key usage (RFC 5280 4.2.1.12), and loading into TLS."""

from micropython import const

from est import der
from est.errors import UsageError

_EXT_KEY_USAGE = const(b"\x55\x1d\x25")
_CLIENT_AUTH = const(b"\x2b\x06\x01\x05\x05\x07\x03\x02")
_ANY_PURPOSE = const(b"\x55\x1d\x25\x00")


def lists(value, *purposes):
    """Whether ExtKeyUsageSyntax DER `value` lists one of `purposes`, object identifiers (bytes).

    Raises DerError.
    """
    key_purposes = der.Reader(value).enter()
    while key_purposes.more():
        if key_purposes.oid() in purposes:
            return True
    return False


def is_for_client(certificate):
    """Whether TLS clients may show est.x509.Certificate `certificate`: any may without EKU."""
    usage = certificate.extension(_EXT_KEY_USAGE)
    return usage is None or lists(usage, _CLIENT_AUTH, _ANY_PURPOSE)


def loads(certificate):
    """Whether TLS takes a DER certificate: mbedTLS none with a critical extension new to it."""
    import tls

    try:
        tls.SSLContext(tls.PROTOCOL_TLS_CLIENT).load_verify_locations(bytes(certificate))
        return True
    except (ValueError, OSError):
        return False


def chain(agent, chain, log):
    """Those of `chain` (DER certificates) that TLS loads; `log` is told of the others.

    Raises UsageError if TLS does not even load an anchor.
    """
    if not loads(agent.anchors()[0]):
        raise UsageError("TLS loads no certificate any more: too little heap?")
    loadable = []
    for certificate in chain:
        if loads(certificate):
            loadable.append(certificate)
        else:
            from est import x509

            log("TLS does not load %s: not presented" % x509.Certificate(certificate))
    return loadable
