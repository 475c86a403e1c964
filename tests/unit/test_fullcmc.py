"""/fullcmc without sockets: whose body is CMC, whatever the status, and what is an error."""

import binascii

import check
from est import auth, cmc, csr, extensions, keys
from est import run as run_steps
from est.errors import PeerError, Refused, RetryLater, UsageError
from est.fullcmc import FullCmc, fullcmc
from est.protocol import Est

CMC = "application/pkcs7-mime; smime-type=CMC-response"
MESSAGE = bytes([0x30, 3, 2, 1, 5])


def run(*answers, **options):
    """Result of the operation and the requests it sent, given (status, headers, body) each."""
    sent = []
    steps = fullcmc(Est("a.example", None, **options), b"request")
    answers = list(answers)
    try:
        request = next(steps)
        while True:
            sent.append(request)
            status, headers, body = answers.pop(0)
            lines = ["HTTP/1.1 %d Words" % status, "Content-Length: %d" % len(body)]
            lines += ["%s: %s" % header for header in headers.items()]
            request.response.feed("\r\n".join(lines + ["", ""]).encode() + body)
            assert request.response.done
            request = steps.send(None)
    except StopIteration as stop:
        assert not answers
        return stop.value, sent


def answer(status, body=binascii.b2a_base64(MESSAGE), kind=CMC, **headers):
    if kind:
        headers["Content-Type"] = kind
    return status, headers, body


def test_request():
    (status, content), sent = run(answer(200))
    assert (status, bytes(content)) == (200, MESSAGE)
    (request,) = sent
    assert (request.method, request.path) == ("POST", "/.well-known/est/fullcmc")
    assert ("Content-Type", "application/pkcs7-mime; smime-type=CMC-request") in request.headers
    assert ("Content-Transfer-Encoding", "base64") in request.headers
    assert binascii.a2b_base64(request.body) == b"request"


def test_errors_in_cmc():
    for status in (400, 401, 403, 500, 503):
        found, _ = run(answer(status))
        assert (found[0], bytes(found[1])) == (status, MESSAGE)
    for kind in ("application/pkcs7-mime", "Application/PKCS7-MIME ; a=b"):
        assert run(answer(400, MESSAGE, kind))[0][0] == 400


def test_errors_in_words():
    error = check.raises(Refused, run, answer(400, b"no such thing", "text/plain"))
    assert error.status == 400 and "no such thing" in str(error)
    assert len(str(check.raises(Refused, run, answer(500, b"x" * 999, None)))) < 300
    assert check.raises(RetryLater, run, answer(503, b"busy", "text/plain")).seconds == 60
    for bad in (
        answer(200, b"words", "text/plain"),
        answer(200, b"words", None),
        answer(200, b""),
        answer(400, b""),
        answer(200, b"*"),
        answer(400, b"MAA"),
    ):
        check.raises(PeerError, run, bad)


def test_challenge_comes_before_the_body():
    challenge = answer(401)
    challenge[1]["WWW-Authenticate"] = 'Basic realm="a"'
    found, sent = run(challenge, answer(200), credentials=auth.Password("u", "p"))
    assert found[0] == 200
    assert [name for name, _ in sent[1].headers].count("Authorization") == 1
    check.raises(Refused, run, challenge)


def test_redirect():
    moved = answer(307, b"", None)
    moved[1]["Location"] = "/elsewhere"
    found, sent = run(moved, answer(400))
    assert found[0] == 400
    assert sent[1].path == "/elsewhere"


def test_not_before_the_server_is_verified():
    steps = fullcmc(Est("a.example", bootstrap=True), b"request")
    check.raises(UsageError, next, steps)


def test_the_enrolment_code_in_what_the_ca_says():
    order = FullCmc()
    order.request = csr.build(keys.P256Key(), "CN=a", (), [extensions.challenge("code & 1")])
    order.answer = [b"", b"400", b"", b""]
    accept = cmc.accept
    try:
        for error, kind, number in (
            (Refused("no code &amp; 1 here", 400), "status", 400),
            (RetryLater("no code & 1 here", 7), "seconds", 7),
        ):

            def refuse(*arguments):
                raise error

            cmc.accept = refuse
            found = check.raises(type(error), run_steps, order.accept([], [], 0))
            assert str(found) == "no *** here" and getattr(found, kind) == number
            accepting = order.accept([], [], 0)
            found = check.without("advice", check.raises, type(error), run_steps, accepting)
            assert "code" not in str(found) and getattr(found, kind) == number
    finally:
        cmc.accept = accept
