"""Makes a certification request. est.order loads it only while it is called (est.apart)."""

from est import csr, keys


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
        from est import x509

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
