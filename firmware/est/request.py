"""What an order does without a connection: makes a request, judges its answer.

It brings most of the package along, so est.order loads it only while it is called (est.apart).
"""

from est import csr, keys, protocol, store, x509
from est.errors import (
    Ended,
    EstError,
    NotTrusted,
    NotYetValid,
    PeerError,
    Refused,
    RetryLater,
)


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
    PeerError, NotTrusted, and Ended or NotYetValid for the leaf.
    """
    spki = keys.load(key).spki()
    found = [x509.Certificate(certificate) for certificate in issued]
    for leaf in found:
        if leaf.spki == spki:
            break
    else:
        raise PeerError("the server issued a certificate for another key")
    found += [x509.Certificate(certificate) for certificate in others]
    path = x509.verify_path(leaf, found, [x509.Certificate(anchor) for anchor in anchors], now)
    return [key] + [one.der for one in path if one is leaf or one.subject != one.issuer]


def validity(leaf):
    """(notBefore, notAfter) of DER certificate `leaf`, in Unix seconds."""
    leaf = x509.Certificate(leaf)
    return leaf.not_before, leaf.not_after


def judge(agent, current, others=None):
    """Items [key, leaf, *intermediates] (DER) that the answer of order `current` brings.

    others: the server's CA certificates as they came; None to ask for them if they are needed.
    Raises RetryLater for one that is not valid yet, NotTrusted or UsageError where an issuer or a
    part of est is missing: then the order stays. Anything else ends it.
    """
    anchors = agent.anchors()
    offered = []
    while True:
        if others:
            try:
                offered = protocol.certificates(others)
                anchors = agent.adopt(offered)
            except (PeerError, NotTrusted) as error:
                agent.log("CA certificates of no use: %s" % error)
        try:
            now = max(agent.now(), current.meta["date"])
            return current.accept(offered, anchors, now)
        except EstError as error:
            ended = isinstance(error, (Ended, PeerError, Refused))
            early = isinstance(error, NotYetValid)
            if others or ended or early or not isinstance(error, NotTrusted):
                if agent.parts:
                    agent.parts.rejected(agent, current, error)
                elif ended:
                    agent.end()
                if early:
                    raise RetryLater("%s; it is kept for then" % error, error.seconds)
                raise
        # The server may have what is missing.
        others = agent.cacerts(agent.known if agent.works() else None)


def take(agent, current, items, proven):
    """Use the identity of these items from now on. proven: None where no proof was asked for.

    Raises PeerError where it is the one in use already.
    """
    known = agent.known
    answered = current.meta
    leaf = items[1]
    meta = known.meta
    if known.chain[:1] == [leaf]:
        # The power went before the order was gone, or the server has not renewed.
        if answered["leaf"] == store.digest(leaf):
            error = PeerError("the server sent the certificate in use again")
            if agent.parts:
                agent.parts.rejected(agent, current, error)
            agent.end()
            raise error
    else:
        not_before, not_after = validity(leaf)
        issued = min(max(answered["date"] or answered["since"], not_before), not_after)
        meta = {
            "not_before": not_before,
            "not_after": not_after,
            "issued": issued,
            "generation": known.generation + 1,
        }
        if agent.parts:
            meta.update(agent.parts.memo(agent, current, leaf))
    payload = store.pack(meta, *items)
    # Both copies: damage to one must not bring the old certificate back.
    agent.store.save("identity", payload)
    agent.store.save("identity", payload)
    known.take([meta] + items)
    agent.end()
    if agent.parts:
        agent.parts.taken(agent, proven)
    agent.failures = agent.refusals = 0
