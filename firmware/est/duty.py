"""When est.agent does what, and with which credential: its way through a life of renewals.

A certificate is renewed by itself. Where it has expired, is refused for long, or the settings ask
for another, the factory's certificate or the password leads back, and the certificate stays for as
long as it works. Whatever seems the better way, each second try goes the other one.
"""

import os

from micropython import const

from est import aside, clock, cms, order, retry, store, verdict, waiting
from est.errors import (
    Closed,
    Ended,
    EstError,
    NotTrusted,
    PeerError,
    Refused,
    RetryLater,
    StorageError,
    UsageError,
    missing,
)

# So many refusals of the certificate in a row, each after a longer wait, and it works no more.
_REFUSALS = const(6)
# Ways to prove who the board is.
_CERTIFICATE = const(1)
_FACTORY = const(2)
_LOGIN = const(4)
_DAY = const(86400)
_HOUR = const(3600)
# A first failure is tried again after a minute, a lasting one four times a day.
_FIRST_WAIT = const(60)
_LONGEST_WAIT = const(21600)
# While a server says to wait, it is asked once an hour at least, and more often at first.
_LONGEST_POLL = const(3600)
# The least floor after a success: what is left of a life may be nothing.
_LEAST = const(60)
# How soon after the last answer a doubt of the application's is followed.
_DOUBT = const(300)
# How often the server is asked for its CA certificates where no order asks anyway: 30 days.
_CHECK = const(2592000)


def plan(agent):
    """What is due: in how many seconds to ask again, or (order, what TLS shows, DER certificate to
    renew or None, key), as est.agent.Agent.send takes them. In steps, as all here that asks the
    server.
    """
    agent.doing = "start"
    agent.shown = None
    identity = agent.known
    if identity.erased:
        # By a person, who does not want to wait.
        identity.erased = False
        agent.until = agent.wait = agent.floor = agent.polls = agent.failures = agent.refusals = 0
        agent.candidate = None
    now = agent.now()
    earliest = identity.earliest()
    behind = earliest - clock.now()
    if behind > 0:
        raise UsageError("the clock is %d s or more behind what it must be: set it" % behind)
    left = agent.until - now
    if 0 < left <= agent.wait:
        identity.next = ("retry", agent.until)
        return left
    if isinstance(agent.trust, bytes) and not agent.vouched():
        yield from agent.bootstrap()
        return 0
    if agent.lost_trust:
        agent.lost_trust = False
        if (yield from _follow(agent)):
            return 0
    current = agent.resume()
    if not current and agent.store.damaged:
        # What a cut left of an order that has ended may hold a key.
        try:
            agent.store.erase("order")
        except StorageError as error:
            agent.log(str(error))
    if current:
        if not current.answer:
            current = _turned(agent, current)
        shown = identity
        ended = identity.chain and clock.now() <= identity.not_after < now
        if current.answer and (ended or (agent.skew and agent.polls)):
            # The clock may have been set since: the server's Date before the old one is given up,
            # or the new one waits on.
            yield from agent.cacerts(None)
            agent.doing = "start"
        if not current.meta["leaf"] and (agent.failures % 2 == 0 or now > identity.not_after):
            shown = _birth(agent)
        if not current.answer:
            # What other settings asked for is asked for once more.
            if not _is_ours(agent, current.meta, *_usual(agent, current)):
                if not (yield from _poll_once(agent, current)):
                    return 0
            else:
                waiting.hold_back(agent, current)
        return current, shown, None, None
    if not _needed(agent, now):
        return (yield from _idle(agent, now))
    if not agent.aside_tried:
        agent.aside_tried = True
        if (yield from aside.attempt(agent)):
            return 0
    agent.aside_tried = False
    shown, leaf, key = _way(agent, now)
    agent.planned = True
    return agent.orders[leaf is not None](), shown, leaf, key


def _follow(agent):
    try:
        from est import rollover
    except ImportError:
        return False  # an optional part
    return (yield from rollover.follow(agent))


def _changed(agent):
    # Whether the settings ask for another certificate than the one at hand.
    meta = agent.known.meta
    settings = meta.get("settings")
    voucher = meta.get("voucher")
    return (settings and agent.wanted[0] and settings != retry.asked(agent)) or (
        voucher and agent.trust and voucher != agent.voucher.hex()
    )


def _usual(agent, current):
    # The certificate to renew and the key, as the settings have it.
    identity = agent.known
    return identity.chain[0] if current.meta["leaf"] and identity.chain else None, agent.key


