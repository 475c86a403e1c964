"""From nothing to a working identity and on: bootstrap, enrol, renew, with every step stored."""

import hashlib
import sys

from micropython import const

import est
from est import clock, store
from est.errors import Refused, RetryLater, StorageError, UsageError
from est.url import parse

_TIME = const((1 << 40) - 1)


def _apart(module, function, *arguments):
    # Calls a module's function and forgets the modules loaded for it.
    loaded = list(sys.modules)
    try:
        return getattr(__import__(module, None, None, (function,)), function)(*arguments)
    finally:
        for name in list(sys.modules):
            if name not in loaded and name[:4] == "est.":
                del sys.modules[name]
                delattr(est, name[4:])


class Agent:
    """One board's identity at one EST server.

    store: est.store.Store. url: see est.url.parse. credentials: see est.auth.
    trust: list of DER anchors, or the SHA-256 (32 bytes) of the CA certificate that /cacerts must
        hold (RFC 7030 4.1.1) or of the certificate that the server shows in TLS; None for what
        was stored before. It counts until it verified a server: from then on what est.rollover
        makes of that server's /cacerts does, until another trust is given.
    subject: text as for est.csr.name; or the caller's own CertificationRequest (DER), sent as it
        is, with `key`. san, eku: as in est.extensions.requested; the server's proposals
        win over them, and on renewal they stay as they were.
    extra: more attributes for each request, as in est.csr.build, such as
        [est.extensions.challenge(enrolment code)].
    key: the type of key to make, as in est.key_types; or DER of the one to take, such as
        est.element gives. By default the type that the server asks for, or P-256.
    factory: (chain of DER certificates, DER key) to show when enrolling, such as a board
        leaves its factory with (RFC 7030 2.2).
    authorize: called with each est.tls.Context before it connects to a verified server, such as
        est.cmcra.required.
    log: called with a line of text where something is not as asked and yet no error.
    """

    def __init__(
        self,
        store,
        url,
        subject="",
        san=(),
        eku=(),
        trust=None,
        credentials=None,
        timeout=30,
        log=None,
        factory=None,
        extra=(),
        key=None,
        authorize=None,
    ):
        parse(url)
        self.store = store
        self.url = url
        self._wanted = (subject, san, eku, extra)
        self.trust = trust
        # What vouches for anchors once they are stored: the fingerprint, or that of the list.
        self.voucher = trust
        if isinstance(trust, list):
            self.voucher = hashlib.sha256(b"".join(trust)).digest()
        self._credentials = credentials
        self.timeout = timeout
        self.factory = factory
        self._key = key
        self._authorize = authorize
        self.log = log or (lambda text: None)
        self._open = None

    def identity(self):
        """(chain of DER certificates, leaf first; DER key), or None before enrolling."""
        items = self._load("identity")
        return (items[1:], items[0]) if len(items) > 1 else None

    def due(self, expiry=False):
        """Seconds until the certificate should be renewed, or with `expiry` until it ends.

        0 or less: now, or none is there.
        """
        identity = self.identity()
        return (
            _apart("est.request", "due", identity[0][0], expiry) - clock.now() if identity else 0
        )

    def _load(self, name, *least):
        items = store.unpack(self.store.load(name, *least))
        if self.store.damaged:
            self.log("a cut or damaged copy of %s is passed over" % name)
        return items

    def load(self, name):
        """Items (bytes) of a record that can be had anew: damage is as good as none."""
        try:
            return self._load(name)
        except StorageError as error:
            self.log(str(error))
            return []

    def anchors(self):
        """DER trust anchors, bootstrapped first where only a fingerprint is known."""
        # The record: the voucher and the anchors.
        stored = self.load("anchors") if self.trust else self._load("anchors", 0)
        if stored and (not self.trust or stored[0] == self.voucher):
            return stored[1:]
        if isinstance(self.trust, bytes):
            return _apart("est.bootstrap", "anchors", self)
        if not self.trust:
            raise UsageError("nothing to trust: give anchors or a fingerprint")
        return self.trust

    def adopt(self, offered):
        """Take over what a verified server `offered` in cacerts; returns the anchors (all DER)."""
        anchors = self.anchors()
        try:
            return _apart("est.rollover", "adopt", self, anchors, offered)
        except ImportError:
            return anchors  # an optional part

    def client(self, identity=None):
        """A verified Client, kept open until `close` or another identity."""
        if self._open is None or identity is not self._shown:
            self.close()
            from est.client import Client

            self._shown = identity
            client = Client(self.url, self.anchors(), identity, self._credentials, self.timeout)
            if self._authorize:
                self._authorize(client.context)
            self._open = client
        return self._open

    def close(self):
        if self._open:
            self._open.close()
            self._open = None

    def enroll(self):
        """simpleenroll; returns the certificate (DER) once it is verified and stored."""
        return self.order("simpleenroll", self.factory, None, self._key)

    def reenroll(self, rekey=True):
        """simplereenroll with Subject and alternative names kept.

        A new key of the same type, or the one of `key`, unless not `rekey`.
        """
        identity = self.identity()
        if not identity:
            raise UsageError("nothing to renew: enrol first")
        key = self._key if rekey else identity[1]
        return self.order("simplereenroll", identity, identity[0][0], key)

    def order(self, name, identity, leaf, key, module="est.request"):
        """The certificate (DER) that operation `name` of the client brings, once all is stored.

        identity: what TLS shows. leaf, key: as in est.request.build. module: has `build` and
        `accept` as est.request; `key` is theirs, and is asked for what it is by repr.
        """
        # What is asked for, so that a request left over from other settings is not sent.
        wanted = self._wanted + (leaf, key)
        asked = hashlib.sha256(repr((self.url, wanted)).encode()).digest()
        pending = self.load("pending")
        # When to ask again, and above that how long it was until then when the server said so.
        until = int.from_bytes(pending[1], "big") if pending else 0
        if pending and pending[0] == asked:
            wait = (until & _TIME) - clock.now()
            # Longer than the server said: the clock was wrong then.
            if 0 < wait <= until >> 40:
                raise RetryLater("the server said to wait", wait)
        else:
            if until:
                self.log("a waiting request for other settings is given up")
            pending = None
        if not pending:
            try:
                # Before TLS has its share of the heap.
                __import__("est.csrattrs")
                attributes = self.client(identity).csrattrs()
            except ImportError:
                attributes = None  # an optional part
            pending = [asked, b""]
            pending += _apart(module, "build", attributes, self.log, *wanted)
            self.store.save("pending", store.pack(*pending))
        client = self.client(identity)
        others = client.cacerts()
        try:
            try:
                issued = getattr(client, name)(pending[3])
            finally:
                # What TLS holds of the heap is worth more now than a connection kept.
                self.close()
                anchors = self.adopt(others)
            items = _apart(
                module, "accept", issued, others, pending[2] or key, anchors, clock.now()
            )
        except RetryLater as error:
            until = error.seconds << 40 | clock.now() + error.seconds
            pending[1] = until.to_bytes(9, "big")
            self.store.save("pending", store.pack(*pending))
            raise
        except Refused as error:
            # The request itself was refused; with a login refused it may still be good.
            if error.status not in (401, 403) and error.status < 500:
                self.store.erase("pending")
            raise
        self.store.save("identity", store.pack(*items))
        self.store.erase("pending")
        return items[1]
