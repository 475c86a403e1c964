"""The URL of an EST server."""

from est.errors import UsageError


def parse(url):
    """(host, port, label) of https://HOST[:PORT][/.well-known/est[/LABEL]]. Raises UsageError."""
    octets = url.encode() or b"\0"
    authority, _, path = url[8:].partition("/")
    path = path.strip("/")
    if authority[:1] == "[":
        host, bracket, port = authority[1:].partition("]")
        port = port[1:] if bracket and port[:1] == ":" else port
    else:
        host, _, port = authority.partition(":")
    if (
        url[:8].lower() != "https://"
        or "@" in authority
        or not 0x21 <= min(octets) <= max(octets) <= 0x7E
        or not host
        or (port and not (port.isdigit() and 0 < int(port) < 65536))
        or (path and not (path + "/").startswith(".well-known/est/"))
    ):
        # Not repeated: it may hold a password.
        raise UsageError(
            "the URL must be https://HOST[:PORT][/.well-known/est/LABEL], without a user"
        )
    return host, int(port or 443), path[16:] or None
