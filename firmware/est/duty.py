"""When est.agent does what, and with which credential: its way through a life of renewals.

A certificate is renewed by itself. Where it has expired, is refused for long, or the settings ask
for another, the factory's certificate or the password leads back, and the certificate stays for as
long as it works. Whatever seems the better way, each second try goes the other one.
"""

import os

from micropython import const

from est import clock, order, protocol, request, store, verdict, waiting
from est.errors import (
    Closed,
    Ended,
    EstError,
    NotTrusted,
    NotYetValid,
    PeerError,
    Refused,
    RetryLater,
    UsageError,
)

# So many refusals of the certificate in a row, each after a longer wait, and it works no more.
_REFUSALS = const(3)
_DAY = const(86400)
_HOUR = const(3600)
# A first failure is tried again after a minute, a lasting one four times a day.
_FIRST_WAIT = const(60)
_LONGEST_WAIT = const(21600)
# After an order that brought nothing, where there is no identity whose life sets the measure.
_FLOOR = const(300)
# How often the server is asked for its CA certificates where no order asks anyway: 30 days.
_CHECK = const(2592000)


def begin(agent):
    """Once after a start: take over what an older version stored, and what outlived a reset."""
    for part in (_upgrade, _restore):
        try:
            part(agent)
        except ImportError:
            pass  # optional parts


def _upgrade(agent):
    from est import layout1

    layout1.upgrade(agent.store)


def _restore(agent):
    from est import retry

    retry.load(agent)


def of_kind(kind):
    """A new order of the kind of that name, or None. Raises ImportError without its part."""
    if kind == "simpleenroll":
        return order.Enrolment()
    if kind == "simplereenroll":
        return order.Renewal()
    if kind == "serverkeygen":
        from est.serverkeygen import ServerKey as found
    elif kind == "fullcmc":
        from est.fullcmc import FullCmc as found
    elif kind == "linked":
        from est.linking import Linked as found
    else:
        return None
    return found()


def plan(agent):
    """What is due: in how many seconds to ask again, or (order, what TLS shows, DER certificate to
    renew or None, key), as est.agent.Agent.send takes them.
    """
    agent.doing = "start"
    now = agent.now()
    left = agent.until - now
    if 0 < left <= agent.wait:
        return left
    if isinstance(agent.trust, bytes) and not agent.vouched():
        agent.anchors()
        return 0
    known = agent.known
    current = agent.resume()
    if current:
        shown = known if current.meta["leaf"] else _birth(agent)
        # What other settings asked for is asked for once more.
        if not (current.answer or _ours(agent, current) or _poll_once(agent, current)):
            return 0
        return current, shown, None, None
    if not _needed(agent, now):
        return _idle(agent, now)
    if not agent.aside_tried:
        agent.aside_tried = True
        if _try_aside(agent):
            return 0
    agent.aside_tried = False
    shown, leaf, key = _way(agent, now)
    return agent.orders(leaf is not None), shown, leaf, key


def _changed(agent):
    # Whether the settings ask for another certificate than the one at hand.
    meta = agent.known.meta
    settings = meta.get("settings")
    voucher = meta.get("voucher")
    return (settings and agent.wanted[0] and settings != agent.asked(None, agent.key)) or (
        voucher and agent.trust and voucher != store.to_hex(agent.voucher)
    )


def _ours(agent, current):
    # Whether an order is as the settings are.
    known = agent.known
    leaf = known.chain[0] if current.meta["leaf"] and known.chain else None
    return agent.is_ours(current, leaf, agent.key)


def _floor(agent):
    # Seconds that an order blocks the next, in proportion to what it brought.
    return agent.known.life(agent.now())[1] // 24 if agent.known.chain else _FLOOR


def _needed(agent, now):
    known = agent.known
    if not known.chain or _changed(agent):
        return True
    return now >= known.life(now)[0] + _floor(agent) and (
        now >= known.renew_at(now) or agent.refusals >= _REFUSALS
    )


def _birth(agent):
    # What to show in TLS where the identity cannot serve.
    return None if agent.failures % 2 and agent.credentials else agent.factory


def _way(agent, now):
    # What to show in TLS, the certificate to renew or None to enrol, and the key to use.
    known = agent.known
    alive = known.chain and now <= known.not_after
    other = agent.factory or agent.credentials
    second = agent.failures % 2
    renew = alive
    if alive and other and agent.refusals >= _REFUSALS:
        renew = second
    elif alive and _changed(agent):
        renew = second and now >= known.renew_at(now)
    elif known.chain and not other:
        renew = True
        if not alive:
            _strand(
                agent,
                "the certificate has expired, and no other credential was given: give a password,"
                " a token or a factory certificate; or set the clock if it is wrong",
            )
    if renew:
        return known, known.chain[0], agent.key
    if known.chain:
        agent.log("enrolling anew, not by the certificate at hand")
    shown = _birth(agent)
    if not shown and alive and agent.refusals < _REFUSALS:
        shown = known
    return shown, None, agent.key


