"""The operation /fullcmc (RFC 7030 4.3), to enrol and renew by, and for other requests."""

from micropython import const

from est import base64, clock, cmc, cms, http, keys, x509
from est.errors import (
    EstError,
    NotTrusted,
    PeerError,
    Refused,
    RetryLater,
    Unsupported,
    UsageError,
)
from est.operations import kind
from est.order import Enrolment
from est.protocol import Body

# What of an error's text is kept and shown.
_MAX_TEXT = const(200)


def fullcmc(est, request):
    """Generator in the manner of est.protocol.Est: sends the CMC message `request`.

    Returns (HTTP status, DER of the answer), with an error's status too where its body is CMC
    (RFC 7030 4.3.2). Raises what est.protocol does.
    """
    headers = (
        ("Content-Type", "application/pkcs7-mime; smime-type=CMC-request"),
        ("Content-Transfer-Encoding", "base64"),
    )
    steps = est.exchange("POST", "fullcmc", (), headers, base64.encode(request))
    try:
        http_request = next(steps)
        while True:
            _read_as_cmc(http_request)
            yield http_request
            response = http_request.response
            if (
                response.status >= 400
                and _is_cmc(response)
                and not response.header("www-authenticate")
            ):
                steps.close()
                break
            http_request = steps.send(None)
    except StopIteration as stop:
        http_request = stop.value
    if not _is_cmc(http_request.response):
        raise PeerError(_no_answer(http_request.content))
    if not http_request.content:
        raise PeerError("the answer is empty")
    return http_request.response.status, http_request.content


def _read_as_cmc(request):
    # Whatever the status says.
    request.response = http.Response(
        lambda response: Body(request.content, 0 if _is_cmc(response) else _MAX_TEXT)
    )


def _is_cmc(response):
    # A success whatever it is called, but for a page: it may be the only answer there will be.
    content_type = kind(response)
    if response.status == 200:
        return content_type != "text/html"
    return content_type == "application/pkcs7-mime"


def _no_answer(content):
    # What came instead: text, cut.
    text = "the answer to a CMC message is none"
    if content.lstrip()[:1] == b"<":
        text += ": a web page came, check the URL, and whether a login page is in front"
    return text


def ask(agent, controls, requests=(), identity=None):
    """One full CMC exchange by `agent`, signed with its identity; [DER certificates] that come.

    In steps.

    The CA's signature is judged by the anchors that the server's /cacerts lead to: those that
    verify TLS may be of another CA.
    controls: see est.cmc. requests: CertificationRequest DERs. identity: (chain, key) to sign with
    and to show in TLS instead. The connection is closed afterwards. Raises UsageError without an
    identity, and what est.cmc.Request.accept does.
    """
    identity = identity or agent.identity()
    if not identity:
        raise UsageError(
            "CMC signs with the certificate to renew or the factory's, and none is shown"
        )
    chain, key = identity
    key = keys.load(key)
    yield
    request = cmc.Request(key, chain, controls, requests)
    yield
    anchors = agent.judges()
    try:
        client = agent.client(identity)
        offered = cms.issued((yield from client.steps(client.est.answer("cacerts"))))
        anchors = yield from agent.adopt(offered)
    except (NotTrusted, PeerError, Refused, Unsupported):
        pass  # then the answer must do with those
    client = agent.client(identity)
    sending = fullcmc(client.est, request.der)
    if getattr(agent.orders[1](), "one_line", False):
        from est.quirks import on_one_line

        sending = on_one_line(sending)
    status, answer = yield from client.steps(sending)
    agent.close()
    anchors = [x509.Certificate(anchor) for anchor in anchors]
    try:
        return (yield from request.accepting(answer, anchors, clock.now(), status))
    except EstError as error:
        super(EstError, error).__init__("fullcmc: %s" % error)
        raise


class FullCmc(Enrolment):
    """A certificate by a full CMC message, signed with the certificate to renew, or to enrol first
    with the factory's. answer: [message, HTTP status, transaction, nonce, *intermediates].
    """

    kind = "fullcmc"

    def send(self, client):
        """As Enrolment.send. Raises UsageError where TLS shows no certificate."""
        if not client.identity:
            raise UsageError(
                "CMC signs with the certificate to renew or the factory's, and none is shown"
            )
        chain, key = client.identity
        yield
        key = keys.load(key)
        yield
        request = cmc.Request(key, chain, (), (self.request,))
        yield
        status, answer = yield from client.steps(fullcmc(client.est, request.der))
        self.answer = [bytes(answer), b"%d" % status, request.transaction, request.nonce]
        self.answer += chain[1:]

    def accept(self, others, anchors, now, log=None):
        """As Enrolment.accept, and errors as in est.cmc.accept."""
        from est import verdict

        message, status, transaction, nonce = self.answer[:4]
        trusted = [x509.Certificate(encoded) for encoded in anchors]
        request = (transaction, nonce, self.answer[4:], True)
        try:
            issued = yield from cmc.accept(message, request, trusted, now, int(status), log)
        except (Refused, RetryLater) as error:
            raise _without_code(error, self.request)
        yield
        return (yield from verdict.accept(issued, others, self.key, anchors, now, log))


def _without_code(error, csr):
    # The CA's words may repeat the enrolment code of the request.
    try:
        from est.advice import hide
    except ImportError:
        text = "the CA refused"  # an optional part
    else:
        text = hide(None, str(error), None, csr)
    return type(error)(text, getattr(error, "seconds", 0) or error.status)


# What est.agent.Agent takes as `orders` to enrol and renew by full CMC.
ORDERS = (FullCmc, FullCmc)
