"""Which of the server's CA certificates become trust anchors (RFC 7030 4.1.3, RFC 4210 4.4).

Two certificates link a root with the one before it: NewWithOld, the new key signed by the old one,
and OldWithNew, the old key signed by the new one. Both are demanded. NewWithOld alone would do for
any CA that the old root has cross-certified; OldWithNew says that both are the same CA.

A board that slept through several rollovers follows the links from key to key. Of the roots
between, the links are enough; only a root that was itself offered becomes an anchor.

Links never lead back in time, or a thief of the key of a root that was given up could name a
successor to it: no key on the way may begin before the anchor at its start does. When a key begins
is told by the link that a trusted key signed, since OldWithNew begins with the old root (RFC 4210
4.4), and by the root itself if it is offered.
"""

import hashlib

from micropython import const

from est import clock, operations, run, store
from est.errors import EstError, NotTrusted, PeerError, Unsupported, UsageError
from est.tls import Context

# A root, its successor and what a bridge of CAs may add; a server cannot fill the flash with them.
_MAX_ANCHORS = const(8)
# A week.
_NOTED = const(604800)
# Signatures checked for one answer. Twelve rollovers take some 60; 192 at most, if no date tells
# their order. The rest is for nine certificates that are tried at each hop, in vain.
_MAX_CHECKS = const(320)


def adopt(agent, known, offered):
    """Store the anchors of est.agent.Agent `agent` anew, and return them; in steps.

    known: the anchors by which TLS verified the server. offered: its CA certificates (all DER), of
    which those are taken out that lead nowhere: roots that are not known and not linked.

    Anchors that the application gave are the Implicit database of RFC 7030 3.3.1. They end here:
    what is stored is the Explicit one. A root that is not known must be linked with a known one in
    both directions. Anchors that the server no longer offers stay until it proves that it can be
    verified without them; intermediates, as long as their issuer is an anchor.

    Where anchors from elsewhere verified the server, and are needed for it, they stay in use for
    TLS. What is stored then is for judging what the CA issued; `given` tells for which trust.
    """
    stored = agent.load("anchors") or [{}]
    damaged = agent.store.damaged
    meta = stored.pop(0)
    given = voucher = agent.voucher.hex() if agent.voucher else meta.get("voucher", "")
    first = meta.get("voucher") != voucher
    now = clock.now()
    # Now and then the time is noted, so that a board that sleeps much knows when to ask again.
    recent = 0 <= now - meta.get("checked", 0) < _NOTED
    anchors = known
    if agent.ca:
        given += agent.ca.hex()  # another fingerprint is another trust
    if set(known) != set(offered) or _lacks(agent.ca, known):
        agent.close()  # TLS leaves its room to the signatures
        judges = stored if given and meta.get("given") == given else []
        anchors, passes = yield from _chosen(agent, known, offered, first, stored, judges, recent)
        if not passes:
            voucher = ""  # nothing that is given, so that what is given stays in use
    told = meta.get("voucher") == voucher and (not agent.ca or meta.get("given") == given)
    if damaged or anchors != stored or not told or not recent:
        meta = {"voucher": voucher, "checked": now}
        if agent.ca or not voucher:
            meta["given"] = given
        agent.store.save("anchors", store.pack(meta, *anchors))
    if anchors != known:
        agent.tell("trust", anchors=[store.digest(anchor) for anchor in anchors])
    return anchors


def successors(anchors, offered, now, log):
    """The roots among `offered` that succeed one of `anchors`: list of DER, nearest first.

    anchors: what is trusted. offered: a server's CA certificates. Both are lists of DER.
    now: Unix seconds. log: called with a line of text, the reason included, for each certificate
    that is left out and for each root that is not trusted.

    `offered` may come from a server that TLS could not verify: the links prove what is returned.
    Roots that are among `anchors` already are not returned. Neither network nor store is used.
    Raises DerError for a malformed anchor; nothing that is offered raises anything.
    """
    return run(_successors(anchors, offered, now, log))


def _successors(anchors, offered, now, log):
    bag = yield from _bag(anchors, offered, now, log)
    roots = yield from bag.follow(bag.anchors)
    bag.tell(log)
    return _ders(roots)


def follow(agent):
    """Whether links lead from what is trusted to the root of a server that TLS could not verify.

    Such is the server of a board that slept through a rollover, or several. Its /cacerts is asked
    for unverified, for the links prove themselves; then it must pass with what they lead to.
    In steps.
    """
    client = agent.connect((), bootstrap=True)
    try:
        offered = yield from client.steps(operations.cacerts(client.est))
    finally:
        client.close()
    # What is stored to judge by alone is another CA's.
    trusted = agent.vouched()
    if not trusted:
        return False
    roots = yield from _successors(trusted, offered, clock.now(), agent.log)
    anchors = (roots + trusted)[:_MAX_ANCHORS]
    if not roots or not (yield from _verified(agent, anchors)):
        return False
    agent.store.save("anchors", store.pack(agent.load("anchors")[0], *anchors))
    agent.tell("trust", anchors=[store.digest(anchor) for anchor in anchors])
    return True


