"""Which of the server's CA certificates become trust anchors (RFC 7030 4.1.3, RFC 4210 4.4)."""

import binascii
import hashlib

from micropython import const

from est import clock, store
from est.client import Client
from est.errors import EstError, NotTrusted, PeerError

# A root, its successor and what a bridge of CAs may add; a server cannot fill the flash with them.
_MAX_ANCHORS = const(8)
# A week.
_NOTED = const(604800)


def adopt(agent, known, offered):
    """Store the anchors of est.agent.Agent `agent` anew, and return them.

    known: the anchors by which TLS verified the server. offered: its CA certificates (all DER).

    Anchors that the application gave are the Implicit database of RFC 7030 3.3.1. They end here:
    what is stored is the Explicit one. A root that is not known must be linked with a known one in
    both directions. Anchors that the server no longer offers stay until it proves that it can be
    verified without them.
    """
    stored = agent.load("anchors") or [{}]
    damaged = agent.store.damaged
    meta = stored.pop(0)
    voucher = store.to_hex(agent.voucher) if agent.voucher else meta.get("voucher", "")
    first = meta.get("voucher") != voucher
    found = known
    if set(known) != set(offered):
        agent.close()  # TLS leaves its room to the signatures
        found, own = _chosen(agent, known, offered, first, stored)
        if not own:
            voucher = ""  # nothing that is given, so that what is given stays in use
    now = clock.now()
    # Now and then the time is noted, so that a board that sleeps much knows when to ask again.
    recent = 0 <= now - meta.get("checked", 0) < _NOTED
    if damaged or found != stored or meta.get("voucher") != voucher or not recent:
        agent.store.save("anchors", store.pack({"voucher": voucher, "checked": now}, *found))
    if found != known:
        agent.tell("trust", anchors=found)
    return found


def _certificate_class():
    # Old and new root have one name: the fingerprint tells them apart.
    from est.x509 import Certificate

    class Named(Certificate):
        def __str__(self):
            start = binascii.hexlify(hashlib.sha256(self.der).digest()[:4]).decode()
            return "%s (SHA-256 %s)" % (Certificate.__str__(self), start)

    return Named


def _chosen(agent, known, offered, first, stored):
    # The anchors, and whether they verify the server itself. first: `known` are those given.
    Certificate = _certificate_class()
    log = agent.log
    now = clock.now()
    anchors = [Certificate(one) for one in known]
    roots = []
    links = []
    for one in offered:
        if one not in known:
            try:
                certificate = Certificate(one)
                if certificate.path_length() >= 0:
                    certificate.check(now)
                    (roots if _self_signed(certificate) else links).append(certificate)
            except (NotTrusted, PeerError) as error:
                log("a CA certificate is left out: %s" % error)
    roots.sort(key=lambda root: root.not_after)
    found = [one for one in known if one in offered]
    strange = []
    for root in roots:
        reason = _objection(root, anchors, links, now)
        if reason:
            strange.append((root, reason))
        else:
            anchors.append(root)
            found.append(root.der)
    foreign = first and strange and not found
    if foreign:
        # Anchors from elsewhere verified the server, whose word it is which its own are: the
        # root that is valid longest, and one before it that it is linked with.
        newest, _ = strange.pop()
        anchors.append(newest)
        found.append(newest.der)
        for pair in list(strange):
            if not _objection(newest, pair[:1], links, now):
                strange.remove(pair)
                anchors.append(pair[0])
                found.append(pair[0].der)
    for root, reason in strange:
        log("the server's root %s is not trusted: %s" % (root, reason))
    if not found:
        return known, True
    gone = [one for one in anchors if one.der not in found]
    if gone and not _verified(agent, found):
        if foreign:
            log("the server is not verified by its own CA: the anchors given are still needed")
            return found, False
        room = max(_MAX_ANCHORS - len(found), 0)
        found += [one.der for one in gone if one.not_after >= now][:room]
        gone = []
    for one in gone:
        log("%s is no longer trusted" % one)
    for one in anchors[len(known) :]:
        if one.der not in stored:
            log("%s is trusted from now on" % one)
    return found, True


def _self_signed(certificate):
    if certificate.subject != certificate.issuer:
        return False
    try:
        certificate.check_signature(certificate)
    except NotTrusted:
        return False  # a link to another key of the same name
    return True


def _objection(new, anchors, links, now):
    # Why `new` does not succeed one of `anchors`, or None. NewWithOld alone would do for any CA
    # that the old one has cross-certified; OldWithNew says that both are the same.
    from est.x509 import verify_path

    reason = "nothing links it with what is trusted"
    for old in anchors:
        if new.not_after < old.not_after:
            # Whoever trusts the new root alone has his reasons.
            reason = "it is older than what is trusted"
            continue
        new_with_old = [one for one in links if one.spki == new.spki]
        old_with_new = [one for one in links if one.spki == old.spki]
        if new_with_old and not old_with_new:
            reason = "it does not vouch for the old root"
        try:
            for one in new_with_old:
                verify_path(one, [], [old], now)
                for other in old_with_new:
                    verify_path(other, [], [new], now)
                    return None
        except NotTrusted as error:
            reason = error
    return reason


def _verified(agent, anchors):
    # Whether the server passes with these anchors alone. No credential is at hand here.
    client = Client(agent.url, anchors, timeout=agent.timeout)
    try:
        client.cacerts()
    except EstError:
        return False
    finally:
        client.close()
    return True
