"""Whatever ends an operation, the text says which it was, and what came instead of its answer."""

import base64
import shutil
import ssl
from pathlib import Path

import pytest
from board_bench import Bench

from mpest.server import faults
from mpest.server.wire import Reply, Script

PAGE = b"<!DOCTYPE html>\r\n<html><head><title>Portal</title></head><body>Log in</body></html>"
CMS = "Content-Type: application/pkcs7-mime"

# What `mpest simulate` calls it, and what RFC 7030 does.
OPERATIONS = {
    "cacerts": "cacerts",
    "csrattrs": "csrattrs",
    "enroll": "simpleenroll",
    "reenroll": "simplereenroll",
    "serverkeygen": "serverkeygen",
    "revoke": "fullcmc",
}


def response(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def parts(body: bytes) -> bytes:
    """A multipart answer of which the certificates are `body`."""
    first = b"--x\r\nContent-Type: application/pkcs8\r\n\r\nMAA=\r\n"
    second = b"--x\r\nContent-Type: application/pkcs7-mime\r\n\r\n" + body + b"\r\n--x--\r\n"
    return response("200 OK", first + second, "Content-Type: multipart/mixed; boundary=x")


@pytest.fixture
def answer(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    def answer(operation: str, data: bytes, cut: bool = False) -> None:
        script = Script([data], cut=cut)
        monkeypatch.setitem(faults.INSTEAD, "scripted", lambda _context: Reply(script=script))
        monkeypatch.setitem(faults.DESCRIPTIONS, "scripted", "answers as a test says")
        bench.server.config.faults = {f"scripted@{operation}"}

    return answer


def typed(operation: str, body: bytes) -> bytes:
    """A success of the operation's own content type, with that body."""
    if operation == "serverkeygen":
        return parts(body)
    kind = "application/csrattrs" if operation == "csrattrs" else "application/pkcs7-mime"
    return response("200 OK", body, f"Content-Type: {kind}")


FAILURES = {
    "status": (lambda _: response("400 Bad", b"no"), "HTTP 400: no"),
    "later": (lambda _: response("503 Busy", b"", "Retry-After: 5"), "HTTP 503"),
    "content type": (lambda _: response("200 OK", b"MAA=", "Content-Type: text/plain"), ""),
    "cut": (lambda operation: typed(operation, b"M" * 400)[:-300], ""),
    "nothing": (lambda _: b"", ""),
    "no HTTP": (lambda _: b"SSH-2.0-x\r\n\r\n", "status line"),
    "no DER": (lambda operation: typed(operation, b"AAAA"), ""),
    "no base64": (lambda operation: typed(operation, b"M***"), "base64"),
    "web page": (lambda operation: typed(operation, PAGE), "a web page came"),
    "web page of its type": (
        lambda _: response("200 OK", PAGE, "Content-Type: text/html"),
        "web page",
    ),
    "PEM": (
        lambda operation: typed(
            operation, ssl.DER_cert_to_PEM_cert(bytes(99)).replace(" CERT", " X").encode()
        ),
        "PEM came",
    ),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_error_names_it(bench: Bench, answer, operation: str) -> None:
    name = OPERATIONS[operation]
    if name in ("simplereenroll", "fullcmc"):
        assert bench.run("enroll")["event"] == "enroll"
    # The emulated runtimes are slow; each of these has its own code path.
    few = slice(None, None, 3 if "-" in bench.runtime else 1)
    for failure, (made, words) in list(FAILURES.items())[few]:
        answer(name, made(name))
        event = bench.run(operation, timeout=10, reason="unspecified")
        assert event["event"] == "error", (failure, event)
        message = event["message"]
        assert message.startswith(name + ": "), (failure, message)
        assert words in message, (failure, message)
        for slot in (0, 1):  # one to be sent later
            (bench.state / f"order.{slot}").unlink(missing_ok=True)


def test_what_an_answer_lacks(bench: Bench, answer) -> None:
    """Judged after the exchange, by what was stored."""
    answer("simpleenroll", response("200 OK", b"MAA=", CMS))
    assert bench.run("enroll")["message"].startswith("simpleenroll: ")
    root = base64.b64encode(bytes.fromhex(bench.config["anchors"][0]))
    answer("simpleenroll", response("200 OK", root, CMS))
    assert bench.run("enroll")["message"].startswith("simpleenroll: ")


def test_optional_attributes_name_theirs(bench: Bench, answer) -> None:
    answer("csrattrs", typed("csrattrs", PAGE))
    *events, last = bench.events("enroll")
    assert last["event"] == "enroll", last
    notes = [event["text"] for event in events if event["event"] == "note"]
    (note,) = [note for note in notes if "csrattrs are left out" in note]
    assert "csrattrs: " in note and "a web page came" in note, note


ABSENT = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-x\r\n\r\n",
    "amid the head": b"HTTP/1.1 200 OK\r\nServ",
    "amid the body": typed("cacerts", b"M" * 400)[:-300],
    "a page": response("200 OK", PAGE, "Content-Type: text/html"),
    "PEM": response("200 OK", b"-----BEGIN X-----\nMAA=\n"),
    "elsewhere": response("302 Found", b"", "Location: https://portal.example/"),
    "nothing there": response("204 No Content", b""),
    "no service": response("501 Not Implemented", b"no"),
}


@pytest.mark.parametrize("operation", ["csrattrs", "cacerts"])
def test_what_enrolment_does_not_need(bench: Bench, answer, operation: str) -> None:
    few = slice(None, None, 3 if "-" in bench.runtime else 1)
    for absence, data in list(ABSENT.items())[few]:
        answer(operation, data)
        shutil.rmtree(bench.state, ignore_errors=True)  # the proof of another asks for /cacerts
        *events, last = bench.events("enroll", timeout=30)
        assert last["event"] == "enroll", (absence, last)
        notes = [event["text"] for event in events if event["event"] == "note"]
        told = any(operation in note for note in notes)
        assert told != (operation == "csrattrs" and absence == "nothing there"), (absence, notes)
    # The network is not what is not needed.
    event = bench.run("enroll", url="https://127.0.0.1:1", timeout=5)
    assert event["event"] == "error", event


def test_a_proxy_that_has_no_attributes(bench: Bench, answer) -> None:
    for status in ("202 Accepted", "502 Bad Gateway", "503 Unavailable", "504 Timeout"):
        answer("csrattrs", response(status, b""))
        assert bench.run("enroll")["event"] == "enroll", status
    answer("csrattrs", response("503 Unavailable", b"", "Retry-After: 9"))
    assert bench.run("enroll")["type"] == "RetryLater"


def test_a_server_that_is_not_there(bench: Bench, tmp_path: Path) -> None:
    event = bench.run("cacerts", url="https://127.0.0.1:1", timeout=5)
    assert event["message"].startswith("cacerts: cannot reach"), event
    event = bench.run("enroll", url="https://127.0.0.1:1", timeout=5)
    assert ": cannot reach" in event["message"], event