def _is_ours(agent, meta, leaf, key):
    # Whether an order of this meta is what `leaf` and `key` would make now.
    new_order = agent.orders[leaf is not None]()
    asked = meta.get("asked")
    ours = asked, meta["kind"], meta.get("terms", "")
    # One that an older version stored does not tell.
    return not asked or ours == (retry.asked(agent, leaf, key), new_order.kind, new_order.terms)


def _turned(agent, current):
    # A renewal whose certificate serves no more would wait for ever: the same request goes out as
    # for a first certificate, and as a renewal again once the certificate is accepted again. What
    # was issued for it comes either way.
    meta = current.meta
    works = agent.works()
    if meta["leaf"] and not works and (agent.factory or agent.credentials):
        agent.log("the certificate to renew serves no more: enrolling with the same request")
        turned = agent.orders[0]()
        leaf, was = None, meta["leaf"]
    elif works and meta.get("was") == store.digest(agent.known.chain[0]):
        turned = agent.orders[1]()
        leaf, was = agent.known.chain[0], ""
    else:
        return current
    turned.restore(current.items())
    asked = retry.asked(agent, leaf)
    leaf = store.digest(leaf) if leaf else ""
    turned.meta.update(kind=turned.kind, terms=turned.terms, leaf=leaf, was=was, asked=asked)
    agent.keep(turned, "made")
    return turned


def _needed(agent, now):
    identity = agent.known
    floored = retry.is_floored(agent, now)
    if _changed(agent):
        # New settings wait for no floor but their own.
        return not floored or agent.floor_of != retry.asked(agent)
    if floored:
        return False
    if not identity.chain:
        return True
    start, length = identity.life(now)
    return now >= start + _soonest(identity, length) and (
        now >= identity.renew_at(now) or agent.refusals >= _REFUSALS
    )


