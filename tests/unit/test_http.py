"""HTTP responses and authentication, fed whole, byte by byte, cut short and damaged."""

import hashlib

import check
from est import auth, base64, encode, http, httpdate, operations, protocol
from est import requests as est_requests
from est.challenge import answer as logs_in
from est.errors import Closed, PeerError, Refused, RetryLater, UsageError


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
    assert data == b"POST /a HTTP/1.1\r\nHost: h:1\r\nA: b\r\nContent-Length: 2\r\n\r\n"


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


def test_what_its_status_decides():
    for status in (200, 201):
        assert not parse(b"HTTP/1.1 %d A\r\nContent-Length: 9\r\n\r\nx" % status).decided
    for status in (202, 302, 403, 500):
        head = b"HTTP/1.1 100 B\r\n\r\nHTTP/1.1 %d A\r\nContent-Length: 9\r\n\r\n" % status
        assert not parse(head[:-1]).decided
        response = parse(head)
        assert response.decided and not response.done


def test_mutated():
    for data in (OK, CHUNKED):
        check.mutated(parse, data)


def test_bounds():
    for bad in (
        b"HTTP/1.1 200 OK\r\nA: " + 131072 * b"x" + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + 131072 * b"A: b\r\n",
        b"HTTP/1.1 200 OK\r\n" + 65 * b"Date: b\r\n" + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 131073\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length:" + 1024 * b" " + b"5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        CHUNKED.replace(b"\r\n3;", b"\r\nfffff;"),
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n" + 131072 * b"x",
    ):
        check.raises(PeerError, parse, bad, True)


def test_what_nobody_reads_is_skipped():
    for line in (
        b"Set-Cookie: " + 9000 * b"x",
        9000 * b"x" + b": y",
        9000 * b"x",
        b"Server: M\xfcller",
        b"X-\xff\xfe: \xc3\xbc",
        b": b",
        b"nonsense",
        b"\r\n".join([b"X-%d: y" % number for number in range(500)]),
        b"X-Folded: a\r\n Content-Length: 1\r\n\t" + 9000 * b"x",
        b"Content-Type : text/plain\r\n" + 900 * b" x\r\n" + b" x",
        b"Content-Length: 5, 5\r\nContent-Length:5",
        b"CONTENT-LENGTH:\t5",
        b"Content-Length:\r\n 5",
        b"Transfer-Encoding: identity",
        b"Connection: Keep-Alive",
    ):
        data = OK.replace(b"Content-Type", line + b"\r\nContent-Type")
        for step in (0, 1, 100):
            response = parse(data, False, step)
            assert (response.status, response.body, response.keep) == (200, b"hello", True), line
    response = parse(OK.replace(b"200 OK", b"200 " + 9000 * b"\xe9"))
    assert response.body == b"hello" and len(response.reason) < 1025
    assert parse(OK.replace(b"200 OK", b"200")).body == b"hello"


def test_headers():
    data = OK.replace(
        b"Content-Type: text/plain",
        b'WWW-AUTHENTICATE : Basic\r\n\trealm="Ger\xe4t"\r\nDate:\r\n'
        b"content-TYPE:  a;\r\n b=\xc3\xa4 ",
    )
    response = parse(data, False, 1)
    assert response.header("www-authenticate") == 'Basic\trealm="Ger\x7ft"'
    assert response.header("content-type") == "a; b=\xe4"
    assert response.header("date") == response.header("location") == ""


