"""An EST server in memory that remembers, and the way to it: no sockets, no TLS, virtual time.

It runs on MicroPython and on CPython, so that thousands of boards, power cuts or years fit into
one process. A test makes a World, calls `install` and lets the shipped agent run: `Client` takes
the place of est.client.Client, sees the anchors and the identity that a connection would show,
and hands the octets of each request to the World. Everything above that is the real code.

The World is made with the code that it tests, other than mpest.server, which is the independent
oracle: what counts here is what the server remembers, not how it encodes.
"""

import binascii
import hashlib
import os
import sys
import time

import est.client
from est import (
    asn1,
    auth,
    base64,
    clock,
    csr,
    der,
    duty,
    ec,
    entropy,
    errors,
    extensions,
    key_forms,
    keys,
    signed,
    watch,
    x509,
)
from est.ec import P256
from est.errors import EstError, NotTrusted, PeerError

URL = "https://est.example"
USER = "device-1"
PASSWORD = "correct horse"
# Later than the build date of any code that is tested.
START = 1800000000
DAY = 86400

# Before "Closed" is there, a refusal in TLS is a PeerError as any other.
_Closed = getattr(errors, "Closed", PeerError)

_COMMON_NAME = b"\x55\x04\x03"
_EXTENSION_REQUEST = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e"
_KEY_IDENTIFIER = b"\x55\x1d\x0e"
_CMC = b"\x2b\x06\x01\x05\x05\x07\x07"
_PKI_RESPONSE = b"\x2b\x06\x01\x05\x05\x07\x0c\x03"
_DATA = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
_SIGNED_DATA = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
_CONTENT_TYPE = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03"
_MESSAGE_DIGEST = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04"
_SHA256 = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01"
_TRANSACTION_ID, _SENDER_NONCE, _RECIPIENT_NONCE, _REVOKE, _STATUS_V2 = 5, 6, 7, 17, 25

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
_REASONS = {200: "OK", 202: "Accepted", 204: "No Content", 400: "Bad Request"}
_REASONS.update({401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 503: "Unavailable"})


class Lost(Exception):
    """The connection broke before the World took the request."""


