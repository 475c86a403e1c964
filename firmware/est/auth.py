"""HTTP authentication: Basic (RFC 7617), Digest (RFC 7616) and Bearer (RFC 6750).

An object answers a challenge with `answer(challenges, method, path)`, the list of WWW-Authenticate
values in, True if it knows how; `header(method, path)` then gives the Authorization value.
"""

import binascii
import hashlib

from est.entropy import random
from est.errors import UsageError


def _hex(data):
    return binascii.hexlify(data).decode()


class Token:
    """A bearer token."""

    def __init__(self, token):
        self._token = _clean(token)
        self._ready = False

    def answer(self, challenges):
        for scheme, _ in _parse(challenges):
            if scheme == "bearer" and not self._ready:
                self._ready = True
                return True
        return False

    def header(self, _method, _path):
        return "Bearer " + self._token if self._ready else None


class Password:
    """A user name and password, for Digest where the server offers it, else Basic."""

    def __init__(self, user, password):
        self._user = _clean(user)
        self._password = _clean(password)
        self._digest = None
        self._basic = False
        self._count = 0

    def answer(self, challenges):
        offered = _parse(challenges)
        best = None
        for scheme, parameters in offered:
            if scheme != "digest" or "nonce" not in parameters:
                continue
            algorithm = parameters.get("algorithm", "MD5").upper()
            qops = [qop.strip() for qop in parameters.get("qop", "").split(",")]
            if algorithm not in ("MD5", "SHA-256") or not ("auth" in qops or qops == [""]):
                continue
            if best is None or algorithm == "SHA-256":
                parameters["algorithm"] = algorithm
                parameters["qop"] = qops[0] and "auth"
                best = parameters
        if best:
            # The same password refused once is wrong, unless only the nonce was too old.
            again = self._digest is not None and best.get("stale", "").lower() != "true"
            self._digest = best
            self._count = 0
            return not again
        if "basic" in [scheme for scheme, _ in offered] and not self._basic and not self._digest:
            self._basic = True
            return True
        return False

    def header(self, method, path):
        if self._digest:
            return self._digest_header(method, path)
        if self._basic:
            pair = (self._user + ":" + self._password).encode()
            return "Basic " + binascii.b2a_base64(pair).decode().strip()
        return None

    def _digest_header(self, method, path):
        given = self._digest
        new = hashlib.md5 if given["algorithm"] == "MD5" else hashlib.sha256

        def h(*parts):
            return _hex(new(":".join(parts).encode()).digest())

        realm = given.get("realm", "")
        nonce = given["nonce"]
        ha1 = h(self._user, realm, self._password)
        ha2 = h(method, path)
        fields = [
            ("username", self._user),
            ("realm", realm),
            ("nonce", nonce),
            ("uri", path),
        ]
        if given["qop"]:
            self._count += 1
            count = "%08x" % self._count
            cnonce = _hex(random(12))
            fields.append(("response", h(ha1, nonce, count, cnonce, "auth", ha2)))
            fields.append(("cnonce", cnonce))
            tail = ", qop=auth, nc=" + count
        else:
            fields.append(("response", h(ha1, nonce, ha2)))
            tail = ""
        if "opaque" in given:
            fields.append(("opaque", given["opaque"]))
        quoted = ['%s="%s"' % (name, _quote(value)) for name, value in fields]
        return "Digest " + ", ".join(quoted) + ", algorithm=" + given["algorithm"] + tail


def _clean(text):
    for character in text:
        if ord(character) < 0x20:
            raise UsageError("user name, password or token holds a control character")
    return text


def _quote(text):
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _parse(challenges):
    """[(lower-case scheme, {lower-case name: value})] of WWW-Authenticate values."""
    out = []
    for text in challenges:
        for item in _split(text):
            name, equals, value = item.partition("=")
            words = name.split()
            if len(words) == 2 or (len(words) == 1 and not equals):
                out.append((words[0].lower(), {}))
                words = words[1:]
            if equals and words and out:
                value = value.strip()
                if value[:1] == '"' and value[-1:] == '"':
                    value = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
                out[-1][1][words[0].lower()] = value
    return out


def _split(text):
    # At commas outside quotes.
    start = 0
    quoted = False
    out = []
    for at, character in enumerate(text):
        if character == '"' and text[at - 1 : at] != "\\":
            quoted = not quoted
        elif character == "," and not quoted:
            out.append(text[start:at])
            start = at + 1
    out.append(text[start:])
    return out
