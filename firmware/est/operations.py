"""The EST operations one by one, without est.agent. est.client.Client has them as methods.

Each is a generator in the manner of est.protocol.Est `est`, its first argument.
"""

from micropython import const

from est import cms
from est.errors import PeerError

# Of a request that may wait (est.protocol). Without a word for how long they tell that what stands
# behind a proxy is not there.
_ABSENT = const((202, 502, 503, 504))


def cacerts(est):
    """List of DER certificates (RFC 7030 4.1)."""
    return cms.issued((yield from est.answer("cacerts")))


def csrattrs(est, needed=False):
    """est.attributes.CsrAttrs (RFC 7030 4.5); an empty one where the server has none, unless they
    are `needed`: then that is an error."""
    request = yield from est.exchange("GET", "csrattrs", () if needed else (204, 404) + _ABSENT)
    response = request.response
    content = b""
    if response.status == 200:
        if kind(response) not in ("", "application/csrattrs"):
            received = est.shown(request, response.header("content-type").encode(), 60)
            raise PeerError("content type %s where application/csrattrs is expected" % received)
        content = request.content
    elif response.status in _ABSENT:
        error = est.refusal(request)
        raise error if response.header("retry-after") else PeerError(str(error))
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


def kind(response):
    """Lower-case content type of an http.Response without parameters, "" if none is given.

    application/x-pkcs7-mime is the older name of application/pkcs7-mime.
    """
    return response.header("content-type").lower().partition(";")[0].strip().replace("/x-", "/")
