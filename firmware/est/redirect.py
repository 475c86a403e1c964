"""Where an EST server may redirect its clients to (RFC 7030 3.2.1)."""

from est.errors import PeerError


def path(est, request):
    """Path that the answered est.protocol.Request `request` is redirected to, or None.

    est: est.protocol.Est, which has host and port of the URL asked. Anywhere else the user would
    have to be asked, so PeerError is raised. Location may be relative (RFC 9110 10.2.2).
    """
    status = request.response.status
    if status not in (301, 302, 307, 308) and (status != 303 or request.body):
        return None
    original = request.response.header("location")
    location = original.partition("#")[0]
    if not location:
        raise PeerError("the server redirects and does not say where: Location is empty")
    if location[:6].lower() == "https:":
        location = location[6:]
        if location[:2] != "//":
            location = ""
    if location[:2] == "//":
        origin, _, location = location[2:].partition("/")
        location = "/" + location if _host(origin) == _host(est.authority) else ""
    if not location or ":" in location.partition("?")[0].partition("/")[0]:
        original = est.shown(request, original.encode(), 100)
        raise PeerError("the server redirects elsewhere: if %s is right, give its host" % original)
    location = resolved(request.path, location)
    # A space would end the path, and a line end the line.
    octets = [bytes((o,)) if 0x20 < o < 0x7F else b"%%%02X" % o for o in location.encode()]
    return b"".join(octets).decode()


def resolved(base, reference):
    """Path that `reference`, with neither host nor fragment, means from path `base`.

    All with their queries (RFC 3986 5.2.2, 5.2.4).
    """
    if reference[0] != "/":
        base = base.partition("?")[0]
        if reference[0] != "?":
            base = base.rpartition("/")[0] + "/"
        reference = base + reference
    path, mark, query = reference.partition("?")
    out = ""
    for step in path.split("/")[1:]:
        if step == "..":
            out = out.rpartition("/")[0]
        elif step != ".":
            out += "/" + step
    if step in ("..", "."):
        out += "/"
    return out + mark + query


def _host(authority):
    authority = authority.lower()
    return authority[:-4] if authority[-4:] == ":443" else authority
