"""HTTP authentication: Basic (RFC 7617), Bearer (RFC 6750), and Digest through est.digest.

An object answers a challenge with `answer(challenges)`, the list of WWW-Authenticate values in,
True if it knows how; `header(method, path)` then gives the Authorization value.
"""

import binascii

from est.errors import UsageError


class Token:
    """A bearer token."""

    def __init__(self, token):
        self._token = _clean(token)
        self._ready = False

    def answer(self, challenges):
        again = self._ready
        self._ready = _offered(challenges, "bearer")
        return self._ready and not again

    def header(self, _method, _path):
        return "Bearer " + self._token if self._ready else None


class Password:
    """A user name and password, for Digest where the server offers it, else Basic."""

    def __init__(self, user, password):
        self._user = _clean(user)
        self._password = _clean(password)
        self._digest = None
        self._basic = False

    def answer(self, challenges):
        if _offered(challenges, "digest"):
            try:
                from est.digest import Digest
            except ImportError:
                pass  # an optional part
            else:
                self._digest = self._digest or Digest(self._user, self._password)
        known = self._digest and self._digest.answer(challenges)
        if known is None and _offered(challenges, "basic"):
            # Never the password itself to who asked for a digest before.
            known = not self._basic and not (self._digest and self._digest.given)
            self._basic = known
        return known

    def header(self, method, path):
        if self._basic:
            pair = (self._user + ":" + self._password).encode()
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
