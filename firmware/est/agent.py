"""From nothing to a working identity and on: bootstrap, enrol, renew, with every step stored."""

import hashlib

from est import clock, csr, keys, store, x509
from est.client import Client, parse_url
from est.errors import NotTrusted, PeerError, Refused, RetryLater, StorageError, UsageError

_KEPT_EXTENSIONS = (x509.SUBJECT_ALT_NAME, x509.EXT_KEY_USAGE)


class Agent:
    """One board's identity at one EST server.

    store: est.store.Store. url: see est.client. credentials: see est.auth.
    trust: list of DER anchors, or the SHA-256 (32 bytes) of the CA certificate that /cacerts must
        hold (RFC 7030 4.1.1) or of the certificate that the server shows in TLS; None for what
        was stored before.
    subject, san, eku: as in est.csr.build; the server's proposals win over san and eku, and on
        renewal they stay as they were.
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
            self._log("a copy of the stored %s is damaged, the one used may be older" % name)
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
            wanted = [self._trust] + self._bootstrap()
        else:
            wanted = [b""] + self._trust
        if stored != wanted:
            self._store.save("anchors", store.pack(*wanted))
        return wanted[1:]

    def _bootstrap(self):
        client = Client(self._url, timeout=self._timeout, bootstrap=True)
        try:
            offered = client.cacerts()
        finally:
            client.close()
        # The server that TLS proved to be the one pinned speaks for all its roots.
        server = client.server_certificate()
        pinned = server and hashlib.sha256(server).digest() == self._trust
        found = []
        for certificate in offered:
            if certificate.fingerprint() == self._trust or pinned and certificate.self_issued():
                if certificate.is_ca():
                    certificate.check_dates(clock.now())
                    found.append(certificate.der)
        if not found:
            raise NotTrusted(
                "neither a CA certificate the server offers nor its own has the given fingerprint"
            )
        return found

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

    def cacerts(self):
        """CA certificates the verified server distributes."""
        return self.client().cacerts()

    def csrattrs(self):
        return self.client().csrattrs()

    def enroll(self):
        """simpleenroll; returns the leaf x509.Certificate once it is verified and stored."""
        if not self._subject:
            raise UsageError("no subject: give one such as CN=device-1")
        wanted = []
        if self._san or self._eku:
            from est.extensions import requested

            wanted = requested(self._san, self._eku)
        return self._order("enroll", self.client(), csr.name(self._subject), wanted, [], None)

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
        until = int.from_bytes(pending[3], "big") if pending else 0
        if pending and pending[0] == asked:
            key = keys.load(pending[1])
            request = pending[2]
            wait = until - clock.now()
            if wait > 0:
                raise RetryLater("the server asked to wait before asking again", wait)
        else:
            if until:
                self._log("a request with other settings was waiting at the server: given up")
            try:
                extensions = client.csrattrs().apply(wanted, kept, self._log)
            except ImportError:
                extensions = wanted + kept  # est.csrattrs is an optional part
            key = key or keys.SoftwareKey()
            request = csr.build(key, subject, extensions=extensions)
            pending = [asked, key.sec1(), request, b"\0"]
            self._store.save("pending", store.pack(*pending))
        try:
            if operation == "enroll":
                issued = client.simpleenroll(request)
            else:
                issued = client.simplereenroll(request)
            path = self._judge(issued, key, client)
        except RetryLater as error:
            pending[3] = (clock.now() + error.seconds).to_bytes(8, "big")
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
