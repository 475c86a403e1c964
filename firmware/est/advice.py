"""What to do about an HTTP status that refuses an EST operation (RFC 9110 15, RFC 7030 4)."""

import binascii

from micropython import const

from est import asn1, der
from est.challenge import parts
from est.errors import PeerError
from est.http import printable

# Of these est.protocol makes a RetryLater.
_LATER = (408, 429, 502, 503, 504)
# Shorter secrets, and shorter beginnings of one where a text is cut, are in any text by chance.
_MIN_SECRET = const(3)
# A page that quotes a page escapes what it holds twice.
_MAX_ESCAPED = const(3)
# &#x00000027; is the longest that anybody writes.
_MAX_ENTITY = const(12)
_ENTITIES = {b"amp": 0x26, b"lt": 0x3C, b"gt": 0x3E, b"quot": 0x22, b"apos": 0x27}
# OBJECT IDENTIFIER challengePassword (RFC 2985 5.4.1).
_CHALLENGE_PASSWORD = const(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07")


def shown(login, request, data, size):
    """At most `size` of `data`, which the server says in the answer to est.protocol.Request
    `request`, printable and without secrets; then what to do if that refuses.

    login: what was given, see est.auth, or None.
    """
    if data[:1] == b"\x30" and data[1:2] >= b"\x80":  # DER, and no text that begins with 0
        data = b"(binary data)"
    text = hide(login, printable(data), request)[:size]
    status = request.response.status
    return text if status < 400 or status in _LATER else "%s (%s)" % (text, _step(request))


def _step(request):
    status = request.response.status
    advice = {
        400: "change subject, names or key as the server says",
        404: "check URL and label",
        405: "check that the URL is an EST server's",
        407: "connect without the proxy in the way",
        409: "ask whoever runs the server what it has of this board",
        413: "ask for fewer names or a shorter key",
        415: "check that the URL is an EST server's",
        501: "this server cannot do it",
        505: "check that the URL is an EST server's",
    }.get(status)
    if status in (401, 403):
        advice = _login(request)
    if not advice:
        advice = "check the request" if status < 500 else "see the server's log, or try later"
    return advice


def _login(request):
    response = request.response
    if response.status == 403:
        return "whoever runs the server must allow this board, its certificate or its login"
    offered = [value for name, value in response.headers if name == "www-authenticate"]
    # None is sent before the server is verified, either.
    advice = "no user, password or token was sent"
    if "Authorization" in dict(request.headers):
        advice = "wrong user, password or token"
    names = _names(offered)
    if not names:
        return advice + "; the server names no way to log in"
    return "%s; the server asks for %s" % (advice, printable(names.encode())[:100])


def _names(offered):
    # Such as "Negotiate, Digest algorithm=SHA-512-256", "Digest qop=auth-int".
    schemes = ""
    for element in parts(offered):
        for word in element.split()[:1]:
            word = word.replace('"', "")
            if word[:10].lower() == "algorithm=" or word.lower() == "qop=auth-int":
                schemes += " " + word
            elif "=" not in word and word not in schemes:
                schemes += ", " + word
    return schemes[2:]


def hide(login, text, request, csr=None):
    """`text` of the answer to `request`, without the secret of `login` and those of the request.

    login: see est.auth, or None. csr: DER of the request that may hold an enrolment code, by
        default the body. They are found as HTML, URLs and JSON write them, too, and if `text` was
        cut amid one.
    """
    proof = dict(request.headers).get("Authorization", "") if request else ""
    digest = proof.partition('response="')[2].partition('"')[0]
    secrets = (getattr(login, "secret", ""), proof.partition(" ")[2].rstrip("="), digest)
    secrets = [secret.encode() for secret in secrets]
    secrets.append(_enrolment_code(csr or request.body))
    for secret in secrets:
        secret = printable(secret).encode()
        if len(secret) >= _MIN_SECRET:
            form = text.encode()
            for _ in range(_MAX_ESCAPED):
                # URLs have a plus sign for a space, so both count as the same.
                for plus in (b"+", b" "):
                    plain = form.replace(b"+", plus)
                    cleared = _without(secret.replace(b"+", plus), plain)
                    if cleared != plain:
                        form = cleared
                        text = cleared.decode()
                form = printable(_unescaped(form)).encode()
    return text


def _enrolment_code(request):
    # The challengePassword in a request, DER or base64 of it; b"" without one.
    try:
        if request and request[0] != asn1.SEQUENCE:
            request = binascii.a2b_base64(request)
        before, oid, after = (request or b"").partition(_CHALLENGE_PASSWORD)
        return der.Reader(after).enter(asn1.SET).bytes(0) if oid else b""
    except (ValueError, PeerError):
        return b""


def _without(secret, text):
    text = text.replace(secret, b"***")
    size = len(secret)
    while size > _MIN_SECRET and not text.endswith(secret[:size]):
        size -= 1
    return text[:-size] + b"***" if text.endswith(secret[:size]) else text


def _unescaped(text):
    # One layer of %41, &lt; &#65; &#x41; and \\u0041 undone; what is cut off at the end goes.
    out = bytearray()
    at = 0
    while at < len(text):
        octet = text[at]
        end = at + 1
        try:
            if octet == 0x25:  # %
                end += 2
                octet = int(text[at + 1 : end], 16)
            elif octet == 0x5C:  # \
                end += {0x75: 5, 0x78: 3}.get(text[end], 1)
                octet = int(text[at + 2 : end], 16) if end > at + 2 else text[at + 1]
            elif octet == 0x26:  # &
                end = text.index(b";", at, at + _MAX_ENTITY) + 1
                name = text[at + 1 : end - 1]
                if name[:2] in (b"#x", b"#X"):
                    octet = int(name[2:], 16)
                elif name[:1] == b"#":
                    octet = int(name[1:])
                else:
                    octet = _ENTITIES.get(name, 0)
        except (ValueError, IndexError):
            if at + _MAX_ENTITY > len(text):
                break
            end = at + 1
        at = end
        out.append(octet if 0 <= octet < 0x7F else 0)  # int() takes a sign, too
    return out