def _idle(agent, now):
    # Nothing to order: the anchors and what the application heard, else the seconds until then.
    known = agent.known
    start, length = known.life(now)
    every = min(_CHECK, max(length // 6, _HOUR))
    if agent.skew:
        every = min(every, _DAY)
    if not agent.contact:
        agent.contact = (agent.load("anchors") or [{}])[0].get("checked", 0)
    left = agent.contact + every - clock.now()
    if known.doubt or not 0 < left <= every:
        _refresh(agent)
        now = agent.now()
        left = every
    due = max(known.renew_at(now), start + length // 24)
    known.next = ("renew", due)
    return max(min(due - now, left), 1)


def _refresh(agent):
    agent.doing = "cacerts"
    known = agent.known
    try:
        offered = agent.cacerts(known)
    except Closed as error:
        raise proof_of_refusal(agent, error)
    agent.contact = clock.now()
    known.doubt = None
    agent.refusals = 0
    agent.adopt(protocol.certificates(offered))


def proof_of_refusal(agent, error):
    """What to raise for the `error` with which a connection that showed the identity ended."""
    try:
        from est import proof
    except ImportError:
        return error  # an optional part
    return proof.refused(agent, error, agent.known)


def _poll_once(agent, current):
    # Ask a last time for what other settings asked for. Whether an answer is stored.
    agent.log("a waiting request for other settings is given up after this")
    usual = agent.url, agent.credentials
    url = current.meta["url"] or agent.url
    if url != agent.url:
        agent.close()
        agent.url = url
        agent.credentials = None  # they are for the other server
    try:
        agent.send(current, agent.known if current.meta["leaf"] else agent.factory)
        return True
    except PeerError:
        if url == usual[0]:
            raise
    except (RetryLater, Refused, NotTrusted, UsageError):
        pass
    finally:
        agent.close()
        agent.url, agent.credentials = usual
    agent.end()
    return False


def _try_aside(agent):
    # Whether the certificate aside was tried and thereby a connection opened, or taken.
    items = agent.load("aside")
    if not items:
        return False
    agent.doing = "aside"
    current = agent.order(items)
    known = agent.known
    try:
        found = verdict.judge(agent, current)
        if known.chain and request.validity(found[1])[1] <= known.not_after:
            raise Ended("it ends before the one in use")
        agent.settle(current, found)
    except Ended:
        agent.store.erase("aside")
        return agent.used
    except EstError as error:
        agent.log("the certificate aside is still of no use: %s" % error)
        return agent.used
    agent.store.erase("aside")
    return True


def leftover(agent, current, leaf, key):
    """Finish order `current`, which is answered, or asked for by other settings, before any other.

    leaf, key: of the order that the caller wants, as in est.agent.Agent.is_ours. Returns the
    certificate (DER) where it is that one, else None: then the order is gone.
    """
    if not (current.answer or _poll_once(agent, current)):
        return None
    try:
        found = verdict.judge(agent, current)
    except (Ended, PeerError, Refused) as error:
        agent.log("a certificate that came before is of no use: %s" % error)
        return None
    except (NotTrusted, UsageError) as error:
        agent.log("a certificate that came before is set aside: %s" % error)
        verdict.put_aside(agent, current)
        return None
    agent.settle(current, found)
    return found[1] if agent.is_ours(current, leaf, key) else None


def failed(agent, error):
    """Tell what ended a step, and return the seconds until the next."""
    known = agent.known
    now = clock.now_or_0() + agent.skew
    text = "%s: %s" % (agent.doing, error)
    left = known.not_after - now if known.chain else 0
    if isinstance(error, (NotYetValid, NotTrusted, UsageError, ImportError)):
        _give_up_late(agent, error)
    if isinstance(error, RetryLater):
        agent.failures -= 1
        wait = min(error.seconds, waiting.patience(agent))
        rest(agent, now, wait)
        if wait:
            agent.tell("waiting", seconds=wait, text=text)
        return wait
    refused = isinstance(error, Refused)
    if (
        refused
        and agent.shown
        and agent.shown[0] is known
        and agent.doing not in ("proof", "aside")
    ):
        agent.refusals += 1
    wait = min(_FIRST_WAIT << min(agent.failures - 1, 10), _LONGEST_WAIT)
    if agent.fruitless:
        # The order ended and brought nothing.
        wait = max(wait, min(_floor(agent), left // 8) if left > 0 else _FLOOR)
        agent.fruitless = False
    if left > 0:
        # Denser again as the end comes near.
        wait = min(wait, max(left // 8, _FIRST_WAIT // 2))
    elif not clock.now_or_0():
        wait = _FIRST_WAIT
    # Boards that failed together shall not come back together.
    wait = wait * 3 // 4 + wait * os.urandom(1)[0] // 512
    rest(agent, now, wait)
    try:
        from est import retry

        retry.save(agent)
    except ImportError:
        pass  # an optional part
    except EstError as other:
        agent.log("the back-off is not kept: %s" % other)
    known.failure = text
    kind = type(error).__name__
    agent.tell("failed", type=kind, operation=agent.doing, seconds=wait, text=str(error))
    if refused and not known.chain and error.status in (401, 403):
        _strand(
            agent,
            "the server does not accept what this board can show (%s): give a new password or"
            " token, or have the server's operator allow the board" % error,
        )
    return wait


def rest(agent, now, seconds):
    """Have the agent do nothing for so long."""
    agent.wait = seconds
    agent.until = now + seconds
    agent.known.next = ("retry", agent.until)


def _give_up_late(agent, error):
    # An answer that cannot be judged stays, but blocks no new order for longer than the floor.
    current = agent.resume()
    if current and current.answer and agent.doing != "proof":
        soon = isinstance(error, RetryLater) and error.seconds <= waiting.patience(agent)
        if not soon and agent.now() - current.meta["since"] > _floor(agent):
            verdict.put_aside(agent, current)


def _strand(agent, text):
    # Nothing that the agent has can mend it: told once.
    if text != agent.stranded:
        agent.stranded = text
        agent.tell("stranded", text=text)