def _ders(certificates):
    return [certificate.der for certificate in certificates]


def _age(certificate):
    return certificate.not_before, certificate.not_after


def _certificate_class():
    from est.x509 import Certificate

    class Named(Certificate):
        settled = False  # whether the signer was found
        begin = 0  # of the anchor that the links to this one start from; 0 admits any age

        def __init__(self, data):
            super().__init__(data)
            self.key = hashlib.sha256(self.spki).digest()

        def __str__(self):
            # Old and new root have one name: the fingerprint tells them apart.
            start = hashlib.sha256(self.der).digest()[:4].hex()
            return "%s (SHA-256 %s)" % (Certificate.__str__(self), start)

    return Named


def _bag(anchors, offered, now, log):
    bag = _Bag(anchors, offered, now)
    yield from bag.sort(set(offered) - set(anchors), log)
    return bag


class _Root:
    """A root that is parsed again when more is asked of it: thirty would fill a board's heap."""

    def __init__(self, parsed):
        self.kind = type(parsed)
        self.der = parsed.der
        self.key = parsed.key
        self.not_before = parsed.not_before
        self.not_after = parsed.not_after

    def __getattr__(self, name):
        return getattr(self.kind(self.der), name)

    def __str__(self):
        return str(self.kind(self.der))


class _Bag:
    """CA certificates as they were offered, and the search for links among them, in steps.

    anchors: Certificates. roots: the self-signed ones that were not found yet, oldest first.
    """

    def __init__(self, anchors, offered, now):
        Certificate = _certificate_class()
        self.now = now
        self.checks = _MAX_CHECKS
        self.anchors = [Certificate(encoded) for encoded in anchors]
        for anchor in self.anchors:
            anchor.begin = anchor.not_before
        self.offered = offered
        self.roots = []
        self.links = []
        self.reasons = {}  # why a key was not reached

    def sort(self, offered, log):
        """Tell roots from links."""
        Certificate = _certificate_class()
        for certificate in offered:
            try:
                certificate = Certificate(certificate)
                name = str(certificate)  # a malformed one fails here, and not in a note
                if certificate.path_length() < 0:
                    raise NotTrusted(name + " is no CA")
                if certificate.subject == certificate.issuer:
                    Context([certificate.der])  # TLS must load what may become an anchor
                certificate.check(self.now)
            except (NotTrusted, PeerError, UsageError) as error:
                log("a certificate is left out: %s" % error)
                continue
            # The signature tells them apart: often all roots bear one name, and so do their links.
            if self._objection(certificate, Certificate(certificate.der)):
                self.links.append(certificate)
            else:
                self.roots.append(_Root(certificate))
            yield
        # Links in the order in which they were made are followed with the fewest checks.
        self.links.sort(key=_age)
        self.roots.sort(key=_age)

    def rest(self):
        """DER of the roots that no link is about."""
        keys = [link.key for link in self.links]
        return [root.der for root in self.roots if root.key not in keys]

    def chosen(self):
        """The anchors that are offered, and the roots that links connect with any of them."""
        offered = [anchor for anchor in self.anchors if anchor.der in self.offered]
        return offered + (yield from self.follow(self.anchors))

    def follow(self, anchors):
        """The roots that links connect with `anchors` (Certificates); they leave `roots`."""
        self.reached = [anchor.key for anchor in anchors]
        self.found = []
        for anchor in anchors:
            anchor.names = [anchor.subject]
        # Depth first: the search ends as soon as each root is found.
        stack = [self._hops(anchor) for anchor in anchors]
        while stack and self.roots:
            for link in stack[-1]:
                if link:
                    stack.append(self._hops(link))
                    break
                yield
            else:
                stack.pop()
        return self.found

    def _hops(self, old):
        # Iterator over each NewWithOld from `old` to a key that was not reached before, and over
        # None after some work.
        for link in self.links:
            if not link.settled and link.key not in self.reached:
                reason = self._refusal(old, link)
                if reason:
                    self.reasons[link.key] = reason
                yield None if reason else link

    def _refusal(self, old, link):
        # Why `link` does not lead from `old` to another root; or None, and then it stands for that
        # root from now on, with the names under which the new key vouches for the old one.
        key = link.key
        for candidate in self.roots + [link]:
            if candidate.key == key and candidate.not_before < old.begin:
                return "it is older than what is trusted"
        if link.issuer in old.names:
            old.subject = link.issuer
        elif key in self.reasons:
            return self.reasons[key]
        reason = self._objection(link, old)
        if reason:
            return reason
        link.settled = True
        link.begin = old.begin
        link.names = []
        reason = "it does not vouch for the old root"
        for link_back in self.links:
            if link_back.key == old.key and not link_back.settled:
                link.subject = link_back.issuer
                reason = self._objection(link_back, link)
                if not reason:
                    link.names.append(link_back.issuer)
        if not link.names:
            return reason
        self.reached.append(key)
        remaining = []
        for root in self.roots:
            is_reached = root.key == key and root.subject in link.names
            (self.found if is_reached else remaining).append(root)
        self.roots = remaining

    def _objection(self, certificate, issuer):
        # Why nothing shows that `issuer` signed `certificate`, or None.
        from est.x509 import verify_path

        if not self.checks:
            return "there are too many certificates"
        self.checks -= 1
        try:
            verify_path(certificate, [], [issuer], self.now)
        except (NotTrusted, PeerError, Unsupported) as error:
            return str(error)

    def tell(self, log):
        """Log why the roots that are left are not trusted."""
        for root in self.roots:
            reason = self.reasons.get(root.key, "nothing links it with what is trusted")
            log("the server's root %s is not trusted: %s" % (root, reason))


