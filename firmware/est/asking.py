"""The operation csrattrs (RFC 7030 4.5)."""


def csrattrs(est):
    """Generator in the manner of est.protocol.Est `est`: est.csrattrs.CsrAttrs."""
    request = yield from est.exchange("GET", "csrattrs", (204, 404))
    content = b""
    if request.response.status == 200:
        est.check_type(request, "application/csrattrs")
        content = request.content
    # Loaded only now: the handshake takes more of the heap.
    from est.csrattrs import parse

    return parse(content)
