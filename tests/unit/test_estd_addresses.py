"""Every address of a name within one deadline, and proxies."""

import socket
import time

import check
from est import run
from est.errors import PeerError, UsageError
from estd import addresses


def port_of(sock):
    if hasattr(sock, "getsockname"):
        return sock.getsockname()[1]
    import ffi

    name = bytearray(16)
    size = bytearray(b"\x10\0\0\0")
    ffi.open(None).func("i", "getsockname", "ipp")(sock.fileno(), name, size)
    return name[2] << 8 | name[3]


def listener(backlog=5):
    sock = socket.socket()
    sock.bind(socket.getaddrinfo("127.0.0.1", 0)[0][-1])
    sock.listen(backlog)
    return sock


def limit(ms):
    """What tells the milliseconds that are left."""
    end = time.ticks_add(time.ticks_ms(), ms)

    def left():
        ms = time.ticks_diff(end, time.ticks_ms())
        if ms <= 0:
            raise PeerError("the server took longer")
        return ms

    return left


def connected(*ports, ms=5000):
    """What comes of a name whose addresses have these ports."""
    found = [socket.getaddrinfo("127.0.0.1", port, 0, socket.SOCK_STREAM)[0] for port in ports]
    return addresses.connect(found, "est.example", 443, limit(ms))


def silent():
    """(A port that answers nothing, what keeps it so)."""
    full = listener(0)
    port = port_of(full)
    kept = [full]
    for _ in range(3):
        sock = socket.socket()
        sock.setblocking(False)
        try:
            sock.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])
        except OSError:
            pass  # on its way
        kept.append(sock)
    return port, kept


def close(*sockets):
    for sock in sockets:
        sock.close()


def test_what_refuses_is_passed_over():
    good = listener()
    bad = listener()
    port = port_of(bad)
    bad.close()
    for ports in ((port, port_of(good)), (port_of(good), port), (port, port, port_of(good))):
        sock = connected(*ports)
        other = good.accept()[0]
        other.send(b"x")
        assert sock.recv(1) == b"x"
        close(sock, other)
    error = check.raises(PeerError, connected, port, port)
    assert "cannot reach est.example port 443: is the network up?" in str(error)
    good.close()


def test_what_is_silent_does_not_hold_up():
    good = listener()
    port, kept = silent()
    sock = connected(port, port, port_of(good))
    other = good.accept()[0]
    other.send(b"x")
    assert sock.recv(1) == b"x"
    close(sock, other, good)
    error = check.raises(PeerError, lambda: connected(port, port, ms=700))
    assert "took longer" in str(error)
    close(*kept)


def test_no_such_name():
    steps = addresses.find("nowhere.invalid", 443, limit(60000))
    error = check.raises(PeerError, run, steps)
    assert "no address known for nowhere.invalid" in str(error)


def tunnel(answer, ms=3000, login=None):
    """What a proxy that answers so was asked, or what is raised."""
    proxy = listener()
    sock = socket.socket()
    sock.connect(socket.getaddrinfo("127.0.0.1", port_of(proxy))[0][-1])
    other = proxy.accept()[0]
    try:
        if answer is None:
            other.close()
        else:
            other.send(answer)
        addresses.tunnel(sock, "est.example", 8443, limit(ms), login)
        # What follows is not the proxy's.
        assert sock.recv(3) == b"TLS"
        return other.recv(1000)
    finally:
        close(sock, other, proxy)


def test_a_proxy():
    asked = tunnel(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nTLS")
    assert asked == b"CONNECT est.example:8443 HTTP/1.1\r\nHost: est.example:8443\r\n\r\n"
    for answer, words in (
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "does not let est.example:8443 through: HTTP/1.1 403"),
        (b"HTTP/1.1 407 Login\r\n\r\n", "Login; it wants a login: proxy as http://USER@HOST"),
        (b"HTTP/1.1 407 Login\r\nproxy-authenticate: NTLM\r\n\r\n", "only Basic is"),
        (b"HTTP/1.1 503 Down\r\n\r\n", "is the EST server up?"),
        (b"\r\n\r\n", "does not let"),
        (b"x" * 9000, "does not answer CONNECT as it should"),
    ):
        assert words in str(check.raises(PeerError, tunnel, answer)), words
    check.raises((PeerError, OSError), tunnel, None)
    assert "took longer" in str(check.raises(PeerError, tunnel, b"HTTP/1.1 200", 200))


def test_a_proxy_with_a_login():
    login = addresses.parse_proxy("http://Aladdin@p:1", "open sesame")[2]
    asked = tunnel(b"HTTP/1.1 200 OK\r\n\r\nTLS", 3000, login).split(b"\r\n")
    assert asked[2:] == [b"Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", b"", b""]
    ntlm = b"Proxy-Authenticate: NTLM\r\n"
    for fields, words in (
        (b"", "it refuses the login"),
        (ntlm + b"Proxy-Authenticate: Basic realm=x\r\n", "it refuses the login"),
        (ntlm, "only Basic is"),
    ):
        answer = b"HTTP/1.1 407 open sesame\r\n" + fields + b"\r\n"
        text = str(check.raises(PeerError, tunnel, answer, 3000, login))
        assert words in text and "sesame" not in text, text


def test_where_the_proxy_is():
    parse = addresses.parse_proxy
    assert parse(None) is None
    assert parse("http://proxy.example:3128/") == ("proxy.example", 3128, None)
    assert parse("http://[2001:db8::1]:80") == ("2001:db8::1", 80, None)
    host, port, login = parse("http://%C3%A4@b%40c@[::1]:80", "x")
    assert (host, port, login.user, login.secret) == ("::1", 80, "ä@b@c", "x")
    for user in ("%4", "%zz", "%ff", "a%3Ab", "%0a"):
        check.raises(UsageError, parse, "http://%s@a:1" % user, "x")