def test_more_than_the_answer():
    """The connection is not used again."""
    chunk = b"0\r\n\r\n"
    for data in (
        OK + b"x",
        CHUNKED + b"\r\n",
        b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\nAuthentication required",
        b"HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\nnone",
        b"HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk,
        b"HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 No\r\n\r\n" + chunk,
        b"HTTP/1.1 408 Idle\r\nContent-Length: 0\r\n\r\n",
        OK + OK,
    ):
        for step in (0, 1):
            response = parse(data, False, step)
            assert response.done and not response.keep, data
    for data in (b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n"):
        assert parse(data).keep


def test_an_answer_that_did_not_begin():
    """The same Response takes it from another connection."""
    for rest in (b"", b"Authentication required", b"junk\n", b"0\r\n\r\n"):
        sink = Sink()
        response = http.Response(lambda response: sink)
        try:
            response.feed(rest)
            check.raises(Closed, response.eof)
        except PeerError:
            pass
        assert not response.status
        response.feed(OK)
        assert (response.status, sink.data) == (200, b"hello")


def test_basic():
    password = auth.Password("Aladdin", "open sesame")
    assert password.header("GET", "/") is None
    assert not logs_in(password, ["Negotiate"])
    assert logs_in(password, ['Basic realm="a, b"'])
    assert password.header("GET", "/") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert not logs_in(password, ['Basic realm="a, b"'])
    # Nothing is asked for: one try.
    for nothing in ([], [""], [" ,"], ["", ","]):
        assert logs_in(auth.Password("u", "p"), nothing), nothing
        error = drive(simpleenroll(), answer("401", b"no", OFFER % ", "))[1]
        assert str(error).endswith("the server names no way to log in)")


def test_digest():
    password = auth.Password("Mufasa", "Circle of Life")
    challenge = 'Digest realm="r, \\"q\\"", qop="auth, auth-int", nonce="n=1", opaque="o"'
    assert logs_in(password, ["Basic realm=x", challenge + ", algorithm=SHA-512-256", challenge])
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
    assert logs_in(password, [challenge.replace("n=1", "n=2") + ", stale=TRUE"])
    assert not logs_in(password, [challenge])


def test_quoted_strings_of_challenges():
    """As RFC 9110 5.6.4: a backslash makes the character after it stand for itself."""
    for text, realm in (
        ('"DOM\\\\"', "DOM\\"),
        ('"a\\\\\\", nonce=\\"x"', 'a\\", nonce="x'),
        ('"a\\, b\\c"', "a, bc"),
        ('","', ","),
        ('""', ""),
        ("plain", "plain"),
    ):
        for offer in (
            "Digest realm=%s, nonce=n,algorithm=SHA-256",
            'Digest nonce="n", algorithm=SHA-256, realm=%s',
            'Basic realm=%s, Digest realm=%s, algorithm="SHA-256" ,nonce = "n"',
        ):
            password = auth.Password("u", "p", basic=False)
            offer = offer.replace("%s", text)
            assert logs_in(password, [offer]), offer
            header = password.header("GET", "/")
            quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
            assert ', realm="%s", nonce="n", ' % quoted in header, header
            assert "algorithm=SHA-256" in header


def test_what_quotes_hold_is_no_offer():
    for offer in (
        'Digest realm="a, basic b", nonce=n, algorithm=X',
        'Negotiate x="a\\", basic b"',
        'Negotiate x="a, b, basic", y="basic , basic"',
    ):
        assert not logs_in(auth.Password("u", "p"), [offer]), offer
        assert not logs_in(auth.Token("t"), [offer.replace("basic", "bearer")])
    for offer in (
        'Negotiate x="a, \\\\", Basic realm=b',
        'Digest realm="a, b", nonce=n, algorithm=X , BASIC',
        'Basic\trealm="a"',
        ",Basic",
    ):
        assert logs_in(auth.Password("u", "p"), [offer]), offer
        offer = offer.replace("Basic", "Bearer").replace("BASIC", "bearer")
        assert logs_in(auth.Token("t"), [offer]), offer


def test_a_weaker_scheme_is_not_answered_after_a_digest():
    password = auth.Password("u", "p")
    assert logs_in(password, ['Digest realm="r", nonce="n", qop="auth"'])
    assert not logs_in(password, ["Basic realm=r"])


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
            request.encode("h")
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


def simpleenroll(credentials=None):
    return operations.simpleenroll(protocol.Est("h", None, credentials), b"0")


def refusal(*answered):
    return drive(simpleenroll(), answer(*answered))[1]


def test_statuses():
    later = (202, 408, 429, 502, 503, 504)
    for status in range(200, 1000):
        if status in (200, 201, 204, 304):
            continue
        # After a 408 it is sent again once, over another connection.
        answers = [answer(str(status), b"its words")] * (1 + (status == 408))
        error = drive(simpleenroll(), *answers)[1]
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


CHANGE = " (change subject, names or key as the server says)"


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
        assert str(refusal("400", words)) == "refused with HTTP 400: %s%s" % (shown, CHANGE)
    # So is the reason, which stands in for a body.
    error = refusal("400", b"", "", b"No \x1b[2J\xc3\xbc " + b"x" * 900)
    assert str(error) == "refused with HTTP 400: No [2J " + "x" * 193 + CHANGE, error
    assert str(refusal("400", b"", "", b"\xff")) == "refused with HTTP 400: " + CHANGE
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
        # The longest wait believed: the forms of RFC 9110 5.6.7.
        ("Sun, 06 Nov 2089 08:49:37 GMT", 2678400),
        ("Sunday, 06-Nov-89 08:49:37 GMT", 2678400),
        ("Sun Nov  6 08:49:37 2089", 2678400),
        ("Sun Nov  6 08:49 2089", 60),
        ("Nov  6 08:49:37 2089", 60),
        ("-5", 60),
    ):
        answer = "HTTP/1.1 202 Wait\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % value
        _, error = drive(operations.simpleenroll(protocol.Est("h"), b"0"), answer.encode())
        assert isinstance(error, RetryLater) and error.seconds == seconds


