"""The errors of this package. The type says whose fault it is, the text what to do next."""


class EstError(Exception):
    """Any failure of this package."""


def _with_seconds(self, message, seconds):
    super(EstError, self).__init__(message)
    self.seconds = seconds


class UsageError(EstError):
    """Ours to fix: a wrong argument, configuration or state of the board."""


class Unsupported(UsageError):
    """What a peer uses is beyond this board, or beyond the parts of est that are on it."""


class PeerError(EstError):
    """The network failed, or the server sent what no specification allows."""


class Closed(PeerError):
    """The server ended TLS, or the connection before it answered: perhaps it does not accept the
    certificate that it was shown."""


class NotTrusted(EstError):
    """The server, or a certificate it sent, is not vouched for by what the board trusts."""


class NotYetValid(NotTrusted):
    """A certificate that becomes valid in `seconds` by the board's clock."""

    __init__ = _with_seconds


class Ended(NotTrusted):
    """A certificate whose time is over by the board's clock."""


class Refused(EstError):
    """The server understood and said no. `status` is its HTTP status."""

    def __init__(self, message, status=0):
        super().__init__(message)
        self.status = status


class RetryLater(EstError):
    """Not now. `seconds` is how long to wait before sending the same request again."""

    __init__ = _with_seconds


class StorageError(EstError):
    """The board's storage failed, is full or holds damaged data."""


class OtherLayout(StorageError):
    """A record that is not to be written over: another version of this package wrote it, or this
    user may not read it."""


def missing(error):
    """What to raise for ImportError `error` where nothing goes on without the part."""
    try:
        from est.reasons import missing
    except ImportError:
        pass  # an optional part, too
    else:
        error = missing(error)
    return Unsupported(str(error))
