"""Trust from nothing but a fingerprint (RFC 7030 4.1.1)."""

import hashlib

from est import clock
from est.client import Client
from est.errors import NotTrusted


def anchors(url, fingerprint, timeout=30):
    """[DER trust anchors] of the server at `url`, for `fingerprint` (SHA-256, 32 bytes).

    It is of a CA certificate in /cacerts, the only thing asked for, or of the certificate that the
    server shows in TLS. Raises NotTrusted where neither matches.
    """
    client = Client(url, timeout=timeout, bootstrap=True)
    try:
        offered = client.cacerts()
    finally:
        client.close()
    # The server that TLS proved to be the one pinned speaks for all its roots.
    server = client.context.leaf
    pinned = server and hashlib.sha256(server).digest() == fingerprint
    # Only now, when TLS has left the heap.
    from est.x509 import Certificate

    found = []
    for der in offered:
        certificate = Certificate(der)
        wanted = pinned and certificate.subject == certificate.issuer
        if (wanted or hashlib.sha256(der).digest() == fingerprint) and certificate.is_ca():
            certificate.check(clock.now())
            found.append(der)
    if not found:
        raise NotTrusted(
            "neither a CA certificate the server offers nor its own has the given fingerprint"
        )
    return found
