"""What an order does without a connection: makes a request, judges its answer.

It brings most of the package along, so est.order loads it only while it is called (est.apart).
"""

from est import csr, keys, x509
from est.errors import Ended, NotYetValid, PeerError


def build(attributes, log, subject, san, eku, extra, leaf, key):
    """(DER of the key, CertificationRequest DER).

    attributes: est.csrattrs.CsrAttrs or None.
    log, subject, san, eku, extra, key: as in est.agent.Agent; subject, san and eku are for a first
        certificate, an own request in place of the subject for every one.
    leaf: DER certificate to renew instead, whose subject and names are kept (RFC 7030 4.2.2).
    """
    if isinstance(subject, bytes):
        from est.own_request import check

        return check(subject, key)
    wanted = []
    kept = []
    if leaf:
        old = x509.Certificate(leaf)
        subject = old.subject
        for oid in (x509.SUBJECT_ALT_NAME, x509.EXT_KEY_USAGE):
            value = old.extension(oid)
            if value:
                kept.append((oid, False, value))
    elif san or eku:
        from est.extensions import requested

        wanted = requested(san, eku)
    extensions = wanted + kept
    if attributes:
        subject, extensions = attributes.apply(subject, wanted, kept, extra, log)
    try:
        from est.key_types import choose

        key = choose(key, leaf, attributes, log)
    except ImportError:
        if attributes:
            attributes.check()
        key = keys.load(key) if key else keys.SoftwareKey()
    return key.der(), csr.build(key, subject, extensions, extra)


def accept(issued, others, key, anchors, now):
    """[key, *chain to present], leaf first: of `issued` the one with our key, and its issuers.

    All certificates are DER. others: more intermediates. key: DER. now: Unix seconds. Raises
    PeerError, NotTrusted, Ended, or NotYetValid for a certificate to be kept until its time.
    """
    if not issued:
        raise PeerError("the answer holds no certificate")
    spki = keys.load(key).spki()
    found = [x509.Certificate(certificate) for certificate in issued]
    for leaf in found:
        if leaf.spki == spki:
            break
    else:
        raise PeerError("the server issued a certificate for another key")
    if now < leaf.not_before:
        wait = leaf.not_before - now
        raise NotYetValid("the certificate %s is issued, and not valid yet" % leaf, wait)
    if now > leaf.not_after:
        raise Ended("the certificate %s that came has expired" % leaf)
    found += [x509.Certificate(certificate) for certificate in others]
    path = x509.verify_path(leaf, found, [x509.Certificate(anchor) for anchor in anchors], now)
    return [key] + [one.der for one in path if one is leaf or one.subject != one.issuer]


def validity(leaf):
    """(notBefore, notAfter) of DER certificate `leaf`, in Unix seconds."""
    leaf = x509.Certificate(leaf)
    return leaf.not_before, leaf.not_after
