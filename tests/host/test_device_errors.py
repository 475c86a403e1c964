"""Whatever a server answers, the device ends with one typed error in the server's words."""

from collections.abc import Callable, Iterable

import pytest
from board_bench import Bench

from mpest.exits import Exit
from mpest.server import faults
from mpest.server.wire import Reply, Script
from mpest.sim.board_process import exit_code

Answer = Callable[..., None]


@pytest.fixture
def answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Has the server answer simpleenroll with these bytes, then end TLS or `cut` it off."""

    def answer(*pieces: bytes, cut: bool = False) -> None:
        answer_in_pieces(pieces, cut=cut)

    def answer_in_pieces(pieces: Iterable[bytes], *, cut: bool) -> None:
        script = Script(pieces, cut=cut)
        monkeypatch.setitem(faults.INSTEAD, "scripted", lambda _context: Reply(script=script))
        monkeypatch.setitem(faults.DESCRIPTIONS, "scripted", "answers as a test says")
        bench.server.config.faults = {"scripted@simpleenroll"}

    return answer


def response(status: str, body: bytes = b"its words", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


STATUSES = {
    Exit.REFUSED: [
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "405 Method Not Allowed",
        "406 Not Acceptable",
        "409 Conflict",
        "413 Content Too Large",
        "415 Unsupported Media Type",
        "499 Unknown",
        "500 Internal Server Error",
        "501 Not Implemented",
        "505 HTTP Version Not Supported",
        "999 Unknown",
    ],
    Exit.LATER: ["202 Accepted", "429 Too Many Requests", "502 Bad Gateway", "503 Unavailable"],
    Exit.NETWORK: ["204 No Content", "206 Partial", "300 Multiple Choices", "304 Not Modified"],
}


@pytest.mark.parametrize("code", STATUSES)
def test_statuses(bench: Bench, answer: Answer, code: Exit) -> None:
    # tests/unit/test_http.py has all statuses on every runtime, without sockets.
    few = slice(None, None, 6 if "-" in bench.runtime else 1)
    for status in STATUSES[code][few]:
        answer(b"HTTP/1.1 100 Continue\r\n\r\n" + response(status))
        event = bench.run("enroll")
        assert (event["event"], exit_code(event)) == ("error", code), event
        number, reason = status.split(" ", 1)
        words = reason if number in ("204", "304") else "its words"
        assert f"HTTP {number}: {words}" in event["message"]
        if code is Exit.LATER:
            assert event["seconds"] == 60
            (bench.state / "order.0").unlink(missing_ok=True)
            (bench.state / "order.1").unlink(missing_ok=True)
    assert not bench.server.issued()
    bench.server.config.faults = set()
    assert bench.run("enroll")["event"] == "enroll"


@pytest.mark.parametrize("status", ["202", "429", "503"])
def test_when_to_come_back(bench: Bench, answer: Answer, status: str) -> None:
    answer(response(f"{status} Later", b"", "Retry-After: 77"))
    event = bench.run("enroll")
    assert (exit_code(event), event["seconds"]) == (Exit.LATER, 77)


MALFORMED = {
    "no status line": [b"\r\n\r\n"],
    "status of letters": [response("two OK")],
    "another protocol": [b"\x00\x01\x02\x03" * 400],
    "switching protocols": [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"],
    "nothing": [response("200 OK", b"", "Content-Type: application/pkcs7-mime")],
    "header without colon": [response("200 OK", b"", "nonsense")],
    "two lengths": [response("200 OK", b"x", "Content-Length: 7")],
    "negative length": [b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"],
    "chunk of letters": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"],
    "content type of another kind": [response("200 OK", b"hello", "Content-Type: text/\x1b[1mx")],
    "no content type": [response("200 OK", b"MAA=")],
    "no certificate": [response("200 OK", b"MAA=", "Content-Type: application/pkcs7-mime")],
    "no ASN.1": [response("200 OK", b"AAAA", "Content-Type: application/pkcs7-mime")],
    "no base64": [response("200 OK", b"\xff" * 40, "Content-Type: application/pkcs7-mime")],
}


def test_malformed_answers(bench: Bench, answer: Answer) -> None:
    for name, pieces in MALFORMED.items():
        answer(*pieces)
        event = bench.run("enroll", timeout=10)
        assert (event["event"], event["type"]) == ("error", "PeerError"), (name, event)
        assert event["message"].isprintable(), name
        assert "took longer" not in event["message"], name


@pytest.mark.parametrize("cut", [False, True], ids=["close_notify", "lost"])
def test_an_end_amid_the_body_is_noticed(bench: Bench, answer: Answer, cut: bool) -> None:
    """Before the time is up, although MicroPython forgets TLS's end of data where one read meets
    both it and data: the connection's end follows."""
    whole = response("200 OK", b"M" * 4000, "Content-Type: application/pkcs7-mime")
    for size in (0, 3, 256, 500):
        answer(whole[: size - 4000], cut=cut)
        message = bench.run("enroll", timeout=20)["message"]
        assert "took longer" not in message, size
        assert "closed" in message or "TLS" in message


