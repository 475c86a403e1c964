"""Exit codes, those of every `mpest` command."""

from micropython import const

DONE = const(0)
USAGE = const(2)
NOT_TRUSTED = const(3)
REFUSED = const(4)
LATER = const(5)
NETWORK = const(6)
STORAGE = const(7)
HOOK = const(8)
INTERRUPTED = const(130)

_BY_TYPE = {
    "UsageError": USAGE,
    "NotTrusted": NOT_TRUSTED,
    "NotYetValid": LATER,
    "Ended": NOT_TRUSTED,
    "Refused": REFUSED,
    "CertificateRefused": REFUSED,
    "RetryLater": LATER,
    "StorageError": STORAGE,
    "OtherLayout": STORAGE,
}


def of(kind):
    """The exit code for an error, or for the name of its class (the event `failed` has it).

    What has no code of its own is the peer's or the network's.
    """
    if not isinstance(kind, str):
        kind = type(kind).__name__
    return _BY_TYPE.get(kind, NETWORK)
