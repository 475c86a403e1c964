"""What an application shows of its identity, and how it forgets it."""

from est import apart, clock
from est.errors import StorageError


def of(identity):
    """Dict of an est.identity.Identity's dates, next step and last failure. No secrets.

    From memory. Times are Unix seconds, 0 where there is none.
    """
    next_step, next_at = identity.next or (None, 0)
    return {
        "enrolled": bool(identity.chain),
        "generation": identity.generation,
        "not_before": identity.not_before,
        "not_after": identity.not_after,
        "renew_at": identity.renew_at(clock.now_or_0()),
        "next": next_step,
        "next_at": next_at,
        "failure": identity.failure,
    }


def erase(identity):
    """Forget certificate, key and all orders. Trust and the factory's certificate stay.

    Raises StorageError.
    """
    failure = None
    # The identity last: what is left of an order could bring it back.
    for name in ("order", "aside", "retry", "identity"):
        try:
            identity.store.erase(name)
        except StorageError as error:
            failure = error
    identity.take([])
    identity.next = identity.failure = identity.doubt = None
    apart(_forget_failures)
    if failure:
        raise failure


def _forget_failures():
    from est import retry

    retry.wipe()
