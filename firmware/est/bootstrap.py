"""Trust from nothing but a fingerprint (RFC 7030 4.1.1)."""

import binascii
import hashlib

from est import clock, operations, store
from est.errors import NotTrusted, Unsupported, UsageError
from est.tls import Context


def anchors(agent):
    """[DER trust anchors] for the fingerprint that est.agent.Agent `agent` trusts, stored.

    In steps. It is of a CA certificate in /cacerts, the only thing asked for, or of the
    certificate that the server shows in TLS. Raises NotTrusted where neither matches, or where
    what the server of that certificate offers does not vouch for it; UsageError where it is no
    SHA-256; Unsupported where TLS cannot use it.
    """
    fingerprint = agent.trust
    if len(fingerprint) != 32:
        raise UsageError("a fingerprint is a SHA-256: 32 bytes, 64 hexadecimal digits")
    offered, server = yield from _cacerts(agent, (), True)
    # The server that TLS proved to be the one pinned speaks for all its roots.
    pinned = server and hashlib.sha256(server).digest() == fingerprint
    # Only now, when TLS has left the heap.
    from est.x509 import certificates

    trusted = []
    for certificate in certificates(offered, agent.log):
        encoded = certificate.der
        matches = hashlib.sha256(encoded).digest() == fingerprint
        if certificate.path_length() >= 0:
            if matches or pinned and certificate.subject == certificate.issuer:
                try:
                    Context([encoded])
                except UsageError as error:  # TLS cannot use it
                    raise Unsupported(str(error))
                certificate.check(clock.now())
                trusted.append(encoded)
        elif matches:
            raise NotTrusted(
                "%s has the given fingerprint, but is no CA by basicConstraints and keyUsage"
                % certificate
            )
    if not trusted and pinned:
        raise NotTrusted("the server of the given fingerprint offers no root in /cacerts")
    if not trusted:
        raise NotTrusted(
            "neither a CA certificate in /cacerts nor the server's own has the given fingerprint"
        )
    if pinned:
        yield from _cacerts(agent, trusted, False)
    voucher = binascii.hexlify(fingerprint).decode()
    agent.store.save("anchors", store.pack({"voucher": voucher, "checked": clock.now()}, *trusted))
    if agent.parts:
        agent.tell("bootstrap", anchors=[store.digest(anchor) for anchor in trusted])
    return trusted


def _cacerts(agent, anchors, bootstrap):
    # The certificates offered, and the one that the server shows.
    client = agent.connect(anchors, bootstrap=bootstrap)
    try:
        offered = yield from client.steps(operations.cacerts(client.est))
        return offered, client.context.leaf
    finally:
        client.close()
