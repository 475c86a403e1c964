"""Where an EST server may redirect its clients to (RFC 7030 3.2.1)."""

from est.errors import PeerError


def path(authority, location):
    """Path of the URL in a Location header, at the same origin. Raises PeerError for any other.

    authority: host and port as in the URL asked. Anywhere else the user would have to be asked.
    """
    origin = ("https://%s/" % authority).lower()
    if location[: len(origin)].lower() == origin:
        return location[len(origin) - 1 :]
    if location[:1] == "/" and location[:2] != "//":
        return location
    raise PeerError("the server redirects elsewhere")
