"""Orders that the server said to ask for again later. Without this part the caller is told to wait,
and a reset forgets until when.
"""

from micropython import const

from est.errors import RetryLater

_DAY = const(86400)
_LEAST = const(60)


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
