"""est.requests beside the `requests` that it stands in for, and servers that it must refuse."""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import in_use
from cryptography.x509.oid import ExtendedKeyUsageOID
from in_use import Pki

from mpest.server.tls import TlsIdentity

# Of MicroPython's builds here those that have the original frozen.
WITH_ORIGINAL = ("micropython", "micropython-armhf")
BIG = 300_000


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # what the client did is the client's to tell
            super().handle()

    def answer(self) -> None:
        body = self.read_body()
        kind, _, rest = self.path[1:].partition("/")
        getattr(self, f"send_{kind}", self.send_echo)(rest, body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_echo(self, _: str, body: bytes) -> None:
        seen = {
            "method": self.command,
            "path": self.path,
            "body": body.decode(),
            "headers": {
                name: self.headers[name]
                for name in (
                    "X-Own",
                    "Content-Type",
                    "Authorization",
                    "Cookie",
                    "Connection",
                    "Content-Length",
                )
            },
        }
        self.send(200, json.dumps(seen).encode(), Content_Type="application/json", X_Mixed="Yes ")

    def send_status(self, rest: str, _: bytes) -> None:
        self.send(int(rest), b"" if rest == "204" else b"words")

    def send_redirect(self, rest: str, _: bytes) -> None:
        status, _, where = rest.partition("/")
        port = self.server.server_address[1]  # type: ignore[index]
        # As the original wants it.
        secure = self.server.context  # type: ignore[attr-defined]
        whole = ("https://localhost" if secure else "http://127.0.0.1") + f":{port}/echo"
        self.send(int(status), b"gone", Location=where.replace("PORT", str(port)) or whole)

    def send_relative(self, rest: str, body: bytes) -> None:
        if rest == "1":
            self.send(302, b"", Location="echo/2")
        else:
            self.send_echo(rest, body)

    def send_loop(self, _: str, __: bytes) -> None:
        self.send(302, b"", Location="/loop")

    def send_big(self, _: str, __: bytes) -> None:
        self.send(200, bytes(range(250)) * (BIG // 250))

    def send_nolength(self, _: str, __: bytes) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"until the end")

    def send_chunked(self, _: str, __: bytes) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (b"first ", b"second ", b"x" * 1000):
            self.wfile.write(b"%x;extension\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\nTrailer: t\r\n\r\n")

    def send_slow(self, rest: str, _: bytes) -> None:
        time.sleep(float(rest))
        self.send(200, b"late")

    def send_drip(self, _: str, __: bytes) -> None:
        for octet in b"HTTP/1.1 200 OK\r\nX-Slow: yes\r\n\r\n":
            self.wfile.write(bytes([octet]))
            time.sleep(0.2)

    def send_headers(self, rest: str, _: bytes) -> None:
        lines = b"X: %s\r\n" % (100 * b"y") * 3000
        if rest == "first":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 0\r\n\r\n")
        else:
            chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
            self.wfile.write(chunked + lines + b"\r\n")
        self.close_connection = True

    def send_length(self, _: str, __: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: \xc2\xb2\r\n\r\n")

    def send_cut(self, _: str, __: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, identity: TlsIdentity | None = None, clients: Pki | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.context = identity and in_use.server_context(identity, clients)

    def finish_request(self, request: Any, address: Any) -> None:
        try:
            if self.context:
                request = self.context.wrap_socket(request, server_side=True)
            super().finish_request(request, address)
            if self.context:
                request.settimeout(1)
                request.unwrap()
        except OSError:
            pass


@contextmanager
def serving(identity: TlsIdentity | None = None, clients: Pki | None = None) -> Iterator[int]:
    with Server(identity, clients) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


# Each call as a program of the original writes it.
CALLS = """
def calls(requests, base):
    tell(shown(requests.get(base + "/echo?a=b")))
    tell(shown(requests.get(base)))
    tell(shown(requests.request("GET", base + "/echo/1", headers={"X-Own": "1"})))
    tell(shown(requests.post(base + "/echo", data="text")))
    tell(shown(requests.post(base + "/echo", data=b"x" * 2000)))
    tell(shown(requests.post(base + "/echo", json={"a": [1, None]})))
    tell(shown(requests.post(base + "/echo", data=iter([b"one ", b"two"]))))
    tell(shown(requests.put(base + "/echo", data="put", headers={"Content-Type": "text/x"})))
    tell(shown(requests.patch(base + "/echo", data="patched")))
    tell(shown(requests.delete(base + "/echo")))
    tell(shown(requests.get(base + "/echo", auth=("user", "pass word"))))
    tell(shown(requests.get(base + "/echo", timeout=9, stream=True)))
    for status in (204, 404, 500):
        found = requests.get(base + "/status/%d" % status)
        tell([found.status_code, found.reason.decode(), found.text])
    for status in (301, 302, 303):
        tell(shown(requests.get(base + "/redirect/%d" % status)))
    for status in (307, 308):
        tell(shown(requests.post(base + "/redirect/%d" % status, data="sent")))
    found = requests.head(base + "/echo")
    tell([found.status_code, found.headers["X-Mixed"]])
    found.close()
    found = requests.get(base + "/nolength")
    tell(found.text)
    found = requests.get(base + "/echo", parse_headers=False)
    tell(found.status_code)
    found.close()

def shown(found):
    seen = found.json()
    again = json.loads(found.text) == seen and json.loads(found.content.decode()) == seen
    headers = [found.headers[name] for name in ("Content-Type", "X-Mixed")]
    encoding = found.encoding
    found.close()
    return [found.status_code, found.reason.decode(), headers, seen, again, encoding]

"""
CLIENTS = (ExtendedKeyUsageOID.CLIENT_AUTH,)
START = (
    CALLS
    + """
from est import requests
take("own")
trust("root")
requests.use(known)
BASE = "https://localhost:%d" % settings["port"]
"""
)


def board(
    runtime: str, code: str, state: Path, pki: Pki, port: int = 0, **settings: Any
) -> list[Any]:
    own = in_use.items(pki.issue("own"))
    return in_use.run(runtime, code, state, own=own, root=pki.root.hex(), port=port, **settings)


def test_calls_do_what_the_original_does(runtime: str, tmp_path: Path) -> None:
    pki = Pki.of(2)
    with serving(pki.issue("server", "localhost"), pki) as port:
        ours = board(runtime, START + "calls(requests, BASE)\n", tmp_path / "a", pki, port)
    assert len(ours) == 23
    assert ours[0][0] == HTTPStatus.OK
    assert ours[0][3]["path"] == "/echo?a=b"
    if runtime not in WITH_ORIGINAL:
        return
    with serving() as port:
        code = (
            CALLS + "import requests\ncalls(requests, 'http://127.0.0.1:%d' % settings['port'])\n"
        )
        original = board(runtime, code, tmp_path / "b", pki, port)
    assert ours == original


def test_bodies_of_any_length(runtime: str, tmp_path: Path) -> None:
    """Streamed in pieces of the size asked for, also beyond what the heap would take."""
    code = (
        START
        + """
found = requests.get(BASE + "/big")
total = 0
sizes = set()
while True:
    piece = found.raw.read(1000)
    if not piece:
        break
    if piece[:250] != bytes(range(250)):
        tell("wrong")
    sizes.add(len(piece))
    total += len(piece)
found.close()
tell([total, sorted(sizes)])
found = requests.get(BASE + "/chunked")
tell([found.raw.read(100).decode() for _ in (0, 1)])
buffer = bytearray(600)
tell([found.raw.readinto(buffer), found.raw.readinto(buffer), found.raw.readinto(buffer)])
found.close()
tell(len(requests.get(BASE + "/chunked").content))
with requests.get(BASE + "/echo") as found:
    lines = []
with requests.get(BASE + "/echo", parse_headers=lambda line, headers: lines.append(line)) as found:
    tell(b"X-Mixed: Yes \\r\\n" in lines)
"""
    )
    pki = Pki.of(1)
    with serving(pki.issue("server", "localhost"), pki) as port:
        told = board(runtime, code, tmp_path / "board", pki, port)
    assert told == [[BIG, [1000]], ["first ", "second "], [600, 400, 0], 1013, True]


def test_a_wrong_server_is_refused(runtime: str, tmp_path: Path) -> None:
    """Of another CA, for another name, expired, or no server's: before anything is sent."""
    code = (
        START
        + """
from est.errors import NotTrusted
for port in settings["ports"]:
    try:
        requests.post("https://localhost:%d/echo" % port, data="secret")
    except NotTrusted as error:
        tell(type(error).__name__)
"""
    )
    pki = Pki.of(2)
    with (
        serving(Pki.of(1, "other").issue("server", "localhost"), pki) as one,
        serving(pki.issue("server", "other.example"), pki) as two,
        serving(pki.issue("server", "localhost", days=-2), pki) as three,
        serving(pki.issue("server", "localhost", purposes=CLIENTS), pki) as four,
    ):
        told = board(runtime, code, tmp_path / "board", pki, ports=[one, two, three, four])
    assert told == ["NotTrusted"] * 4


def test_errors_are_typed(runtime: str, tmp_path: Path) -> None:
    code = (
        START
        + """
from est import errors
def told(function, *arguments, **settings):
    try:
        function(*arguments, **settings)
        tell("nothing")
    except errors.EstError as error:
        tell([type(error).__name__, str(error)])

for url in ("http://localhost/", "ftp://a", "https://", "https://a b/", "https://u:p@localhost/",
        "https://localhost:x/", "https://localhost/\\r\\nX: y"):
    told(requests.get, url)
told(requests.get, BASE, headers={"A": "b\\r\\nC: d"})
told(requests.post, BASE, data="a", json=1)
told(lambda: requests.get(BASE + "/cut").content)
told(lambda: requests.get(BASE + "/headers/first").content)
told(lambda: requests.get(BASE + "/headers/last").content)
told(requests.get, BASE + "/length")
told(requests.get, "https://a..b/")
told(requests.get, "https://a..b/", timeout=9)
told(requests.get, BASE + "/loop")
told(requests.get, BASE + "/redirect/302/http://localhost/")
told(requests.get, "https://localhost:1/")
told(requests.get, "https://nowhere.invalid/")
told(requests.get, BASE + "/slow/3", timeout=0.5)
told(requests.get, BASE + "/drip", timeout=0.7)
known.erase()
told(requests.get, BASE)
requests.use(known)
told(requests.get, BASE)
"""
    )
    pki = Pki.of(1)
    with serving(pki.issue("server", "localhost"), pki) as port:
        told = board(runtime, code, tmp_path / "board", pki, port)
    kinds = ["UsageError"] * 9 + ["PeerError"] * 12 + ["UsageError"] * 2
    assert [one[0] for one in told] == kinds, told
    for one in told[19:21]:
        assert "took longer than" in one[1]
    assert "enrol first" in told[-1][1]


def test_what_a_redirection_takes_along(runtime: str, tmp_path: Path) -> None:
    """To another server not the password; a renewed certificate is shown from the next on."""
    code = (
        START
        + """
other = "https://localhost:%d/echo" % settings["other"]
same = "//localhost:PORT/echo/3", "https://LOCALHOST:PORT/echo/4"
for where in (other, BASE + "/echo") + same:
    found = requests.get(BASE + "/redirect/302/" + where, auth=("a", "b"), headers={"X-Own": "1"})
    seen = found.json()
    tell([seen["path"], seen["headers"]["Authorization"], seen["headers"]["X-Own"]])
mine = {"authorization": "Bearer x", "COOKIE": "a=b"}
for where in (other, BASE + "/echo"):
    seen = requests.get(BASE + "/redirect/307/" + where, headers=mine).json()["headers"]
    tell([seen["Authorization"], seen["Cookie"]])
tell(requests.get(BASE + "/relative/1").json()["path"])
# Here the original still names the length of what it does not send any more.
for status in (301, 302, 303):
    kind = {"content-type": "text/x"}
    seen = requests.post(BASE + "/redirect/%d" % status, data="sent", headers=kind).json()
    assert not seen["headers"]["Content-Type"]
    tell([seen["method"], seen["headers"]["Content-Length"]])
tell(requests.get(BASE + "?q=1#part").json()["path"])
"""
    )
    pki = Pki.of(1)
    with (
        serving(pki.issue("server", "localhost"), pki) as port,
        serving(pki.issue("server", "localhost"), pki) as other,
    ):
        told = board(runtime, code, tmp_path / "board", pki, port, other=other)
    login = "Basic YTpi"
    assert told == [
        ["/echo", None, "1"],
        ["/echo", login, "1"],
        ["/echo/3", login, "1"],
        ["/echo/4", login, "1"],
        [None, None],
        ["Bearer x", "a=b"],
        "/relative/echo/2",
        *[["GET", None]] * 3,
        "/?q=1",
    ]
