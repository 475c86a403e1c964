"""Orders that do not go through at once: sent in vain, told to wait, or with a bad answer."""

from micropython import const

from est import retry
from est.errors import (
    Closed,
    Ended,
    EstError,
    NotTrusted,
    NotYetValid,
    PeerError,
    Refused,
    RetryLater,
    Unsupported,
)

_DAY = const(86400)
_LEAST = const(60)
# So early a CA may be, or its clock.
_EARLY = const(300)


def interrupted(agent, current, shown, error, final):
    """What to raise for EstError `error`, met while order `current` was sent; notes it there.

    In steps, as `rejected`.

    shown: the identity that TLS showed, or None. final: whether it ends the order.
    """
    if isinstance(error, NotTrusted):
        from est import refusal

        # What TLS of a board does not say.
        text = refusal.of_anchors(agent.judges())
        super(EstError, error).__init__("%s%s" % (error, text))
    if isinstance(error, Closed) and shown:
        from est import proof

        return (yield from proof.refused(agent, error, shown))
    accepted = isinstance(error, RetryLater) or getattr(error, "status", 0) not in (0, 401, 403)
    if accepted and agent.shown is agent.known:
        agent.refusals = 0  # TLS took the certificate, whatever else is wrong
    if current.meta:
        if isinstance(error, RetryLater):
            postpone(agent, current, error)
        if final:
            retry.fruitless(agent, current.meta)
    return error


def rejected(agent, current, error):
    """Note in the answered order `current` that its judgement ended with EstError `error`.

    Its text then begins with the operation. Returns whether to judge once more, by the clock.
    """
    operation = current.kind
    if operation == "linked":
        operation = "simplereenroll" if current.meta["leaf"] else "simpleenroll"
    of_it = isinstance(error, (NotTrusted, Unsupported))
    prefix = "the certificate that came: " if of_it else ""
    super(EstError, error).__init__("%s: %s%s" % (operation, prefix, error))
    if isinstance(error, RetryLater):
        # CMC says so in an answer.
        current.answer = []
        postpone(agent, current, error)
    elif (yield from _is_misdated(agent, current, error)):
        return True
    elif isinstance(error, Ended) and not (yield from _over(agent, current)):
        # It may be the clock that is wrong.
        from est import aside

        aside.put(agent)
    elif isinstance(error, (Ended, PeerError, Refused)):
        retry.fruitless(agent, current.meta)
        agent.end()
    agent.room = None  # of a proof that is not soon


def _is_misdated(agent, current, error):
    if not isinstance(error, Ended):
        if not isinstance(error, NotYetValid) or error.seconds <= _EARLY:
            return False
    try:
        from est import witness
    except ImportError:
        return False  # an optional part
    return (yield from witness.disbelieve(agent, current))


def _over(agent, current):
    # Whether what was issued had ended by the Date that it came with.
    date = current.meta["date"]
    try:
        if date:
            yield from current.accept([], agent.judges(), date, agent.log)
        return False
    except Ended:
        return True
    except EstError:
        return False


def postpone(agent, current, error):
    """Note in order `current` until when to wait, by RetryLater `error`. Polls write nothing."""
    meta = current.meta
    error.seconds = min(error.seconds, patience(agent))
    if meta["state"] != "waiting":
        meta["wait"] = error.seconds
        meta["until"] = agent.now() + error.seconds
        agent.keep(current, "waiting")


def hold_back(agent, current):
    """Raise RetryLater while the time that the server said has not come."""
    meta = current.meta
    if meta["state"] == "waiting":
        left = meta["until"] - agent.now()
        # Longer than the server said: the clock was wrong then.
        if 0 < left <= meta["wait"]:
            raise RetryLater("the server said to wait", left)


def patience(agent):
    """Longest wait (s) that leaves room to renew: half of what is left, or a day."""
    left = agent.known.not_after - agent.now()
    return max(left // 2, _LEAST) if left > 0 else _DAY
