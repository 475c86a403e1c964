"""HTTP responses and authentication, fed whole, byte by byte, cut short and damaged."""

import hashlib

import check
from est import auth, http, operations, protocol
from est.advice import advice
from est.errors import PeerError, Refused, RetryLater, UsageError


class Sink:
    def __init__(self):
        self.data = b""
        self.ended = False

    def feed(self, data):
        self.data += data

    def end(self):
        self.ended = True


def parse(data, close=False, step=0):
    sink = Sink()
    response = http.Response(lambda response: sink)
    for at in range(0, len(data), step or len(data) or 1):
        response.feed(data[at : at + (step or len(data))])
    if close:
        response.eof()
    response.body = sink.data
    return response


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n"
)


def test_request():
    data = http.request("POST", "/a", "h:1", (("A", "b"),), b"xy")
    assert data == b"POST /a HTTP/1.1\r\nHost: h:1\r\nA: b\r\nContent-Length: 2\r\n\r\nxy"


def test_responses():
    for data in (OK, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + OK):
        for step in (0, 1, 7):
            response = parse(data, False, step)
            assert (response.status, response.body, response.done) == (200, b"hello", True)
            assert response.keep
    response = parse(b"HTTP/1.0 200 OK\r\n\r\nhello", True)
    assert (response.body, response.keep) == (b"hello", False)
    assert parse(b"HTTP/1.1 204 No Content\r\n\r\n").done
    assert not parse(OK.replace(b"\r\nContent-L", b"\r\nConnection: close\r\nContent-L")).keep


def test_cut_short():
    for data in (OK, CHUNKED):
        for size in range(1, len(data)):
            check.raises(PeerError, parse, data[:size], True)


def test_mutated():
    for data in (OK, CHUNKED):
        check.mutated(parse, data)


def test_bounds():
    for bad in (
        b"HTTP/1.1 200 OK\r\nA: " + 2000 * b"x" + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + 65 * b"A: b\r\n" + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        CHUNKED.replace(b"\r\n3;", b"\r\nfffff;"),
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\xff\xfe: b\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n" + 65537 * b"x",
        OK + b"x",
    ):
        check.raises(PeerError, parse, bad)


def test_basic():
    password = auth.Password("Aladdin", "open sesame")
    assert password.header("GET", "/") is None
    assert not password.answer(["Negotiate"])
    assert password.answer(['Basic realm="a, b"'])
    assert password.header("GET", "/") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert not password.answer(['Basic realm="a, b"'])


def test_digest():
    password = auth.Password("Mufasa", "Circle of Life")
    challenge = 'Digest realm="r, \\"q\\"", qop="auth, auth-int", nonce="n=1", opaque="o"'
    assert password.answer(["Basic realm=x", challenge + ", algorithm=SHA-512-256", challenge])
    header = password.header("POST", "/p")
    fields = dict(item.split("=", 1) for item in header[7:].split(", ") if "=" in item)
    assert fields["algorithm"] == "MD5" and fields["nc"] == "00000001"

    def h(text):
        return "".join(["%02x" % octet for octet in hashlib.md5(text.encode()).digest()])

    ha1 = h('Mufasa:r, "q":Circle of Life')
    cnonce = fields["cnonce"].strip('"')
    expected = h(ha1 + ":n=1:00000001:" + cnonce + ":auth:" + h("POST:/p"))
    assert fields["response"] == '"' + expected + '"'
    assert "nc=00000002" in password.header("POST", "/p")
    assert password.answer([challenge.replace("n=1", "n=2") + ", stale=TRUE"])
    assert not password.answer([challenge])


def test_a_weaker_scheme_is_not_answered_after_a_digest():
    password = auth.Password("u", "p")
    assert password.answer(['Digest realm="r", nonce="n", qop="auth"'])
    assert not password.answer(["Basic realm=r"])


def test_credentials_without_control_characters():
    check.raises(UsageError, auth.Token, "a\r\nX: y")
    check.raises(UsageError, auth.Password, "a", "b\n")


