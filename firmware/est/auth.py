"""HTTP authentication: Basic (RFC 7617), Bearer (RFC 6750), and Digest through est.digest.

An object says after a refusal whether to `retry(request)`; `header(method, path)` then gives the
Authorization value. What the server says is shown as `hide(text, request)` leaves it.
"""

import binascii

from est.errors import UsageError


class _Login:
    # answer(challenges), the list of WWW-Authenticate values, is True if it knows how to log in.
    # Of an empty list it makes one try: some servers name no scheme.

    def retry(self, request):
        """Whether to send the answered est.protocol.Request `request` of a verified server again.

        That is with the `header` from now on, after a 401, or a 403 to what went without one.
        """
        response = request.response
        status = response.status
        if status == 401 or (status == 403 and "Authorization" not in dict(request.headers)):
            return self.answer([v for name, v in response.headers if name == "www-authenticate"])

    def hide(self, text, request):
        """`text` of the answer to `request`, printable, without what is secret of these."""
        try:
            from est.advice import hide
        except ImportError:
            return ""  # an optional part
        return hide(self._secret, text, request)


class Token(_Login):
    """A bearer token."""

    def __init__(self, token):
        self._secret = _clean(token)
        self._ready = False

    def answer(self, challenges):
        again = self._ready
        self._ready = not challenges or _offered(challenges, "bearer")
        return self._ready and not again

    def header(self, *_):
        return "Bearer " + self._secret if self._ready else None


class Password(_Login):
    """A user name and password, for Digest where the server offers it, else Basic.

    basic: whether Basic is allowed, which sends the password itself. Where a server refuses and
        names no scheme it is tried once.
    """

    def __init__(self, user, password, basic=True):
        self._user = _clean(user)
        self._secret = _clean(password)
        self._digest = None
        # None where it is not allowed, else whether it is in use.
        self._basic = False if basic else None

    def answer(self, challenges):
        if _offered(challenges, "digest"):
            try:
                from est.digest import Digest
            except ImportError:
                pass  # an optional part
            else:
                self._digest = self._digest or Digest(self._user, self._secret)
        known = self._digest and self._digest.answer(challenges)
        if (
            known is None
            and self._basic is not None
            and (not challenges or _offered(challenges, "basic"))
        ):
            # Never the password itself to who asked for a digest before.
            known = not self._basic and not (self._digest and self._digest.given)
            if known and ":" in self._user:
                if challenges:
                    raise UsageError("Basic takes no user name with a colon")
                known = False
            self._basic = known
        return known

    def header(self, method, path):
        if self._basic:
            pair = (self._user + ":" + self._secret).encode()
            return "Basic " + binascii.b2a_base64(pair).decode().strip()
        return self._digest and self._digest.header(method, path)


def _clean(text):
    # As octets: MicroPython keeps each character of a text for good.
    for octet in text.encode():
        if octet < 0x20:
            raise UsageError("user name, password or token holds a control character")
    return text


def _offered(challenges, scheme):
    # One value may hold several challenges, each beginning with its scheme.
    for text in challenges:
        for item in text.split(","):
            if item.strip().lower().split(" ")[0] == scheme:
                return True
    return False