class World:
    """One EST server and its CA. Every argument is an attribute too, which may be set any time.

    now: Unix seconds, the true time. clock_error: what the board's clock is ahead of it, seconds;
        None where the board's clock is not set. latency: seconds that one exchange takes.
    lifetime: of a certificate, seconds. backdate: how long before its issue it begins; negative
        where it begins later. client_auth: whether certificates are for TLS clients.
    intermediate: certificates are issued by a CA below the root.
    authenticate: whether enrolling takes a password or a certificate.
    once: the password is good for one certificate; the very same request is then answered with
        the same certificate ("same") or with 401 ("401"). None: it may be used again.
    wait_polls: how often 202 comes before a certificate. retry_after: its header, or None.
    date: None for no Date header, else what it is ahead of the true time, seconds.
    refuse: TLS refuses each certificate whose serial is in this set. refuse_new: and each one
        issued from now on. refuse_expired, refuse_revoked: and those.
    csrattrs: DER, or None for 404.
    down: no connection comes about. status: a status to answer every POST with, or None.
    fault: called with (number of the request, operation, DER of the client's certificate or None)
        before each; returns None, "request" (the request is lost), "answer" (the answer is),
        "closed" (the server closes instead of an answer), or after how many octets the answer
        ends.
    watch: called with "send" before each request and with "answer" after it was served.

    It remembers: orders, a list of Orders; issued, {DER: serial}; revoked, a set of serials;
    connections and handshakes refused; requests sent and served; mixed, how often a key came with
    another's certificate; private, the scalars of all keys that were made.
    """

    def __init__(self, now=START, seed=b"world", **policy):
        self.now = now
        self.clock_error = 0
        self.latency = 0
        self.lifetime = 90 * DAY
        self.backdate = 0
        self.client_auth = True
        self.intermediate = False
        self.authenticate = True
        self.once = None
        self.wait_polls = 0
        self.retry_after = 3600
        self.date = 0
        self.refuse = set()
        self.refuse_new = False
        self.refuse_expired = True
        self.refuse_revoked = False
        self.csrattrs = None
        self.down = False
        self.status = None
        self.fault = None
        self.watch = None
        for name, value in policy.items():
            if not hasattr(self, name):
                raise ValueError("the World has no " + name)
            setattr(self, name, value)
        self.orders = []
        self.issued = {}
        self.revoked = set()
        self.connections = 0
        self.refused = 0
        self.requests = self.served = 0
        self.mixed = 0
        self.private = []
        self._drawn = 0
        self._seed = seed
        self._serial = 0
        # {CSR: polls left}; the CSR that spent the password; {CSR: certificate}.
        self._waiting = {}
        self._spent = None
        self._answers = {}
        self._root_number = 0
        self._subject = csr.name("CN=Root,O=World")
        self.roots = []
        self.links = []
        self._new_root()
        self.server = 0
        self.present(0)

    # What a test reads and does.

    def fingerprint(self):
        """SHA-256 of the first root, which a board may trust."""
        return hashlib.sha256(self.roots[0][1].der).digest()

    def clock(self):
        """The board's clock, in place of est.clock.now."""
        if self.clock_error is None:
            raise errors.UsageError("the clock is not set")
        return int(self.now) + self.clock_error

    def random(self, count):
        """Deterministic and never twice the same, in place of est.entropy.random."""
        out = b""
        while len(out) < count:
            self._drawn += 1
            out += hashlib.sha256(self._seed + b"%d" % self._drawn).digest()
        return out[:count]

    def save(self):
        """A copy of all but `watch`, for `load`."""
        saved = {}
        for name in dir(self):
            value = getattr(self, name)
            if name[:2] != "__" and name != "watch" and name not in _METHODS:
                saved[name] = type(value)(value) if type(value) in (list, dict, set) else value
        return saved

    def load(self, saved):
        for name, value in saved.items():
            value = type(value)(value) if type(value) in (list, dict, set) else value
            setattr(self, name, value)

    def asked(self, *operations):
        """The distinct public keys (DER) that were asked for by POSTs to these operations."""
        found = []
        for order in self.orders:
            if (not operations or order.operation in operations) and order.spki not in found:
                found.append(order.spki)
        return found

    def factory(self, subject="CN=factory-1"):
        """(chain, key) such as a board leaves its factory with; good here."""
        key = keys.P256Key(self._scalar(b"factory" + subject.encode()))
        info = csr.name(subject)
        found = self._issue(info, key.spki(), (), self.now - DAY, self.now + 7300 * DAY)
        return [found.der], key.der()

    def roll_over(self, lifetime=3650 * DAY, links=True):
        """A new root, which issues from now on; `links` with the one before are published.

        TLS goes on showing a certificate of the root that it showed before: see `present`.
        """
        old_key, old = self.roots[-1]
        self._new_root(lifetime)
        key, new = self.roots[-1]
        if links:
            begin, end = new.not_before, min(old.not_after, new.not_after)
            for other, signer in ((new, old_key), (old, key)):
                self.links.append(self._ca(other.spki, signer, begin, end))

    def present(self, number):
        """TLS shows a certificate of root `number` (negative counts from the newest)."""
        self.server = number
        key = keys.P256Key(self._scalar(b"server"))
        names = extensions.requested(("DNS:est.example",), ("serverAuth",))
        issuer_key, issuer = self.roots[number]
        self.server_leaf = self._certificate(
            csr.name("CN=est.example"),
            key.spki(),
            names,
            issuer.not_before,
            issuer.not_after,
            issuer.subject,
            issuer_key,
        )

    def current(self, certificate):
        """Whether the server would take this certificate (DER) in TLS now."""
        serial = self.issued.get(certificate)
        return serial is not None and self._objection(serial, certificate) is None

    # The CA.

    def _scalar(self, label):
        return P256.generate(_Stream(self._seed + label).read)

    def _new_root(self, lifetime=3650 * DAY):
        number = self._root_number
        self._root_number += 1
        key = keys.P256Key(self._scalar(b"root %d" % number))
        begin = self.now - DAY
        self.roots.append((key, self._ca(key.spki(), key, begin, self.now + lifetime)))
        self._below = None
        if self.intermediate:
            below = keys.P256Key(self._scalar(b"intermediate %d" % number))
            name = csr.name("CN=Issuing %d,O=World" % number)
            certificate = self._ca(below.spki(), key, begin, self.now + lifetime, name)
            self._below = below, certificate

    def _ca(self, spki, signer, begin, end, subject=None):
        subject = subject or self._subject
        usages = extensions.requested((), (), ("keyCertSign", "cRLSign"))
        basic = der.sequence(der.tlv(asn1.BOOLEAN, b"\xff"))
        usages = [(b"\x55\x1d\x13", True, basic)] + usages
        return self._certificate(subject, spki, usages, begin, end, self._subject, signer)

    def _certificate(self, subject, spki, wanted, begin, end, issuer, signer):
        self._serial += 1
        algorithm = der.sequence(der.tlv(asn1.OID, _ECDSA_SHA256))
        listed = []
        for oid, critical, value in wanted:
            flag = der.tlv(asn1.BOOLEAN, b"\xff") if critical else b""
            listed.append(der.sequence(der.tlv(asn1.OID, oid), flag, der.octets(value)))
        # Spread as a real CA's are, for what is drawn by the serial number.
        serial = hashlib.sha256(b"serial %d" % self._serial).digest()[:8]
        info = der.sequence(
            der.tlv(0xA0, asn1.integer(2)),
            der.tlv(asn1.INTEGER, b"\x10" + serial),
            algorithm,
            issuer,
            der.sequence(_time(begin), _time(end)),
            subject,
            spki,
            der.tlv(0xA3, der.sequence(*listed)),
        )
        algorithm, signature = signer.sign(info)
        return x509.Certificate(der.sequence(info, algorithm, der.bits(signature)))

    def _issue(self, subject, spki, wanted, begin=None, end=None):
        signer, issuer = self._below or self.roots[-1]
        begin = self.now - self.backdate if begin is None else begin
        end = begin + self.lifetime if end is None else end
        eku = ("clientAuth",) if self.client_auth else ("serverAuth",)
        usages = extensions.requested((), eku, ("digitalSignature",))
        usages += [one for one in wanted if one[0] == b"\x55\x1d\x11"]
        found = self._certificate(
            subject, spki, usages, int(begin), int(end), issuer.subject, signer
        )
        self.issued[found.der] = found.serial
        if self.refuse_new:
            self.refuse.add(found.serial)
        return found

    def offered(self):
        """The certificates (DER) in /cacerts."""
        found = [one for _, one in self.roots] + self.links
        return [one.der for one in found + ([self._below[1]] if self._below else [])]

    # TLS.

    def _objection(self, serial, certificate):
        if serial in self.refuse:
            return "refused"
        if self.refuse_revoked and serial in self.revoked:
            return "revoked"
        if self.refuse_expired and x509.Certificate(certificate).not_after < self.now:
            return "expired"
        return None

    def hello(self, chain, key):
        """Who a client with this identity is: DER of its certificate, or None without one."""
        if not chain:
            return None
        leaf = x509.Certificate(chain[0])
        if keys.load(bytes(key)).spki() != leaf.spki:
            self.mixed += 1
            self.refused += 1
            raise _Closed("the server ended TLS: key and certificate are not a pair")
        serial = self.issued.get(leaf.der)
        why = "unknown" if serial is None else self._objection(serial, leaf.der)
        if why:
            self.refused += 1
            raise _Closed("the server ended TLS: the certificate is " + why)
        return leaf.der

    # HTTP.

    def serve(self, octets, peer):
        """The octets that answer a request of `peer`, as `hello` returned it."""
        self.served += 1
        head, _, body = octets.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        operation = path.rsplit("/", 1)[1]
        status, kind, answer, more = self._operation(method, operation, headers, body, peer)
        head = ["HTTP/1.1 %d %s" % (status, _REASONS.get(status, "Whatever"))] + more
        if self.date is not None:
            head.append("Date: " + http_date(int(self.now) + self.date))
        if kind:
            head.append("Content-Type: " + kind)
        if status != 204:
            head.append("Content-Length: %d" % len(answer))
        return "\r\n".join(head).encode() + b"\r\n\r\n" + answer

    def _operation(self, method, operation, headers, body, peer):
        if method == "GET" and operation == "cacerts":
            return _certificates(self.offered())
        if method == "GET" and operation == "csrattrs":
            if self.csrattrs is None:
                return 404, None, b"", []
            return 200, "application/csrattrs", base64.encode(self.csrattrs), []
        if method != "POST" or not hasattr(self, "_" + operation):
            return 404, None, b"", []
        by = "certificate" if peer else None
        if not peer and headers.get("authorization") == _BASIC:
            by = "password"
        if self.authenticate and not by:
            return 401, None, b"", ['WWW-Authenticate: Basic realm="est"']
        body = bytes(_decoded(body))
        if operation == "fullcmc":
            return self._fullcmc(body, peer, by)
        order = Order(int(self.now), operation, body, by, peer)
        self.orders.append(order)
        if self.status:
            order.status = self.status
            return self.status, None, b"", []
        answer = getattr(self, "_" + operation)(order)
        order.status = answer[0]
        return answer

    def _simpleenroll(self, order):
        again = self._answers.get(order.csr)
        if self.once and order.by == "password" and self._spent not in (None, order.csr):
            return 401, None, b"", ['WWW-Authenticate: Basic realm="est"']
        if again and self.once:
            if self.once == "401" and order.by == "password":
                return 401, None, b"", ['WWW-Authenticate: Basic realm="est"']
            order.certificate = again
            return _certificates([again])
        certificate = self._decide(order)
        if not certificate:
            more = [] if self.retry_after is None else ["Retry-After: %s" % self.retry_after]
            return 202, None, b"", more
        return _certificates([certificate])

    def _simplereenroll(self, order):
        if not order.peer:
            return 403, None, b"", []
        return self._simpleenroll(order)

    def _serverkeygen(self, order):
        # The key is of the request, so that the same one brings the same answer.
        key = keys.P256Key(self._scalar(b"serverkeygen" + order.csr))
        if key._private not in self.private:
            self.private.append(key._private)
        order.spki = key.spki()
        status, kind, answer, more = self._simpleenroll(order)
        if status != 200:
            return status, kind, answer, more
        parts = (
            ("application/pkcs8", base64.encode(key_forms.pkcs8(key))),
            (kind, answer),
        )
        text = b""
        for kind, content in parts:
            text += b"--part\r\nContent-Type: %s\r\n" % kind.encode()
            text += b"Content-Transfer-Encoding: base64\r\n\r\n" + content + b"\r\n"
        return 200, "multipart/mixed; boundary=part", text + b"--part--\r\n", []

    def _decide(self, order):
        # The certificate (DER) of an order, or None while it waits.
        left = self._waiting.get(order.csr, self.wait_polls)
        self._waiting[order.csr] = left - 1
        if left > 0:
            return None
        if order.by == "password":
            self._spent = order.csr
        found = self._issue(order.subject, order.spki, order.extensions)
        order.certificate = self._answers[order.csr] = found.der
        return found.der

    def _fullcmc(self, body, peer, by):
        kind, content, signer, inside = signed.verify(body)
        fields = der.Reader(content).enter()
        controls = fields.enter()
        asked = {}
        while controls.more():
            control = controls.enter()
            control.skip(asn1.INTEGER)
            arc = control.oid()[-1]
            asked[arc] = control.enter(asn1.SET).element()
        requests = fields.enter()
        found = []
        failure = None
        status = 0
        while requests.more():
            tagged = requests.enter(0xA0)
            tagged.skip(asn1.INTEGER)
            order = Order(int(self.now), "fullcmc", tagged.element(), by, peer)
            self.orders.append(order)
            certificate = self._answers.get(order.csr) or self._decide(order)
            order.status = 200 if certificate else 202
            if certificate:
                found.append(certificate)
            else:
                status = 3
        if _REVOKE in asked:
            revoke = der.Reader(asked[_REVOKE]).enter()
            revoke.skip(asn1.SEQUENCE)
            serial = revoke.bytes(asn1.INTEGER)
            if serial in self.issued.values():
                self.revoked.add(serial)
            else:
                status, failure = 2, 4
        info = [asn1.integer(status), der.sequence()]
        if failure is not None:
            info.append(asn1.integer(failure))
        elif status == 3:
            until = der.tlv(asn1.GENERALIZED_TIME, _digits(self.now + (self.retry_after or 60)))
            info.append(der.sequence(der.octets(b"1"), until))
        answers = [(_STATUS_V2, der.sequence(*info))]
        for there, here in ((_TRANSACTION_ID, _TRANSACTION_ID), (_SENDER_NONCE, _RECIPIENT_NONCE)):
            if there in asked:
                answers.append((here, asked[there]))
        listed = []
        for arc, value in answers:
            oid = der.tlv(asn1.OID, _CMC + bytes((arc,)))
            listed.append(der.sequence(asn1.integer(len(listed) + 1), oid, der.set_of(value)))
        content = der.sequence(der.sequence(*listed), der.sequence(), der.sequence())
        answer = self._signed(content, found)
        kind = "application/pkcs7-mime; smime-type=CMC-response"
        return 200, kind, base64.encode(answer), []

    def _signed(self, content, certificates):
        # SignedData (RFC 5652 5.1) of a PKIResponse, by the newest root.
        key, root = self.roots[-1]
        attributes = der.set_of(
            _attribute(_CONTENT_TYPE, der.tlv(asn1.OID, _PKI_RESPONSE)),
            _attribute(_MESSAGE_DIGEST, der.octets(hashlib.sha256(content).digest())),
        )
        algorithm, signature = key.sign(attributes)
        digest = der.sequence(der.tlv(asn1.OID, _SHA256))
        signer = der.sequence(
            asn1.integer(1),
            der.sequence(root.issuer, der.tlv(asn1.INTEGER, root.serial)),
            digest,
            b"\xa0" + attributes[1:],
            algorithm,
            der.octets(signature),
        )
        body = der.sequence(
            asn1.integer(3),
            der.set_of(digest),
            der.sequence(der.tlv(asn1.OID, _PKI_RESPONSE), der.tlv(0xA0, der.octets(content))),
            b"\xa0" + der.set_of(root.der, *certificates)[1:],
            der.set_of(signer),
        )
        return der.sequence(der.tlv(asn1.OID, _SIGNED_DATA), der.tlv(0xA0, body))