def drive(operation, *answers):
    """Requests of a protocol operation that is given raw answers, and how it ended."""
    requests = []
    try:
        request = next(operation)
        for answer in answers:
            requests.append(request)
            request.response.feed(answer)
            request = operation.send(None)
    except StopIteration as stop:
        return requests, stop.value
    except Exception as error:
        return requests, error
    raise AssertionError("one more request than answers")


def answer(status, body=b"", headers="", reason=b"Reason"):
    head = "\r\nContent-Length: %d\r\n%s\r\n" % (len(body), headers)
    return b"HTTP/1.1 " + status.encode() + b" " + reason + head.encode() + body


def refusal(*answered):
    return drive(operations.simpleenroll(protocol.Est("h"), b"0"), answer(*answered))[1]


def test_statuses():
    later = (202, 408, 429, 502, 503, 504)
    for status in range(200, 1000):
        if status in (200, 201, 204, 304):
            continue
        error = refusal(str(status), b"its words")
        if status in later:
            assert isinstance(error, RetryLater) and error.seconds == 60, status
        elif status < 400:
            assert isinstance(error, PeerError), status
        else:
            assert isinstance(error, Refused) and error.status == status
        if status not in (301, 302, 307, 308):
            assert "HTTP %d: its words" % status in str(error), error
    for status in ("000", "099", "204", "304"):
        assert "HTTP %d: Reason" % int(status) in str(refusal(status)), status
        assert isinstance(refusal(status), PeerError), status
    for bad in ("1", "20", "2000", "2x0", "-20", " 20", "", "\xb2\xb3\xb9"):
        assert "malformed status line" in str(refusal(bad)), bad


def test_next_steps():
    for status, step in (
        (400, "change subject"),
        (401, "password"),
        (403, "must allow this board"),
        (404, "URL and label"),
        (413, "fewer names"),
        (418, "check the request"),
        (500, "the server's log"),
        (999, "the server's log"),
    ):
        assert step in str(refusal(str(status))), status


def test_what_a_server_says_is_shortened_and_printable():
    for words, shown in (
        (b"<html>\r\n<b>No</b>\r\n</html>", "<html> <b>No</b> </html>"),
        (b"a\x00b\x1b[31mc\x7fd\te", "a b [31mc d e"),
        (b"\xff\xfe f\xc3\xbcr", "f r"),
        (b"x" * 5000, "x" * 200),
    ):
        assert str(refusal("400", words)) == "refused with HTTP 400: %s%s" % (shown, advice(400))
    # So is the reason, which stands in for a body.
    error = refusal("400", b"", "", b"No \x1b[2J\xc3\xbc " + b"x" * 900)
    assert str(error) == "refused with HTTP 400: No [2J " + "x" * 193 + advice(400), error
    assert isinstance(refusal("400", b"", "", b"\xff"), PeerError)
    error = refusal("200", b"x", "Content-Type: text/\x1b[2J" + "x" * 900 + "\r\n")
    assert isinstance(error, PeerError) and len(str(error)) < 150
    assert min(str(error)) >= " ", error


def test_retry_after():
    for value, seconds in (
        ("17", 17),
        ("0", 1),
        ("x", 60),
        ("\xb2", 60),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 1),
    ):
        answer = "HTTP/1.1 202 Wait\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % value
        _, error = drive(operations.simpleenroll(protocol.Est("h"), b"0"), answer.encode())
        assert isinstance(error, RetryLater) and error.seconds == seconds


def test_before_the_server_is_verified():
    est = protocol.Est("h", None, auth.Token("secret"), True)
    for operation in (
        operations.csrattrs(est),
        operations.simpleenroll(est, b"0"),
        operations.simplereenroll(est, b"0"),
    ):
        check.raises(UsageError, next, operation)
    answer = b"HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n"
    requests, error = drive(operations.cacerts(est), answer)
    assert isinstance(error, Refused) and len(requests) == 1


def test_redirects():
    def to(location):
        answer = "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location
        no = b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"
        requests, error = drive(operations.cacerts(protocol.Est("h:1")), answer.encode(), no)
        return requests[-1].path if isinstance(error, Refused) else None

    assert to("/other") == "/other"
    assert to("https://h:1/other") == "/other"
    for bad in ("https://h:12/x", "http://h:1/x", "//h:1/x", "https://h:1.evil/x", "x", ""):
        assert to(bad) is None
