"""HTTP authentication: Basic (RFC 7617), Bearer (RFC 6750), and Digest through est.digest.

An object says after a refusal whether to `retry(request)`; `header(method, path)` then gives the
Authorization value. What the server says is shown without its `secret` (est.advice.hide).
What a refusal needs is est.challenge's, which is in the heap only then.
"""

import binascii

from est import apart
from est.errors import UsageError


class Token:
    """A bearer token."""

    def __init__(self, token):
        self.secret = _clean(token)
        self.ready = False

    def retry(self, request):
        """Whether to send the answered est.protocol.Request `request` of a verified server again.

        That is with the `header` from now on, after a 401, or a 403 to what went without one.
        """
        return apart(retry, self, request)

    def header(self, *_):
        return "Bearer " + self.secret if self.ready else None


class Password(Token):
    """A user name and password, for Digest where the server offers it, else Basic.

    basic: whether Basic is allowed, which sends the password itself. Where a server refuses and
        names no scheme it is tried once.
    """

    def __init__(self, user, password, basic=True):
        super().__init__(password)
        self.user = _clean(user)
        self.digest = None
        # None where it is not allowed, else whether it is in use.
        self.basic = False if basic else None

    def header(self, method, path):
        if self.basic:
            pair = (self.user + ":" + self.secret).encode()
            return "Basic " + binascii.b2a_base64(pair).decode().strip()
        return self.digest and self.digest.header(method, path)


def _clean(text):
    # As octets: MicroPython keeps each character of a text for good.
    if min(text.encode() or b" ") < 0x20:
        raise UsageError("user name, password or token holds a control character")
    return text


def retry(credentials, request):
    from est import challenge

    return challenge.retry(credentials, request)
