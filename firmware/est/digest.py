"""HTTP Digest authentication (RFC 7616): MD5 and SHA-256, qop=auth or none (RFC 2069)."""

import binascii
import hashlib

from est.entropy import random


class Digest:
    """Answers the challenges to one user, as est.auth describes.

    given: parameters of the challenge answered last, or None.
    """

    def __init__(self, user, password):
        self._user = user
        self._password = password
        self.given = None
        self._count = 0

    def answer(self, challenges):
        """As est.challenge.answer, given its `parts`; None where none of them is a Digest that
        this code can answer."""
        best = None
        for scheme, parameters in _parse(challenges):
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
        if best is None:
            return None
        # The same password refused once is wrong, unless only the nonce was too old.
        refused = self.given is not None and best.get("stale", "").lower() != "true"
        self.given = best
        self._count = 0
        return not refused

    def header(self, method, path):
        challenge = self.given
        if not challenge:
            return None
        new_hash = hashlib.md5 if challenge["algorithm"] == "MD5" else hashlib.sha256

        def h(*parts):
            return binascii.hexlify(new_hash(":".join(parts).encode()).digest()).decode()

        realm = challenge.get("realm", "")
        nonce = challenge["nonce"]
        ha1 = h(self._user, realm, self._password)
        ha2 = h(method, path)
        fields = [
            ("username", self._user),
            ("realm", realm),
            ("nonce", nonce),
            ("uri", path),
        ]
        if challenge["qop"]:
            self._count += 1
            count = "%08x" % self._count
            cnonce = binascii.hexlify(random(12)).decode()
            fields.append(("response", h(ha1, nonce, count, cnonce, "auth", ha2)))
            fields.append(("cnonce", cnonce))
            tail = ", qop=auth, nc=" + count
        else:
            fields.append(("response", h(ha1, nonce, ha2)))
            tail = ""
        if "opaque" in challenge:
            fields.append(("opaque", challenge["opaque"]))
        quoted = ['%s="%s"' % (name, _quote(value)) for name, value in fields]
        return "Digest " + ", ".join(quoted) + ", algorithm=" + challenge["algorithm"] + tail


def _quote(text):
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _parse(challenges):
    # [(lower-case scheme, {lower-case name: value})]
    out = []
    for element in challenges:
        name, equals, value = element.partition("=")
        words = name.split()
        if len(words) == 2 or (len(words) == 1 and not equals):
            out.append((words[0].lower(), {}))
            words = words[1:]
        if equals and words and out:
            value = value.strip()
            if value[:1] == '"' and value[-1:] == '"':
                # Of two backslashes one stays, of one none (RFC 9110 5.6.4).
                plain = [part.replace("\\", "") for part in value[1:-1].split("\\\\")]
                value = "\\".join(plain)
            out[-1][1][words[0].lower()] = value
    return out
