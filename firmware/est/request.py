"""Makes a certification request in two halves (est.apart), while TLS has most of the heap."""

from est import apart


def build(fetch, log, subject, san, eku, extra, leaf, key):
    """(DER of the key, CertificationRequest DER).

    fetch: None, or gives the server's est.attributes.CsrAttrs, or None.
    log, subject, san, eku, extra, key: as in est.agent.Agent; subject, san and eku are for a first
        certificate, an own request in place of the subject for every one.
    leaf: DER certificate to renew instead, whose subject and names are kept (RFC 7030 4.2.2).
    """
    if isinstance(subject, bytes):
        from est.own_request import check

        if fetch:
            apart(fetch)
        return check(subject, key)
    fields, renewed, demands = apart(_fields, fetch, log, subject, san, eku, extra, leaf)
    from est import keys

    choose = None
    if key or renewed or demands:
        try:
            from est.key_types import choose
        except ImportError:
            pass  # an optional part
    if choose:
        key = choose(key, renewed, demands, log)
    else:
        key = keys.load(key) if key else keys.SoftwareKey()
    return key.der(), keys.request(key, *fields)


def _fields(fetch, log, subject, san, eku, extra, leaf):
    # What est.csr.fields gives; and what demands another key than P-256, for est.key_types.choose.
    attributes = fetch and fetch()
    # Loaded only now: the handshake takes more of the heap.
    from est import csr

    wanted = []
    kept = []
    renewed = demands = None
    if leaf:
        from est import x509

        old = x509.Certificate(leaf)
        subject = old.subject
        if len(old.spki) != 91:  # that of P-256
            renewed = old.spki
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
        demands = attributes.demands()
    return csr.fields(subject, extensions, extra), renewed, demands
