"""TLS for the application's own connections, with the identity and trust that are stored by then.

est.parts.Known.context makes one. Before each connection it reads the records `identity` and
`anchors`, never the network: after a renewal the next connection shows the new certificate, and
those that are open go on.
"""

import gc

from micropython import const

from est import apart, store
from est.errors import EstError, StorageError, UsageError, missing

# Numbers of OSErrors: ENOMEM, EINVAL; mbedTLS's for a certificate that is not trusted, and for
# memory that TLS, X.509, keys, ciphers, digests, curves, ASN.1 or numbers lack.
_ENOMEM = const(12)
_EINVAL = const(22)
_NOT_TRUSTED = const(-0x2700)
_NO_MEMORY = const((-0x7F00, -0x2880, -0x3F80, -0x6180, -0x5180, -0x4D80, -0x6A, -0x10, _ENOMEM))


class Source:
    """What connections show and trust; the platform's context for it is `current()`.

    identity: est.identity.Identity. anchors: PEM or DER of certificates, several in one or in a
        list; None for the Explicit anchors that are stored.
    server_side: whether to be the server, whose clients must show certificates of these anchors.
    name: what the server's certificate must be for where an address is dialled.
    anonymous: connect without a certificate while there is none.
    Raises UsageError where there is no identity or nothing to trust, StorageError.
    """

    def __init__(self, identity, anchors=None, server_side=False, name=None, anonymous=False):
        self.identity = identity
        self.server_side = server_side
        self._name = name
        self._anonymous = anonymous
        self._given = None if anchors is None else apart(_anchors, anchors)
        self._digest = self._built = None
        self._read()

    def _read(self):
        known = self.identity
        try:
            items = store.unpack(known.store.load("identity"))
        except StorageError:
            items = ()
        # What is in memory outlives a damaged store.
        chain, key = (items[2:], items[1]) if items else known
        if not chain and not self._anonymous:
            raise UsageError("no certificate yet: enrol first")
        anchors = self._given
        if anchors is None:
            anchors = store.unpack(known.store.load("anchors", 0))[1:]
            if not anchors:
                raise UsageError("no trust anchors are stored")
        return chain, key, anchors

    def current(self):
        """What `build` returned, built anew if the store has moved on. Raises as the class."""
        chain, key, anchors = self._read()
        digest = store.digest(b"".join([key or b""] + chain + anchors))
        if digest != self._digest:
            self._digest = self._built = None  # two of them are much for a small heap
            self._built = self.build(chain, key, anchors)
            self._digest = digest
        return self._built

    def host(self, dialled, server_side):
        """The name to demand of the server, None as a server. Raises UsageError."""
        if self.server_side:
            return None
        if server_side:
            raise UsageError("a server: context(server_side=True)")
        address = not dialled or ":" in dialled or dialled.replace(".", "").isdigit()
        dialled = self._name if address and self._name else dialled
        if not dialled:
            raise UsageError("server_hostname is missing")
        return dialled


class Context(Source):
    """As the platform's SSLContext for whoever calls `wrap_socket`, on MicroPython."""

    def build(self, chain, key, anchors):
        import tls

        from est.tls import Context

        kind = tls.PROTOCOL_TLS_SERVER if self.server_side else tls.PROTOCOL_TLS_CLIENT
        context = Context(anchors, chain, key, False, kind)
        context.shown = len(chain)  # TLS has its copy
        return context

    def wrap_socket(
        self, sock, server_side=False, do_handshake_on_connect=True, server_hostname=None
    ):
        """As SSLContext.wrap_socket. Fails with OSError alone; `sock` is closed then."""
        context = None
        try:
            server_hostname = self.host(server_hostname, server_side)
            context = self.current()
            gc.collect()  # TLS takes 17 KB in one piece
            stream = context.ssl.wrap_socket(
                sock,
                server_side=self.server_side,
                do_handshake_on_connect=do_handshake_on_connect,
                server_hostname=server_hostname,
            )
            context.leaf = None
            return stream
        except (EstError, MemoryError, OSError, ValueError) as error:
            sock.close()
            raise self._failure(error, context, server_hostname)

    def _failure(self, error, context, host):
        number = _EINVAL
        if isinstance(error, (OSError, ValueError)):
            number = error.errno if isinstance(error, OSError) else _NOT_TRUSTED
        try:
            if isinstance(error, MemoryError) or number in _NO_MEMORY:
                raise MemoryError
            if context and host:
                error = context.error(error, host)
        except MemoryError:
            number = _ENOMEM
            error = "no memory for a TLS connection"
            if getattr(self.identity, "tell", None):
                self.identity.tell("memory", operation="context", text=error)
        return OSError(number, str(error))


def _anchors(data):
    try:
        from est import anchors
    except ImportError as error:
        raise missing(error)
    return anchors.load(data)