def _soonest(known, length):
    # Seconds after the start of a life of this length until another certificate may be had.
    return max(length // 24, min(_LEAST, (known.not_after - known.not_before) // 2))


def _birth(agent):
    # What to show in TLS where the identity cannot serve.
    return None if agent.failures % 2 and agent.credentials else agent.factory


def _way(agent, now):
    # What to show in TLS, the certificate to renew or None to enrol, and the key to use.
    identity = agent.known
    alive = identity.chain and now <= identity.not_after
    other_way = agent.factory or agent.credentials
    second = agent.failures % 2
    renew = alive
    if alive and other_way and agent.refusals >= _REFUSALS:
        renew = second
    elif alive and _changed(agent):
        renew = second and now >= identity.renew_at(now)
    elif identity.chain and not other_way:
        renew = True
    if renew:
        return identity, identity.chain[0], agent.key
    if identity.chain:
        why = "is for other settings"
        if not alive:
            why = "ended by the clock"
        elif agent.refusals >= _REFUSALS:
            why = "is refused"
        agent.log("enrolling anew: the certificate " + why)
    shown = _birth(agent)
    if not shown and alive and agent.refusals < _REFUSALS:
        shown = identity
    return shown, None, agent.key


def _idle(agent, now):
    # Nothing to order: the anchors and what the application heard, else the seconds until then.
    identity = agent.known
    if not identity.chain:
        return agent.floor - now
    start, length = identity.life(now)
    # Once at least between when it is due and when it ends: after a reset the clock alone counts.
    every = min(_CHECK, max(length // 6, min(_HOUR, length // 4), _soonest(identity, length)))
    if agent.skew:
        every = min(every, _DAY)
    if not agent.contact:
        agent.contact = (agent.load("anchors") or [{}])[0].get("checked", 0)
    if identity.doubt:
        every = _DOUBT
    left = agent.contact + every - clock.now()
    if not 0 < left <= every:
        yield from _refresh(agent)
        now = agent.now()
        left = every
    due = max(identity.renew_at(now), start + _soonest(identity, length))
    if retry.is_floored(agent, now):
        due = max(due, agent.floor)
    identity.next = ("renew", due)
    agent.polls = 0
    return max(min(due - now, left), 1)


def _refresh(agent):
    agent.doing = "cacerts"
    identity = agent.known
    try:
        offered = yield from agent.cacerts(identity)
    except (Closed, Refused) as error:
        raise (yield from proof_of_refusal(agent, error))
    agent.contact = clock.now()
    identity.doubt = None
    agent.refusals = 0
    if agent.failures:
        agent.failures = 0
        retry.erase(agent)
    yield from agent.adopt(cms.issued(offered))


def proof_of_refusal(agent, error):
    """What to raise for the `error` with which a connection that showed the identity ended."""
    try:
        from est import proof
    except ImportError:
        return error  # an optional part
    return (yield from proof.refused(agent, error, agent.known))


def _poll_once(agent, current):
    # Ask a last time for what other settings asked for. Whether an answer is stored.
    agent.log("a request for other settings is sent once more, and given up then")
    own_server = agent.url, agent.credentials
    url = current.meta.get("url") or agent.url
    if url != agent.url:
        agent.close()
        agent.url = url
        agent.credentials = None  # they are for the other server
    try:
        yield from agent.send(current, agent.known if current.meta["leaf"] else agent.factory)
        return True
    except PeerError:
        if url == own_server[0]:
            raise
    except (RetryLater, Refused, NotTrusted, UsageError):
        pass
    finally:
        agent.close()
        agent.url, agent.credentials = own_server
    agent.end()
    return False


def leftover(agent, current, leaf, key):
    """Before another order: finish `current` where it is answered, or of other settings.

    leaf, key: of the order that the caller wants, the certificate to renew (DER) or None, and the
    key. Returns the certificate (DER) if it is that one. Else None: then the order is gone, or
    still to be sent. Raises RetryLater while its time has not come.
    """
    agent.now()  # without a clock nothing is judged, nor set aside
    if not current:
        record = agent.load("aside")
        if not record:
            return None
        if not _is_ours(agent, record[0], leaf, key):
            # It renews another certificate than the one in use: that came later, or is this one.
            if leaf and record[0]["leaf"] not in ("", store.digest(leaf)):
                agent.store.erase("aside")
            return None
        generation = agent.known.generation
        yield from aside.attempt(agent)
        return agent.known.chain[0] if agent.known.generation != generation else None
    if not current.answer and bool(leaf) != bool(current.meta["leaf"]):
        current = _turned(agent, current)
    ours = _is_ours(agent, current.meta, leaf, key)
    if not current.answer:
        if ours:
            waiting.hold_back(agent, current)
            return None
        if not (yield from _poll_once(agent, current)):
            return None
    try:
        key_and_chain = yield from verdict.judge(agent, current)
    except (Ended, PeerError, Refused) as error:
        if agent.resume():
            raise  # it is the network
        agent.log("a certificate that came before is of no use: %s" % error)
        return None
    except (NotTrusted, UsageError) as error:
        agent.log("a certificate that came before is set aside: %s" % error)
        aside.put(agent)
        return None
    yield from agent.settle(current, key_and_chain)
    return key_and_chain[1] if ours else None


def of_kind(kind):
    """A new order of the kind of that name. Raises Unsupported without its part."""
    if kind == "simpleenroll":
        return order.Enrolment()
    if kind == "simplereenroll":
        return order.Renewal()
    try:
        if kind == "serverkeygen":
            from est.serverkeygen import ServerKey as found
        elif kind == "fullcmc":
            from est.fullcmc import FullCmc as found
        else:
            from est.linking import Linked as found
    except ImportError as error:
        raise missing(error)
    return found()


def memo(agent, current, leaf):
    """What to keep with the new identity, as est.store describes it."""
    identity = agent.known
    meta = identity.meta
    share = 43690  # two thirds
    try:
        from est import schedule
    except ImportError:
        pass  # an optional part
    else:
        now = agent.now()
        late = 0
        if identity.chain:
            late = max(now - identity.renew_at(now), 0) * 65536 // max(identity.life(now)[1], 1)
        settings = getattr(agent, "share", None), getattr(agent, "spread", None)
        share = schedule.share(leaf, not identity.chain, late, settings[0], settings[1])
    return {
        "share": share,
        "agreed": agent.agreed or meta.get("agreed", 0),
        "settings": current.meta.get("settings", ""),
        "voucher": agent.voucher.hex() if agent.trust else meta.get("voucher", ""),
    }


def taken(agent, proven):
    """Tell of the new identity, and forget the failures before. proven: None without a proof."""
    if proven is not None:
        agent.tell("proven" if proven else "unproven", generation=agent.known.generation)
    agent.tell("renewed", generation=agent.known.generation, not_after=agent.known.not_after)
    agent.until = agent.wait = agent.floor = agent.polls = 0
    identity = agent.known
    identity.doubt = identity.failure = agent.stranded = None
    agent.vain = 0
    try:
        retry.erase(agent)
    except StorageError as error:
        agent.log(str(error))


def failed(agent, error):
    """Tell what ended a step, and return the seconds until the next."""
    identity = agent.known
    now = clock.now_or_0()
    now += agent.skew if now else 0
    message = str(error)
    # An .mpy of another version is a ValueError.
    if isinstance(error, (ImportError, SyntaxError)) or ".mpy" in message:
        message = str(missing(error))
    agent.room = None  # of a proof that is not soon
    agent.lacks_memory = isinstance(error, MemoryError)
    if agent.lacks_memory:
        agent.tell("memory", operation=agent.doing, text=message)
        message = "the heap is too small, perhaps for the server's CA certificates: " + message
    text = message
    if not text.startswith(agent.doing + ":"):
        text = "%s: %s" % (agent.doing, text)
    left = identity.not_after - now if identity.chain else 0
    if now and not isinstance(error, StorageError):
        try:
            _give_up_late(agent, error)
        except StorageError as not_saved:
            agent.log(str(not_saved))
    if isinstance(error, RetryLater):
        agent.failures -= 1
        if agent.shown is identity:
            agent.refusals = 0
        # A server that names no time, or too short a one, is asked less often the longer it takes.
        agent.polls = min(agent.polls + 1, 12)
        wait = error.seconds
        if wait:
            wait = max(wait, min(1 << agent.polls, _LONGEST_POLL))
        wait = min(wait, waiting.patience(agent))
        rest(agent, now, wait)
        if wait:
            agent.tell("waiting", seconds=wait, text=text)
        return wait
    refused = isinstance(error, Refused) and error.status in (0, 401, 403)
    if refused and agent.doing not in ("proof", "aside"):
        # Not where the factory's certificate was shown, or none.
        agent.refusals += agent.shown is identity
    agent.polls = 0
    wait = min(_FIRST_WAIT << min(agent.failures - 1, 10), _LONGEST_WAIT)
    if not now:
        wait = _FIRST_WAIT
    elif left > 0:
        # Denser again as the end comes near.
        wait = min(wait, max(left // 8, _FIRST_WAIT // 2))
    # Boards that failed together shall not come back together.
    wait = wait * 3 // 4 + wait * os.urandom(1)[0] // 512
    rest(agent, now, wait)
    try:
        retry.save(agent)
    except EstError as not_saved:
        agent.log("the back-off is not kept: %s" % not_saved)
    identity.failure = text
    kind = type(error).__name__
    status = getattr(error, "status", None)  # of what is refused
    agent.tell("failed", type=kind, operation=agent.doing, seconds=wait, text=text, status=status)
    # An end of the connection says something of a certificate alone.
    refused = refused or (isinstance(error, Closed) and agent.shown)
    if refused and clock.now_or_0() and not agent.works():
        _strand(agent, error)
    return wait


def rest(agent, now, seconds):
    """Have the agent do nothing for so long."""
    agent.wait = seconds
    agent.until = now + seconds
    agent.known.next = ("retry", agent.until)


def _give_up_late(agent, error):
    # An answer that cannot be judged stays, but blocks no new order for longer than the floor,
    # whatever fails, and though the part that knows its kind is missing.
    record = agent.load("order")
    if not record[3:]:
        # What was not trusted is the server: links may lead to its new root.
        agent.lost_trust = isinstance(error, NotTrusted)
    elif agent.doing != "proof":
        # Valid soon; if the server was asked, it may say "later" for ever.
        soon = isinstance(error, RetryLater) and not agent.used
        soon = soon and error.seconds <= waiting.patience(agent)
        # The clock may have been set back.
        if not soon and abs(agent.now() - record[0]["since"]) > retry.floor(agent):
            aside.put(agent)


def _strand(agent, error):
    # Told once every way was refused while nothing works: what no credential at hand can mend.
    shown = agent.shown
    if shown is agent.known and agent.refusals == _REFUSALS:
        return  # the other ways come first, and then this one again
    agent.vain |= _CERTIFICATE if shown is agent.known else _FACTORY if shown else _LOGIN
    ways = _FACTORY * bool(agent.factory) | _LOGIN * bool(agent.credentials)
    # One that has ended is a way only where there is no other.
    if agent.known.chain and (not ways or agent.now() <= agent.known.not_after):
        ways |= _CERTIFICATE
    if agent.vain & ways == ways and not agent.stranded:
        agent.stranded = (
            "the server accepts nothing that this board can show (%s): give a new password, token"
            " or factory certificate, or have the server's operator allow the board" % error
        )
        agent.tell("stranded", text=agent.stranded)
