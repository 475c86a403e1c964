"""The EST operations one by one, without est.agent. est.client.Client has them as methods.

Each is a generator in the manner of est.protocol.Est `est`, its first argument.
"""

from est import cms
from est.errors import PeerError


def cacerts(est):
    """List of DER certificates (RFC 7030 4.1)."""
    return cms.issued((yield from est.answer("cacerts")))


def csrattrs(est, needed=False):
    """est.attributes.CsrAttrs (RFC 7030 4.5); an empty one where the server has none, unless they
    are `needed`: then that is an error."""
    request = yield from est.exchange("GET", "csrattrs", () if needed else (204, 404))
    content = b""
    if request.response.status == 200:
        est.check_type(request, "application/csrattrs")
        content = request.content
    if needed and not content:
        raise PeerError("the answer is empty")
    # Loaded only now: the handshake takes more of the heap.
    from est.csrattrs import parse

    return parse(content)


def simpleenroll(est, request, operation="simpleenroll"):
    """DER certificates answering CertificationRequest DER `request` (RFC 7030 4.2.1)."""
    return cms.issued((yield from est.answer(operation, request)))


def simplereenroll(est, request):
    """As simpleenroll, to renew or rekey the certificate that TLS presents (4.2.2)."""
    return simpleenroll(est, request, "simplereenroll")