class Order:
    """One POST for a certificate: when, to what, and what came of it.

    at: Unix seconds. operation; csr (DER); by: "certificate", "password" or None; peer: DER of the
    certificate shown. subject, spki (DER) and extensions are what was asked for. status: of HTTP.
    certificate: DER, or None.
    """

    def __init__(self, at, operation, data, by, peer):
        self.at = at
        self.operation = operation
        self.csr = data
        self.by = by
        self.peer = peer
        self.status = 0
        self.certificate = None
        fields = der.Reader(data).enter()
        info = fields.element(asn1.SEQUENCE)
        algorithm = fields.element(asn1.SEQUENCE)
        signature = fields.bit_string()
        asked = der.Reader(info).enter()
        asked.skip(asn1.INTEGER)
        self.subject = asked.element(asn1.SEQUENCE)
        self.spki = asked.element(asn1.SEQUENCE)
        self.extensions = []
        if not x509.verify(self.spki, algorithm, info, signature):
            raise ValueError("the request's signature is wrong")
        attributes = asked.enter(0xA0)
        while attributes.more():
            attribute = attributes.enter()
            if attribute.oid() == _EXTENSION_REQUEST:
                listed = attribute.enter(asn1.SET).enter()
                while listed.more():
                    extension = listed.enter()
                    oid = extension.oid()
                    critical = extension.peek() == asn1.BOOLEAN and extension.boolean()
                    self.extensions.append((oid, critical, extension.bytes()))


