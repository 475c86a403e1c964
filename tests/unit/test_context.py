"""TLS for the application: what a connection shows and trusts follows the store."""

import check
from est import context, parts, pem, store
from est.errors import NotTrusted, StorageError, Unsupported, UsageError

LEAF, MIDDLE, ROOT, OTHER = [b"\x30\x03\x02\x01%c" % octet for octet in (1, 2, 3, 4)]


class Socket:
    closed = False

    def close(self):
        self.closed = True


class Platform:
    """An est.tls.Context whose TLS raises what it is told to."""

    leaf = b""
    failure = None

    def __init__(self):
        self.ssl = self
        self.calls = []

    def wrap_socket(self, sock, **arguments):
        self.calls.append(arguments)
        if self.failure:
            raise self.failure
        return sock

    def error(self, error, host):
        return NotTrusted("the server %s is not trusted" % host)


class Context(context.Context):
    """One that counts what it builds."""

    def __init__(self, *arguments, **settings):
        self.builds = []
        self.platform = Platform()
        super().__init__(*arguments, **settings)

    def build(self, chain, key, anchors):
        self.builds.append((list(chain), key, anchors))
        return self.platform


class Bench:
    """A board's store in a folder of its own, and its identity."""

    def __enter__(self):
        self.path = check.folder("context")
        self.store = store.Store(self.path)
        self.known = parts.Known(self.store)
        return self

    def __exit__(self, *_):
        check.clean(self.path)

    def save(self, *items, anchors=(ROOT,)):
        if items:
            self.store.save("identity", store.pack({"generation": 1}, *items))
        if anchors:
            self.store.save("anchors", store.pack({}, *anchors))


def test_before_the_first_enrolment():
    with Bench() as board:
        check.raises(UsageError, Context, board.known)
        # Where that is asked for it does without, and verifies all the same.
        error = check.raises(UsageError, lambda: Context(board.known, anonymous=True))
        assert "anchors" in str(error)
        board.save()
        made = Context(board.known, anonymous=True)
        made.wrap_socket(Socket(), server_hostname="h")
        assert made.builds == [([], None, [ROOT])]
        # As soon as there is one, it is shown.
        board.save(b"key", LEAF)
        made.wrap_socket(Socket(), server_hostname="h")
        assert made.builds[1:] == [([LEAF], b"key", [ROOT])]


def test_known_makes_one():
    with Bench() as board:
        check.raises(UsageError, board.known.context)


def test_it_follows_the_store():
    with Bench() as board:
        board.save(b"key", LEAF, MIDDLE)
        made = Context(board.known)
        for _ in range(2):
            made.wrap_socket(Socket(), server_hostname="h")
        assert made.builds == [([LEAF, MIDDLE], b"key", [ROOT])]
        # A renewal, of another length; by another object or program, too.
        board.save(b"key 2", OTHER)
        made.wrap_socket(Socket(), server_hostname="h")
        assert made.builds[1:] == [([OTHER], b"key 2", [ROOT])]
        # Anchors that roll over.
        board.save(anchors=(ROOT, MIDDLE))
        made.wrap_socket(Socket(), server_hostname="h")
        assert made.builds[2:] == [([OTHER], b"key 2", [ROOT, MIDDLE])]
        # Forgotten: nothing is shown any more.
        board.known.erase()
        sock = Socket()
        error = check.raises(OSError, lambda: made.wrap_socket(sock, server_hostname="h"))
        assert sock.closed and error.errno == 22, error
        assert "enrol first" in str(error)
        assert len(made.builds) == 3


def test_what_is_in_memory_outlives_a_damaged_store():
    with Bench() as board:
        board.save(b"key", LEAF)
        made = Context(board.known)
        board.known.take([{}, b"key", LEAF])
        for slot in (0, 1):
            with open(board.path + "/identity.%d" % slot, "wb") as file:
                file.write(bytes(100))
        made.wrap_socket(Socket(), server_hostname="h")
        assert made.builds == [([LEAF], b"key", [ROOT])]
        # Trust is read from the store alone.
        for slot in (0, 1):
            with open(board.path + "/anchors.%d" % slot, "wb") as file:
                file.write(bytes(100))
        check.raises(StorageError, Context, board.known)
        check.raises(OSError, lambda: made.wrap_socket(Socket(), server_hostname="h"))


