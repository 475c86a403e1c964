"""Makes a certification request in two halves (est.apart), while TLS has most of the heap."""

from est import aparts


def build(fetch, log, wanted, leaf, key):
    """(DER of the key, CertificationRequest DER), in steps.

    fetch: None, or gives the server's est.attributes.CsrAttrs, or None, in steps.
    log, key: as in est.agent.Agent. wanted: its (subject, san, eku, extra); subject, san and eku
        are for a first certificate, an own request in place of the subject for every one.
    leaf: DER certificate to renew instead, whose subject and names are kept (RFC 7030 4.2.2).
    """
    subject = wanted[0]
    if isinstance(subject, bytes):
        from est.own_request import check

        if fetch:
            yield from aparts(fetch)
        return check(subject, key)
    fields, renewed, demands = yield from aparts(_wanted, fetch, log, wanted, leaf, key)
    from est import keys

    choose = None
    if key or renewed or demands:
        try:
            from est.key_types import choose
        except ImportError:
            pass  # an optional part
    if choose:
        key = yield from choose(key, renewed, demands, log)
    else:
        key = keys.load(key) if key else keys.P256Key()
    yield
    return key.der(), keys.request(key, *fields)


def _wanted(fetch, log, wanted, leaf, key):
    attributes = fetch and (yield from fetch())
    # Loaded only now: the handshake takes more of the heap.
    from est import csr

    return csr.wanted(attributes, log, wanted, leaf, key)