def _chosen(agent, known, offered, first, stored, judges=(), recent=False):
    # The anchors, and whether they verify the server itself. first: `known` are those given.
    # judges: what was stored to judge by while `known` verify the server. recent: it was tried
    # lately whether the server passes with what is stored.
    log = agent.log
    now = clock.now()
    bag = yield from _bag(known, offered, now, log)
    all_offered = list(offered)
    for ca in bag.rest():
        offered.remove(ca)
    anchors = bag.anchors
    chosen = yield from bag.chosen()
    foreign = agent.ca or (first and len(bag.roots) > 0 and not chosen)
    if foreign:
        chosen = []
        if judges:
            bag = yield from _bag(judges, all_offered, now, log)
            chosen = yield from bag.chosen()
        if not chosen:
            own_roots = _own(agent.ca, bag)
            chosen = own_roots + (yield from bag.follow(own_roots))
            if not chosen and agent.ca:
                raise NotTrusted(
                    "no CA certificate that the server offers has the given fingerprint"
                )
            if not chosen:
                return known, False
        if recent and set(_ders(chosen)) == set(judges):
            return judges, not first
    bag.tell(log)
    if not chosen:
        return known, True
    issuers = [] if foreign else [anchor.subject for anchor in chosen]
    for ca in anchors:
        if ca not in chosen and ca.subject != ca.issuer and ca.issuer in issuers:
            chosen.append(ca)
    if len(chosen) > _MAX_ANCHORS:
        chosen.sort(key=_age)
        chosen = chosen[-_MAX_ANCHORS:]
    gone = [anchor for anchor in anchors if anchor not in chosen]
    if gone and not (yield from _verified(agent, _ders(chosen))):
        if foreign:
            log("the server is not verified by its own CA: the anchors given are still needed")
            return _ders(chosen), False
        kept = [anchor for anchor in gone if anchor.not_after >= now][: _MAX_ANCHORS - 1]
        chosen = chosen[len(kept) - _MAX_ANCHORS :] + kept
        gone = []
    for ca in gone:
        log("%s is no longer trusted" % ca)
    for ca in chosen:
        if ca.der not in known and ca.der not in stored:
            log("%s is trusted from now on" % ca)
    return _ders(chosen), True


def _lacks(fingerprint, certificates):
    # Whether none of them (DER) has the fingerprint that is given.
    return fingerprint and fingerprint not in [
        hashlib.sha256(one).digest() for one in certificates
    ]


def _own(fingerprint, bag):
    # Which root is the server's own where anchors from elsewhere verified it: the one that is
    # named, else by the server's word, the one that begins last.
    roots = bag.roots
    for index in range(len(roots) - 1, -1, -1):
        if not fingerprint or hashlib.sha256(roots[index].der).digest() == fingerprint:
            return [roots.pop(index)]
    for anchor in bag.anchors:
        if anchor.der in bag.offered and hashlib.sha256(anchor.der).digest() == fingerprint:
            return [anchor]
    return []


def _verified(agent, anchors):
    # Whether the server passes with these anchors alone. No credential is at hand here.
    client = agent.connect(anchors)
    try:
        yield from client.steps(operations.cacerts(client.est))
    except EstError:
        return False
    finally:
        client.close()
    return True
