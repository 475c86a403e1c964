"""What est.requests does without a server: the URL, the time that name resolution takes."""

import time

import check
from est import lookup, requests
from est.errors import PeerError, UsageError


class Nobody:
    """A context that no connection reaches."""

    def wrap_socket(self, sock, server_hostname):
        raise OSError(104, "reset")


def silent(host, port, left):
    while True:
        left()
        yield None


def test_timeout_covers_name_resolution():
    requests.use(Nobody())
    usual = lookup.find
    lookup.find = silent
    begun = time.ticks_ms()
    try:
        error = check.raises(PeerError, lambda: requests.get("https://slow.example/", timeout=0.2))
    finally:
        lookup.find = usual
    assert "longer than 0.2 s" in str(error)
    assert time.ticks_diff(time.ticks_ms(), begun) < 20000


def test_without_an_identity():
    requests.use(None)
    check.raises(UsageError, requests.get, "https://a.example/")


def test_urls():
    requests.use(Nobody())
    for url in (
        "",
        "http://a.example/",
        "https://",
        "https:///path",
        "https://a b/",
        "https://user:password@a.example/",
        "https://a.example:0/",
        "https://a.example:x/",
        "https://[::1/",
    ):
        check.raises(UsageError, requests.get, url)


class Sink:
    def __init__(self):
        self.size = 0

    def feed(self, data):
        self.size += len(data)

    def end(self):
        pass


def test_a_download_larger_than_est_takes():
    for lengths in ((200000,), (200000, 200000)):
        sink = Sink()
        head = requests._Head(sink, True)
        head.feed(b"HTTP/1.1 200 OK\r\n")
        for length in lengths:
            head.feed(b"Content-Length: %d\r\n" % length)
        head.feed(b"\r\n")
        while not head.done:
            head.taken = 0
            head.feed(bytes(head.wanted()))
        assert sink.size == 200000
    for lengths in ((200000, 200001), (200000, 5), (5, 200000)):
        head = requests._Head(Sink(), True)
        head.feed(b"HTTP/1.1 200 OK\r\n")
        for length in lengths:
            head.feed(b"Content-Length: %d\r\n" % length)
        check.raises(PeerError, head.feed, b"\r\n")
