"""Whether an answer brings an identity, and taking it over: between connections (est.apart)."""

from est import apart, cms, errors, store, x509


def accept(issued, others, key, anchors, now, log=None):
    """[key, *chain to present], leaf first: of `issued` the one with our key, and its issuers.

    In steps.

    All certificates are DER. others: list of more intermediates, which is emptied, for what is
    held twice finds no room in a small heap. key: DER. now: Unix seconds. log: see
    x509.certificates. Raises PeerError and as x509.verify_path.
    """
    # Making it takes heap that verifying needs.
    ours = apart(spki, key)
    yield
    certificates = list(x509.certificates(issued, log))
    for leaf in certificates:
        if leaf.spki == ours:
            break
    else:
        raise errors.PeerError("the server issued a certificate for another key")
    while others:
        other = others.pop(0)
        if other not in issued + anchors:
            certificates += x509.certificates([other], log)
    anchors = list(map(x509.Certificate, anchors))
    path = yield from x509.path(leaf, certificates, anchors, now)
    return [key] + [cert.der for cert in path if cert is leaf or cert.subject != cert.issuer]


def spki(key):
    """SubjectPublicKeyInfo (DER) of a key (DER). Raises UsageError."""
    from est import keys

    return keys.load(key).spki()


def validity(leaf):
    """(notBefore, notAfter) of DER certificate `leaf`, in Unix seconds."""
    leaf = x509.Certificate(leaf)
    return leaf.not_before, leaf.not_after


def judge(agent, current, others=None):
    """Items [key, leaf, *intermediates] (DER) that the answer of order `current` brings; in steps.

    others: list of the server's CA certificates as they came, which it is taken from, since the
        heap holds nothing twice; without them they are asked for if they are needed.
    Raises RetryLater for one that is not valid yet, or whose issuer is not, NotTrusted where an
    issuer is missing, UsageError where a part of est is, and Unsupported for what the board cannot
    judge: then the order stays. Anything else that is found wrong ends it.
    """
    anchors = agent.judges()
    others = others and others.pop()
    offered = []
    while True:
        if others:
            try:
                offered = cms.issued(others)
                others = True
                anchors = yield from agent.adopt(offered)
            except (errors.PeerError, errors.NotTrusted) as error:
                agent.log(str(error))  # then the answer must do without them
        try:
            now = max(agent.now(), current.meta["date"])
            return (yield from current.accept(offered, anchors, now, agent.log))
        except errors.EstError as error:
            if not others and type(error) in (errors.NotTrusted, errors.Unsupported):
                # The server may have what is missing.
                try:
                    others = yield from agent.cacerts(agent.known if agent.works() else None)
                    continue
                except errors.Refused as refused:
                    agent.log(str(refused))
            if agent.parts:
                if (yield from agent.parts.rejected(agent, current, error)):
                    others = None
                    continue
            elif isinstance(error, (errors.Ended, errors.PeerError, errors.Refused)):
                agent.end()
            if isinstance(error, errors.NotYetValid):
                raise errors.RetryLater("%s; kept for then" % error, error.seconds)
            raise error


def take(agent, current, items, memo):
    """Use the identity of these items from now on, and keep `memo`, a dict, with it.

    Raises PeerError where it is the one in use already; the order is not ended then.
    """
    identity = agent.known
    answered = current.meta
    leaf = items[1]
    meta = identity.meta
    if identity.chain[:1] == [leaf]:
        # The power went before the order was gone, or the server has not renewed.
        if answered["leaf"] == store.digest(leaf):
            raise errors.PeerError("the server sent the certificate in use again")
    else:
        not_before, not_after = validity(leaf)
        issued = min(max(answered["date"] or answered["since"], not_before), not_after)
        meta = {
            "not_before": not_before,
            "not_after": not_after,
            "issued": issued,
            "generation": identity.generation + 1,
        }
        meta.update(memo)
    payload = store.pack(meta, *items)
    agent.store.save("identity", payload)
    try:
        # Both copies: damage to one must not bring the old certificate back.
        agent.store.save("identity", payload)
    except errors.StorageError as error:
        agent.log(str(error))
    identity.take([meta] + items)
    agent.end()
    agent.failures = agent.refusals = 0
