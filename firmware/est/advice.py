"""What to do about an HTTP status that refuses an EST operation (RFC 9110 15, RFC 7030 4)."""

from micropython import const

from est.http import printable

# Shorter secrets, and shorter beginnings of one where a text is cut, are in any text by chance.
_MIN_SECRET = const(3)


def advice(request, credentials=None):
    """Text to follow the message: the next step after the answered est.protocol.Request `request`.

    Its status is 400 or more. credentials: those that were given, or None.
    """
    status = request.response.status
    found = {
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
        found = _login(request, credentials)
    if not found:
        found = "check the request" if status < 500 else "see the server's log, or try later"
    return " (%s)" % found


def _login(request, credentials):
    response = request.response
    offered = [value for name, value in response.headers if name == "www-authenticate"]
    if not credentials:
        found = "no user, password or token was given"
    elif "Authorization" in dict(request.headers):
        found = "wrong user, password or token"
    else:
        found = "no user, password or token was sent"
    if response.status == 403:
        found = "whoever runs the server must allow this board or its certificate; " + found
    return "%s; the server asks for %s" % (found, printable(_names(offered).encode())[:100])


def _names(offered):
    # Such as "Negotiate, Digest algorithm=SHA-512-256".
    found = ""
    for text in offered:
        for item in text.split(","):
            word = item.strip().partition(" ")[0]
            if word[:10].lower() == "algorithm=":
                found += " " + word
            elif "=" not in word and '"' not in word and word not in found:
                found += ", " + word
    return found[2:] or "none"


def hide(secret, text, request):
    """`text` of the answer to `request`, without `secret` and without what proved it there."""
    proof = dict(request.headers).get("Authorization", "").partition(" ")[2]
    for hidden in (secret, proof.rstrip("=")):
        hidden = printable(hidden.encode())
        size = len(hidden)
        if size >= _MIN_SECRET:
            text = text.replace(hidden, "***")
            # What is shown may be cut amid it.
            while size > _MIN_SECRET and not text.endswith(hidden[:size]):
                size -= 1
            if text.endswith(hidden[:size]):
                text = text[:-size] + "***"
    return text