def test_anchors_that_are_given():
    armour = pem.encode("CERTIFICATE", OTHER)
    with Bench() as board:
        board.save(b"key", LEAF)
        for given, expected in (
            (OTHER, [OTHER]),
            (OTHER + MIDDLE, [OTHER, MIDDLE]),
            ([OTHER, MIDDLE], [OTHER, MIDDLE]),
            (armour, [OTHER]),
            ("a line before\n" + armour + armour, [OTHER, OTHER]),
            (armour.encode(), [OTHER]),
            ((MIDDLE, armour), [MIDDLE, OTHER]),
        ):
            made = Context(board.known, given)
            made.wrap_socket(Socket(), server_hostname="h")
            assert made.builds[0][2] == expected, given
        for bad in (
            [],
            b"",
            "",
            "text",
            OTHER[:-1],
            OTHER + b"\0",
            armour[:-5],
            [armour, b"x"],
            b"\xff-----BEGIN",
        ):
            check.raises(UsageError, Context, board.known, bad)


def test_anchors_that_are_given_take_a_part():
    with Bench() as board:
        board.save(b"key", LEAF)
        check.raises(Unsupported, check.without, "anchors", Context, board.known, OTHER)


def test_the_name_that_is_demanded():
    with Bench() as board:
        board.save(b"key", LEAF)
        made = Context(board.known, name="broker.example")
        for dialled, demanded in (
            ("192.0.2.1", "broker.example"),
            ("2001:db8::1", "broker.example"),
            (None, "broker.example"),
            ("other.example", "other.example"),
        ):
            made.wrap_socket(Socket(), server_hostname=dialled, do_handshake_on_connect=False)
            assert made.platform.calls.pop() == {
                "server_side": False,
                "do_handshake_on_connect": False,
                "server_hostname": demanded,
            }
        made = Context(board.known)
        made.wrap_socket(Socket(), server_hostname="192.0.2.1")
        assert made.platform.calls[0]["server_hostname"] == "192.0.2.1"
        sock = Socket()
        check.raises(OSError, made.wrap_socket, sock)
        assert sock.closed


def test_sides():
    with Bench() as board:
        board.save(b"key", LEAF)
        made = Context(board.known, server_side=True)
        # As asyncio, and microdot with it, calls it.
        made.wrap_socket(Socket(), server_side=True, do_handshake_on_connect=False)
        assert made.platform.calls == [
            {"server_side": True, "do_handshake_on_connect": False, "server_hostname": None}
        ]
        sock = Socket()
        error = check.raises(OSError, lambda: Context(board.known).wrap_socket(sock, True))
        assert sock.closed and "server_side=True" in str(error)


def test_failures_are_oserrors_and_close_the_socket():
    with Bench() as board:
        board.save(b"key", LEAF)
        made = Context(board.known)
        for failure, number, words in (
            (ValueError("not signed"), -0x2700, "server h is not trusted"),
            (OSError(104, "reset"), 104, "server h"),
            (MemoryError(), 12, "no memory"),
            (OSError(-0x7F00, "ALLOC"), 12, "no memory"),
        ):
            made.platform.failure = failure
            sock = Socket()
            error = check.raises(OSError, lambda: made.wrap_socket(sock, server_hostname="h"))
            assert sock.closed
            assert error.errno == number, error
            assert words in str(error)


def test_a_lack_of_memory_is_told():
    told = []
    with Bench() as board:
        board.save(b"key", LEAF)
        board.known.tell = lambda event, **detail: told.append((event, detail))
        made = Context(board.known)
        made.platform.failure = MemoryError()
        check.raises(OSError, lambda: made.wrap_socket(Socket(), server_hostname="h"))
    assert told == [("memory", {"operation": "context", "text": "no memory for a TLS connection"})]


def test_an_unset_clock_or_a_broken_certificate_is_an_oserror():
    class Broken(Context):
        def build(self, *_):
            raise UsageError("the clock is not set")

    with Bench() as board:
        board.save(b"key", LEAF)
        made = Broken(board.known)
        sock = Socket()
        for _ in range(2):
            error = check.raises(OSError, lambda: made.wrap_socket(sock, server_hostname="h"))
            assert sock.closed and "clock" in str(error)