class _Stream:
    # Octets without end that follow from a label.
    def __init__(self, label):
        self._label = label
        self._count = 0

    def read(self, count):
        out = b""
        while len(out) < count:
            self._count += 1
            out += hashlib.sha256(self._label + b"#%d" % self._count).digest()
        return out[:count]


class _Shown:
    # What stands in for est.tls.Context: nothing is encrypted here.
    def __init__(self):
        self.leaf = None
        self.ssl = None
        self.now = clock.now()
        self.validity = []


class Client(est.client.Client):
    """est.client.Client, but that its connections go to the World that was installed last."""

    world = None

    def __init__(
        self, url, anchors=(), identity=None, credentials=None, timeout=30, bootstrap=False
    ):
        # As est.tls.Context, which raises for a clock that is not set.
        self.context = _Shown()
        self.authority = url[8:].partition("/")[0]
        label = url[8:].partition("/")[2]
        label = label.strip("/")[16:] or None
        self._est = label, credentials, bootstrap
        self._anchors = None if bootstrap else [x509.Certificate(bytes(one)) for one in anchors]
        self.identity = identity
        self.date = None
        self.timeout = timeout
        self._sock = None
        self.stream = None
        self._up = False
        if not bootstrap and not anchors:
            raise errors.UsageError("no trust anchor given")

    def close(self):
        self._up = False

    def _connect(self):
        world = self.world
        world.connections += 1
        if world.down:
            raise PeerError("cannot reach the server: it is down")
        self.context.leaf = world.server_leaf.der
        self.context.validity[:] = [watch.validity_of(world.server_leaf.der)]
        if self._anchors is not None:
            try:
                x509.verify_path(world.server_leaf, [], self._anchors, clock.now())
            except NotTrusted as error:
                raise NotTrusted("the server is not trusted: %s" % error)
        chain, key = self.identity or ((), None)
        # As in TLS 1.3, refused at the first read.
        self._peer = world.hello(chain, key)
        self._up = True

    def _exchange(self, request):
        yield  # as where the network takes its time
        world = self.world
        octets = request.encode(self.authority) + (request.body or b"")
        world.requests += 1
        world.now += world.latency
        if world.watch:
            world.watch("send")
        try:
            if not self._up:
                self._connect()
            operation = request.path.rsplit("/", 1)[1]
            fault = world.fault and world.fault(world.requests, operation, self._peer)
            if fault == "request":
                raise PeerError("TLS: the connection was reset")
            answer = world.serve(octets, self._peer)
            if world.watch:
                world.watch("answer")
            if fault == "answer":
                raise PeerError("the server took longer than %d s" % self.timeout)
            if fault == "closed":
                raise _Closed("the server closed the connection instead of an answer")
            response = request.response
            response.feed(answer[:fault] if fault is not None else answer)
            if not response.done:
                response.eof()
            self.date = response.header("date")
            if not response.keep:
                self.close()
        except EstError:
            self.close()
            raise


