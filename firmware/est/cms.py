"""CMS (RFC 5652): the certs-only SignedData in which EST sends certificates (RFC 7030 4.1.3)."""

from micropython import const

from est import der
from est.errors import PeerError

# CA bundles of real servers hold up to about thirty; twelve rollovers slept through take 25.
_MAX_CERTIFICATES = const(48)

# As in est.asn1, without a look-up on the board.
_SEQUENCE = const(0x30)
_SET = const(0x31)

_SIGNED_DATA = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02")


def reader(data):
    """An est.der.Reader of CMS `data`, in BER where est.ber is there to read it."""
    try:
        from est.ber import Reader
    except ImportError:
        Reader = der.Reader
    return Reader(data)


def certificates(data):
    """List of the certificates (DER) in certs-only SignedData `data`, in the order they stand.

    The rest (version, digests, content, CRLs, signers) may hold anything: certificates vouch for
    themselves. Raises DerError.
    """
    message = reader(data)
    info = message.enter()
    message.end()
    if info.oid() != _SIGNED_DATA:
        raise der.DerError("PKCS#7: not SignedData")
    content = info.enter(0xA0)
    info.end()
    signed = content.enter()
    content.end()
    signed.integer()
    signed.skip(_SET)
    signed.skip(_SEQUENCE)
    certs = []
    certificate_set = signed.optional(0xA0)
    while certificate_set and certificate_set.more():
        if len(certs) == _MAX_CERTIFICATES:
            raise der.DerError("PKCS#7: too many certificates")
        if certificate_set.peek() == _SEQUENCE:
            certs.append(der.Reader.element(certificate_set))  # as it came: the CA signed it so
        else:
            certificate_set.skip()  # attribute certificates and other formats
    while signed.more():
        signed.skip()
    return certs


def issued(content):
    """As `certificates`, of an answer (bytes), which must hold one. Raises PeerError."""
    certs = content and certificates(content)
    if not certs:
        raise PeerError("the answer holds no certificate")
    return certs