def test_forms_of_dates():
    for text in (
        "Sun, 06 Nov 2033 08:49:37 GMT",
        "Sunday, 06-Nov-33 08:49:37 GMT",
        "Sun Nov  6 08:49:37 2033",
        "Sun Nov 06 08:49:37 2033",
    ):
        assert httpdate.unix_time(text) == 2014879777, text


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
    base = "/.well-known/est/"
    for location, path in (
        ("//h:1/x", "/x"),
        ("HTTPS://H:1", "/"),
        ("https://h:1/a?b=c:d#e", "/a?b=c:d"),
        ("x", base + "x"),
        ("x/y?z=/../", base + "x/y?z=/../"),
        ("./x", base + "x"),
        ("../x", "/.well-known/x"),
        ("../../../../x", "/x"),
        ("..", "/.well-known/"),
        (".", base),
        # Only "." and ".." alone are steps (RFC 3986 5.2.4), wherever they stand.
        ("../../.well-known/est/label/cacerts", "/.well-known/est/label/cacerts"),
        (".x/..y/...", base + ".x/..y/..."),
        ("x/../y/./z", base + "y/z"),
        ("x/y/..", base + "x/"),
        ("/a//../../../b/.?c", "/b/?c"),
        ("https://h:1/../a", "/a"),
        ("?a", base + "cacerts?a"),
        ("/a b\xe4", "/a%20b%C3%A4"),
        ("/a:b", "/a:b"),
        ("x?y:z", base + "x?y:z"),
    ):
        assert to(location) == path, (location, to(location))
    for bad in (
        "https://h:12/x",
        "http://h:1/x",
        "//h/x",
        "https://h:1.evil/x",
        "https://h:1@evil/x",
        "https:/x",
        "https:x",
        "mailto:a",
        "",
        "#x",
    ):
        assert to(bad) is None, bad


def test_a_redirect_to_nowhere():
    for location in (b"", b"#x"):
        found = b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location
        _, error = drive(operations.cacerts(protocol.Est("h:1")), found)
        assert isinstance(error, PeerError) and "does not say where" in str(error), error


def test_redirects_of_requests():
    """As RFC 3986 5.4 has them, where no other scheme is meant."""
    here = "/b/c/d?q"
    for location, path in (
        ("/b?next=https://h/c", "/b?next=https://h/c"),
        ("x?next=https://h/c", "/b/c/x?next=https://h/c"),
        ("x#https://h/c", "/b/c/x"),
        ("?x=1", "/b/c/d?x=1"),
        ("?", "/b/c/d?"),
        ("#s", "/b/c/d?q"),
        ("g", "/b/c/g"),
        ("g/", "/b/c/g/"),
        ("/g", "/g"),
        ("../g", "/b/g"),
        (".well-known", "/b/c/.well-known"),
        ("g?y/../x", "/b/c/g?y/../x"),
        ("./g:h", "/b/c/g:h"),
    ):
        assert est_requests._joined("h:1", here, location) == "https://h:1" + path, location
    for location in ("//k/x", "//k?x=//y", "//k"):
        assert est_requests._joined("h:1", here, location) == "https:" + location
    for location in ("https://k/x", "HTTPS://k?x"):
        assert est_requests._joined("h:1", here, location) == location
    for bad in ("http://h/", "mailto:a", "x:", "https:g", "//", "//u@h/", "/a b", "g:h?x/y"):
        check.raises(PeerError, est_requests._joined, "h:1", here, bad)


