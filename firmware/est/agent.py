"""From nothing to a working identity and on: bootstrap, enrol, renew, with every step stored."""

import hashlib

from micropython import const

from est import clock, csr, keys, store, x509
from est.client import Client, parse_url
from est.errors import NotTrusted, PeerError, Refused, RetryLater, StorageError, UsageError

_KEPT_EXTENSIONS = (x509.SUBJECT_ALT_NAME, x509.EXT_KEY_USAGE)
_TIME = const((1 << 40) - 1)


class Agent:
    """One board's identity at one EST server.

    store: est.store.Store. url: see est.client. credentials: see est.auth.
    trust: list of DER anchors, or the SHA-256 (32 bytes) of the CA certificate that /cacerts must
        hold (RFC 7030 4.1.1) or of the certificate that the server shows in TLS; None for what
        was stored before.
    subject, san, eku: as in est.csr.build; the server's proposals win over san and eku, and on
        renewal they stay as they were.
    factory: (chain of DER certificates, key) to show when enrolling, such as a board leaves its
        factory with (RFC 7030 2.2).
    log: called with a line of text where something is not as asked and yet no error.
    """

    def __init__(
        self,
        store,
        url,
        subject=None,
        san=(),
        eku=(),
        trust=None,
        credentials=None,
        timeout=30,
        log=None,
        factory=None,
    ):
        parse_url(url)
        self._store = store
        self._url = url
        self._subject = subject
        self._san = san
        self._eku = eku
        self._trust = trust
        self._credentials = credentials
        self._timeout = timeout
        self._factory = factory
        self._log = log or (lambda text: None)
        self._open = None

    def identity(self):
        """(chain of DER certificates, leaf first, key), or None before the first enrolment."""
        items = self._load("identity")
        return (items[1:], keys.load(items[0])) if len(items) > 1 else None

    def due(self):
        """Seconds until the certificate should be renewed; 0 or less: now, or none is there.

        After 2/3 of its lifetime, or up to 1/24 of it earlier, so that a fleet enrolled together
        does not renew together.
        """
        identity = self.identity()
        if not identity:
            return 0
        leaf = x509.Certificate(identity[0][0])
        share = 16384 - leaf.fingerprint()[0] * 4
        life = leaf.not_after - leaf.not_before
        return leaf.not_before + life * share // 24576 - clock.now()

    def _load(self, name):
        items = store.unpack(self._store.load(name))
        if name in self._store.damaged:
            self._log("a damaged copy of the stored %s was passed over" % name)
        return items

    def _replaceable(self, name):
        # For a record that can be had anew, damage is as good as none.
        try:
            return self._load(name)
        except StorageError:
            return []

    def anchors(self):
        """DER trust anchors, bootstrapped first where only a fingerprint is known."""
        # The record: the fingerprint that vouched for the anchors, or nothing, and the anchors.
        if self._trust is None:
            stored = self._load("anchors")
            if not stored:
                raise UsageError("nothing to trust: give anchors or a fingerprint once")
            return stored[1:]
        stored = self._replaceable("anchors")
        if isinstance(self._trust, bytes):
            if stored and stored[0] == self._trust:
                return stored[1:]
            from est.bootstrap import anchors

            wanted = [self._trust] + anchors(self._url, self._trust, self._timeout)
        else:
            wanted = [b""] + self._trust
        if stored != wanted:
            self._store.save("anchors", store.pack(*wanted))
        return wanted[1:]

    def client(self, identity=None):
        """A verified Client, kept open until `close` or another identity."""
        if self._open is None or identity is not None:
            self.close()
            self._open = Client(
                self._url, self.anchors(), identity, self._credentials, self._timeout
            )
        return self._open

    def close(self):
        if self._open:
            self._open.close()
            self._open = None

    def enroll(self):
        """simpleenroll; returns the leaf x509.Certificate once it is verified and stored."""
        if not self._subject:
            raise UsageError("no subject: give one such as CN=device-1")
        wanted = []
        if self._san or self._eku:
            from est.extensions import requested

            wanted = requested(self._san, self._eku)
        return self._order(
            "enroll", self.client(self._factory), csr.name(self._subject), wanted, [], None
        )

    def reenroll(self, rekey=True):
        """simplereenroll with Subject and alternative names kept; a new key unless not `rekey`."""
        identity = self.identity()
        if not identity:
            raise UsageError("nothing to renew: enrol first")
        leaf = x509.Certificate(identity[0][0])
        kept = []
        for oid in _KEPT_EXTENSIONS:
            value = leaf.extension(oid)
            if value is not None:
                kept.append((oid, False, value))
        key = None if rekey else identity[1]
        return self._order("reenroll", self.client(identity), leaf.subject, [], kept, key)

    def _order(self, operation, client, subject, wanted, kept, key):
        # What is asked for, so that a request left over from other settings is not sent.
        asked = repr((operation, subject, wanted, kept, key is None, self._url))
        asked = hashlib.sha256(asked.encode()).digest()
        pending = self._replaceable("pending")
        # When to ask again, and above that how long it was until then when the server said so.
        until = int.from_bytes(pending[3], "big") if pending else 0
        if pending and pending[0] == asked:
            key = keys.load(pending[1])
            request = pending[2]
            wait = (until & _TIME) - clock.now()
            # Longer than the server said: the clock was wrong then.
            if 0 < wait <= until >> 40:
                raise RetryLater("the server said to wait", wait)
        else:
            if until:
                self._log("a waiting request with other settings is given up")
            try:
                extensions = client.csrattrs().apply(wanted, kept, self._log)
            except ImportError:
                extensions = wanted + kept  # est.csrattrs is an optional part
            key = key or keys.SoftwareKey()
            request = csr.build(key, subject, extensions=extensions)
            pending = [asked, key.sec1(), request, b""]
            self._store.save("pending", store.pack(*pending))
        try:
            if operation == "enroll":
                issued = client.simpleenroll(request)
            else:
                issued = client.simplereenroll(request)
            # What TLS holds of the heap is worth more now than a connection kept.
            client.close()
            path = self._judge(issued, key, client)
        except RetryLater as error:
            until = error.seconds << 40 | clock.now() + error.seconds
            pending[3] = until.to_bytes(9, "big")
            self._store.save("pending", store.pack(*pending))
            raise
        except Refused as error:
            # The request itself was refused; with a login refused it may still be good.
            if error.status not in (401, 403) and error.status < 500:
                self._store.erase("pending")
            raise
        chain = [certificate.der for certificate in path if not certificate.self_issued()]
        self._store.save("identity", store.pack(key.sec1(), *(chain or [path[0].der])))
        self._store.erase("pending")
        return path[0]

    def _judge(self, issued, key, client):
        # The verified path of the certificate that holds our key.
        spki = key.spki()
        for leaf in issued:
            if leaf.spki == spki:
                break
        else:
            raise PeerError("the server issued a certificate for another key")
        anchors = [x509.Certificate(anchor) for anchor in self.anchors()]
        now = clock.now()
        try:
            return x509.verify_path(leaf, issued, anchors, now)
        except NotTrusted:
            # Some servers send the leaf alone: their intermediates are in /cacerts.
            return x509.verify_path(leaf, issued + client.cacerts(), anchors, now)
