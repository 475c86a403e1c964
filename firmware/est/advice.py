"""What to do about an HTTP status that refuses an EST operation (RFC 9110 15, RFC 7030 4)."""


def advice(status):
    """Text to follow the message: the next step after `status`, 400 or more."""
    found = {
        400: "change subject, names or key as the server says",
        401: "wrong or no user, password or token",
        403: "whoever runs the server must allow this board or its certificate",
        404: "check URL and label",
        405: "check that the URL is an EST server's",
        407: "connect without the proxy in the way",
        409: "ask whoever runs the server what it has of this board",
        413: "ask for fewer names or a shorter key",
        415: "check that the URL is an EST server's",
        501: "this server cannot do it",
        505: "check that the URL is an EST server's",
    }.get(status)
    if not found:
        found = "check the request" if status < 500 else "see the server's log, or try later"
    return " (%s)" % found