def test_redirect_by_method():
    to = "Location: /x\r\n"
    _, error = drive(operations.cacerts(protocol.Est("h")), answer("303", b"", to), answer("404"))
    assert isinstance(error, Refused)
    error = refusal("303", b"", to)
    assert isinstance(error, PeerError) and "303" in str(error)
    requests, error = drive(simpleenroll(), answer("307", b"", to), answer("404"))
    assert requests[1].method == "POST" and requests[1].body == requests[0].body
    # The port of HTTPS may stand there or not.
    for authority, location in (("h", "https://h:443/x"), ("h:443", "//h/x")):
        steps = operations.cacerts(protocol.Est(authority))
        requests, _ = drive(
            steps, answer("301", b"", "Location: %s\r\n" % location), answer("404")
        )
        assert requests[1].path == "/x"
    _, error = drive(simpleenroll(), *[answer("302", b"", to)] * 6)
    assert "without end" in str(error)


OFFER = "WWW-Authenticate: %s\r\n"


def sent(requests):
    return [dict(request.headers).get("Authorization") for request in requests]


def test_a_login_that_no_scheme_is_named_for():
    for status in ("401", "403"):
        for login, value in (
            (auth.Password("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            (auth.Token("abc"), "Bearer abc"),
        ):
            requests, error = drive(simpleenroll(login), *[answer(status)] * 2)
            assert sent(requests) == [None, value]
            assert isinstance(error, Refused) and error.status == int(status)
            assert ("wrong user" if status == "401" else "must allow this board") in str(error)
        for login in (None, auth.Password("a:b", "secret"), auth.Password("a", "b", basic=False)):
            requests, error = drive(simpleenroll(login), answer(status))
            assert sent(requests) == [None] and isinstance(error, Refused)
            if status == "401":
                assert "names no way to log in" in str(error)
                assert "no user, password or token was sent" in str(error)
    # What went with a login and is refused all the same is refused.
    login = auth.Password("a", "secret")
    basic = OFFER % "Basic"
    requests, error = drive(simpleenroll(login), answer("401", b"", basic), answer("403"))
    assert len(requests) == 2 and error.status == 403


def test_a_body_that_is_no_text():
    for body, shown in (
        (b"\x30\x82\x01\x00secret", "(binary data)"),
        (b"\x30\x81\x80secret", "(binary data)"),
        (b"0 requests are left", "0 requests are left"),
        (b"0", ": 0 ("),
    ):
        error = refusal("400", body)
        assert shown in str(error) and "secret" not in str(error), error


def test_what_is_offered_is_named():
    for offered, names in (
        ("Negotiate", "for Negotiate)"),
        ('Basic2 realm="Acme, Inc EST", a="\\\\", , NTLM', "for Basic2, NTLM)"),
        ('Basic2\trealm="\\", b c"', "for Basic2)"),
        ('NTLM, Negotiate abc==, Basic2 realm="a, b"', "for NTLM, Negotiate, Basic2)"),
        ('Digest realm="e", nonce="n", algorithm=SHA-512-256', "Digest algorithm=SHA-512-256)"),
        ('Digest realm="e", nonce="n", algorithm=MD5-sess, qop="auth"', "algorithm=MD5-sess)"),
        ('Digest realm="e", nonce="n", qop="auth-int"', "for Digest qop=auth-int)"),
    ):
        for login in (None, auth.Password("a", "secret"), auth.Token("secret")):
            requests, error = drive(simpleenroll(login), answer("401", b"", OFFER % offered))
            assert sent(requests) == [None] and names in str(error), error
    headers = OFFER % "Basic" + OFFER % "Negotiate"
    for login in (auth.Token("secret"), auth.Password("a", "secret", basic=False)):
        requests, error = drive(simpleenroll(login), answer("401", b"", headers))
        assert sent(requests) == [None] and "for Basic, Negotiate" in str(error), error
    error = refusal("401", b"", OFFER % ("\x1b[2J" + "x" * 900))
    assert len(str(error)) < 250 and min(str(error)) >= " "


def test_a_login_that_waits_for_trust():
    """Before the server is verified it is not sent, and not said to be missing."""
    est = protocol.Est("h", None, auth.Password("a", "secret"), bootstrap=True)
    requests, error = drive(operations.cacerts(est), answer("401", b"", OFFER % "Basic"))
    assert sent(requests) == [None]
    assert "no user, password or token was sent; the server asks for Basic" in str(error)


def test_a_password_that_is_never_sent():
    login = auth.Password("u", "secret", basic=False)
    assert not logs_in(login, []) and not logs_in(login, ["Basic"])
    assert login.header("GET", "/") is None
    assert logs_in(login, ["Basic", 'Digest realm="r", nonce="n", qop="auth"'])
    assert "Digest" in login.header("GET", "/")


def test_a_user_name_with_a_colon():
    login = auth.Password("a:b", "secret")
    check.raises(UsageError, logs_in, login, ["Basic realm=x"])
    assert login.header("GET", "/") is None and not logs_in(login, [])
    assert logs_in(login, ["Basic realm=x", 'Digest realm="r", nonce="n", qop="auth"'])
    error = drive(simpleenroll(login), answer("401", b"", OFFER % "Basic"))[1]
    assert isinstance(error, (UsageError, Refused))


def test_what_the_server_repeats_of_a_login_is_not_shown():
    pair = "QWxhZGRpbjpvcGVuIHNlc2FtZQ"
    basic = OFFER % "Basic"
    for words in (
        "no open sesame here",
        "you sent Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        180 * "x" + pair,
        180 * "x" + " open sesame",
        pair + " open\tsesame",
    ):
        login = auth.Password("Aladdin", "open sesame")
        for status, end in (("400", ""), ("403", ""), ("503", ""), ("401", basic)):
            first = answer("401", b"", basic)
            for last in (
                answer(status, words.encode(), end),
                answer(status, b"", end, words.encode()),
                answer("200", b"", end + "Content-Type: text/" + words + "\r\n"),
            ):
                login = auth.Password("Aladdin", "open sesame")
                error = str(drive(simpleenroll(login), first, last)[1])
                assert "sesame" not in error and "QWxh" not in error and "ope" not in error, error
    # Before it was sent, too, and without the part that knows how.
    login = auth.Token("to-k&n")
    assert "k&n" not in str(drive(simpleenroll(login), answer("400", b"a to-k&n"))[1])
    error = str(check.without("advice", drive, simpleenroll(login), answer("400", b"a to-k&n"))[1])
    assert "k&n" not in error and "HTTP 400" in error
    login = auth.Password("u", "secret")
    first = answer("401", b"", OFFER % 'Digest realm="r", nonce="n", qop="auth"')
    steps = simpleenroll(login)
    request = next(steps)
    request.encode("h")
    request.response.feed(first)
    request = steps.send(None)
    request.encode("h")
    value = dict(request.headers)["Authorization"]
    request.response.feed(answer("400", value.encode()))
    error = check.raises(Refused, steps.send, None)
    assert value[20:60] not in str(error)


ESCAPED = (
    "p&s <w>\"'d",
    "p&amp;s &lt;w&gt;&quot;&#39;d",
    "p&#38;s &#x3c;w&#x3E;&#034;&apos;d",
    "p%26s%20%3Cw%3e%22%27d",
    "p%26s+%3Cw%3E%22'd",
    "p\\u0026s \\u003cw\\u003E\\\"'d",
    "p\\x26s \\x3Cw\\x3e\\\"\\'d",
    "p&amp;amp;s &amp;lt;w&amp;gt;&amp;quot;&amp;#39;d",
    "p%2526s%2520%253Cw%253E%2522%2527d",
    "%70%26%73%20%3C%77%3E%22%27%64",
)


def csr_with(code):
    from est import csr, extensions, keys

    return csr.build(keys.P256Key(), "CN=a", (), [extensions.challenge(code)])


def test_secrets_as_html_urls_and_json_write_them():
    code = "p&s <w>\"'d"
    coded = csr_with(code)
    for said in ESCAPED:
        # The last one is cut amid it.
        for before in ("no ", "/?a=", "", "x " * 92):
            words = (before + said + "&b")[:200]
            for login, request in ((auth.Password("u", code), b"0"), (None, coded)):
                for last in (
                    answer("400", words.encode()),
                    answer("503", b"", "", words.encode()),
                    answer("307", b"", "Location: https://a/" + words + "\r\n"),
                ):
                    steps = operations.simpleenroll(protocol.Est("h", None, login), request)
                    error = str(drive(steps, last)[1])
                    for part in (code, said, "p&s", said[:12], "p&amp;s", "p%26s"):
                        assert part not in error, (words, error)
                    assert before[:40] + "***" in error or len(before) > 60, (words, error)


def test_words_without_a_secret_stay_as_they_are():
    words = "100% of &lt;b&gt; &nbsp; \\u0041 a+b %41%zz %-1 &#-5; \\u-001 &#x-5; \\"
    login = auth.Password("u", "secret")
    for given in (None, login):
        assert words in str(drive(simpleenroll(given), answer("400", words.encode()))[1])
    for short in ("ab", "%"):
        login = auth.Token(short)
        assert "ab %25" in str(drive(simpleenroll(login), answer("400", b"ab %25"))[1])


def test_secrets_with_other_characters():
    for secret, said in (
        ("pass wörd", b"pass w\xc3\xb6rd"),
        ("pass wörd", b"pass w\xf6rd"),
        ("pass wörd", b"pass%20w%C3%B6rd"),
        ("pass wörd", b"pass+w%F6rd"),
        ("pass wörd", b"pass w&ouml;rd"),
        ("pass wörd", b"pass w&#246;rd"),
        ("pass wörd", b"pass w\\u00f6rd"),
        ("a+b/c==", b"a%2Bb%2Fc%3D%3D"),
        ("a+b c", b"a%2Bb+c"),
    ):
        login = auth.Token(secret)
        error = str(drive(simpleenroll(login), answer("400", b"is " + said + b" yours"))[1])
        assert "is *** yours" in error, (secret, error)


def test_requests_without_an_enrolment_code():
    oid = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07"
    for rest in (b"", b"\x31", b"\x31\x82", b"\x31\x00", b"\x31\x03\x0c\x05a"):
        steps_of = operations.simpleenroll(protocol.Est("h"), b"0" + oid + rest)
        assert "its words" in str(drive(steps_of, answer("400", b"its words"))[1])


def test_a_digest_that_the_server_repeats():
    login = auth.Password("u", "secret")
    steps = simpleenroll(login)
    request = next(steps)
    request.encode("h")
    request.response.feed(answer("401", b"", OFFER % 'Digest realm="r", nonce="n", qop="auth"'))
    request = steps.send(None)
    request.encode("h")
    value = dict(request.headers)["Authorization"].partition('response="')[2].partition('"')[0]
    request.response.feed(answer("400", b"response=" + value.encode()))
    error = str(check.raises(Refused, steps.send, None))
    assert value not in error and "response=***" in error


def test_content_types():
    """Certificates vouch for themselves, and the CA has issued them: nothing else is needed."""
    certs = encode.sequence(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02")
    for kind in (
        "",
        "application/pkcs7-mime",
        "application/x-pkcs7-certificates",
        "application/octet-stream",
        "text/plain; charset=utf-8",
        "application/pkcs7-mime, application/pkcs7-mime",
    ):
        steps = protocol.Est("h").answer("simpleenroll", b"0")
        headers = kind and "Content-Type: %s\r\n" % kind
        assert drive(steps, answer("200", base64.encode(certs), headers))[1] == certs, kind
    login = auth.Password("u", "secret")
    steps = operations.csrattrs(protocol.Est("h", None, login))
    error = str(drive(steps, answer("200", b"MAA=", "Content-Type: text/secret\r\n"))[1])
    assert error == "content type text/*** where application/csrattrs is expected"


def test_csrattrs():
    def csrattrs(*answered):
        return drive(operations.csrattrs(protocol.Est("h")), answer(*answered))[1]

    right = "Content-Type: application/csrattrs\r\n"
    for found in (csrattrs("204"), csrattrs("404"), csrattrs("200"), csrattrs("200", b"", right)):
        assert not (found.keys or found.hints or found.unknown)
    for status in ("400", "403", "405", "500", "501"):
        assert csrattrs(status).status == int(status)
    # Without a word for how long, a proxy tells that nothing is behind it.
    for status in ("202", "502", "503", "504"):
        error = csrattrs(status)
        assert type(error) is PeerError and "HTTP " + status in str(error)
        assert csrattrs(status, b"", "Retry-After: 7\r\n").seconds == 7
        needed = operations.csrattrs(protocol.Est("h"), True)
        assert drive(needed, answer(status))[1].seconds == 60
    for body, kind in (
        (b"", "text/html"),
        (b"MAA=", "text/html"),
        (b"\x04\0", "application/csrattrs"),
        (b"{}", ""),
        (b"null", ""),
        (b"<!doctype html>", ""),
    ):
        headers = kind and "Content-Type: %s\r\n" % kind
        check.raises(PeerError, drive_on, operations.csrattrs(protocol.Est("h")), body, headers)


def drive_on(steps, body, headers):
    request = next(steps)
    request.encode("h")
    request.response.feed(answer("200", body, headers))
    steps.send(None)