NO = b"HTTP/1.1 403 No\r\n"
BROKEN_BODIES = {
    "larger than any answer": [NO + b"Content-Length: 200000\r\n\r\n", b"its words"],
    "so in chunks": [
        NO + b"Transfer-Encoding: chunked\r\n\r\n",
        *[b"400\r\n%1024d\r\n" % 0] * 200,
    ],
    "shorter than said": [NO + b"Content-Length: 500\r\n\r\nits words"],
    "of no length": [NO + b"Content-Length: some\r\n\r\nits words"],
    "no chunk": [NO + b"Transfer-Encoding: chunked\r\n\r\nits words\r\n"],
}


@pytest.mark.parametrize("name", BROKEN_BODIES)
def test_a_status_counts_whatever_its_body_is(bench: Bench, answer: Answer, name: str) -> None:
    answer(*BROKEN_BODIES[name], cut=name == "shorter than said")
    event = bench.run("enroll", timeout=20)
    assert event["type"] == "Refused", event
    assert "refused with HTTP 403: " in event["message"], event
    bench.server.config.faults = set()
    assert bench.run("enroll")["event"] == "enroll"


def test_what_the_server_says_can_be_shown(bench: Bench, answer: Answer) -> None:
    said = b"<html>\r\n\x1b]0;title\x07<b>N\xffo</b>\x00" + 9000 * b"!"
    answer(response("400 Bad", said))
    message = bench.run("enroll")["message"]
    assert message.startswith(
        "simpleenroll: refused with HTTP 400: <html> ]0;title <b>N o</b> !!!"
    )
    assert message.isprintable()
    assert len(message) < 300
    answer(response("400 No \x1b[2J" + 900 * "!", b""))
    message = bench.run("enroll")["message"]
    assert message.startswith("simpleenroll: refused with HTTP 400: No [2J!!!")
    assert len(message) < 300


def test_secrets_that_the_server_repeats(bench: Bench, answer: Answer) -> None:
    code, password = 'c"de & <1>', "correct horse"
    html, url, text = "c&quot;de &amp; &lt;1&gt;", "c%22de+%26+%3C1%3E", r"c\"de \u0026 \u003c1>"
    for said in (html, url, text):
        answer(response("400 Bad", f"code '{said}', password 'correct%20horse'".encode()))
        for given in ({"user": None}, {}):
            bench.server.config.auth = "basic" if not given else "none"
            message = bench.run("enroll", challenge=code, **given)["message"]
            assert "code '***', password" in message, message
            assert ("***" in message.partition("password")[2]) != bool(given), message
    assert password not in message


@pytest.mark.parametrize("line", ["100 Continue\r\n", "200 OK\r\nX: y", "200 OK\r\n" + 999 * "X"])
def test_headers_without_end(bench: Bench, answer: Answer, line: str) -> None:
    answer(*[f"HTTP/1.1 {line}\r\n".encode() * 1000] * 1_000_000)
    event = bench.run("enroll", timeout=60)
    assert event["type"] == "PeerError"
    assert "HTTP: over 131072 bytes" in event["message"]


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_fingerprint_of_the_wrong_length(bench: Bench, size: int) -> None:
    event = bench.run("enroll", anchors=None, fingerprint="00" * size)
    assert exit_code(event) == Exit.USAGE, event
    assert not bench.server.events