def _clock_or_0():
    return Client.world.clock() if Client.world.clock_error is not None else 0


class _Os:
    # For est.duty, which draws from the system how long to wait.
    def urandom(count):
        return Client.world.random(count)


_original = {"random": entropy.random, "now": clock.now, "Client": est.client.Client}
_original["now_or_0"] = getattr(clock, "now_or_0", None)


def install(world, deterministic=True):
    """Let the shipped code meet `world`: its server, its time and, if wanted, its randomness."""
    Client.world = world
    est.client.Client = Client
    clock.now = world.clock
    clock.now_or_0 = _clock_or_0
    if deterministic:
        entropy.random = ec.random = world.random
        duty.os = _Os
    for name, module in list(sys.modules.items()):
        if name[:4] == "est." and getattr(module, "Client", None) is _original["Client"]:
            module.Client = Client


def uninstall():
    """Undo `install`, for who runs other tests in the same process."""
    for name, module in list(sys.modules.items()):
        if name[:4] == "est." and getattr(module, "Client", None) is Client:
            module.Client = _original["Client"]
    clock.now = _original["now"]
    clock.now_or_0 = _original["now_or_0"]
    entropy.random = ec.random = _original["random"]
    duty.os = os
    Client.world = None


def remember_mathematics():
    """From now on P-256 computes nothing twice, and the World learns each key that is made.

    Most runs of a test repeat what others did before, to the same keys.
    """
    known = {}

    def remembered(name, compute):
        def call(*arguments):
            # Randomness changes a signature, not what it is worth.
            arguments = tuple([bytes(one) for one in arguments[: 3 if name == "verify" else 2]])
            found = known.get((name, arguments))
            if found is None:
                more = (_Stream(b"nonce").read,) if name == "sign" else ()
                found = known[name, arguments] = compute(*(arguments + more))
            return found

        return call

    generate = P256.generate

    def generated(source=None):
        private = generate(source)
        world = Client.world
        if source is None and world and private not in world.private:
            world.private.append(private)
        return private

    for name in ("public", "sign", "verify"):
        setattr(P256, name, remembered(name, getattr(P256, name)))
    P256.generate = generated


def login():
    """The credentials that every World takes."""
    return auth.Password(USER, PASSWORD)


def http_date(seconds):
    """As in RFC 9110 5.6.7: Sun, 06 Nov 1994 08:49:37 GMT."""
    year, month, day, hour, minute, second, weekday = time.gmtime(seconds)[:7]
    name = _MONTHS[3 * month - 3 : 3 * month]
    text = "%s, %02d %s %d %02d:%02d:%02d GMT"
    return text % (_DAYS[weekday], day, name, year, hour, minute, second)


_ECDSA_SHA256 = b"\x2a\x86\x48\xce\x3d\x04\x03\x02"
_BASIC = "Basic " + binascii.b2a_base64((USER + ":" + PASSWORD).encode()).decode().strip()


def _digits(seconds):
    return ("%04d%02d%02d%02d%02d%02dZ" % time.gmtime(int(seconds))[:6]).encode()


def _time(seconds):
    # RFC 5280 4.1.2.5: UTCTime until 2049.
    text = _digits(seconds)
    return der.tlv(asn1.UTC_TIME, text[2:]) if text < b"2050" else der.tlv(0x18, text)


def _attribute(oid, value):
    return der.sequence(der.tlv(asn1.OID, oid), der.set_of(value))


def _certificates(listed):
    # Certs-only SignedData, as an answer.
    body = der.sequence(
        asn1.integer(1),
        der.set_of(),
        der.sequence(der.tlv(asn1.OID, _DATA)),
        der.tlv(0xA0, *listed),
        der.set_of(),
    )
    message = der.sequence(der.tlv(asn1.OID, _SIGNED_DATA), der.tlv(0xA0, body))
    return 200, "application/pkcs7-mime; smime-type=certs-only", base64.encode(message), []


def _decoded(body):
    out = bytearray()
    decoder = base64.Decoder(out)
    decoder.feed(body)
    decoder.end()
    return out


_METHODS = dir(World)
