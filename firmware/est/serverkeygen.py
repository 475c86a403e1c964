"""Keys that the server makes (RFC 7030 4.4): asked for, decrypted, checked, and kept."""

import hashlib

from micropython import const

from est import apart, aparts, asn1, cms, der, http, multipart, store
from est.errors import PeerError, Unsupported, UsageError, missing
from est.order import Enrolment

# Encrypted, signed, a package, under a password: one of each, and the key.
_MAX_LAYERS = const(5)

_PKCS7 = const("application/pkcs7-mime")
_PKCS8 = const("application/pkcs8")
_SIGNED_DATA = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02")
# DigestAlgorithmIdentifiers, without parameters and with NULL.
_SHA1_ONLY = (
    b"\x31\x09\x30\x07\x06\x05\x2b\x0e\x03\x02\x1a",
    b"\x31\x0b\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00",
)
_SMIME_CAPABILITIES = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0f")
_DECRYPT_KEY_ID = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x25")
_ASYMMETRIC_DECRYPT_KEY_ID = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x36")
_RSA = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01")
_ECDH_SHA256_KDF = const(b"\x2b\x81\x04\x01\x0b\x01")
# AES, before the last arc: 5 and 45 wrap keys; 46, 6 are GCM and 42, 2 CBC, of 256 and 128 bits.
_AES = const(b"\x60\x86\x48\x01\x65\x03\x04\x01")
_CONTENT = const(b"\x2e\x06\x2a\x02")


class Decryption:
    """What the board decrypts a server's key with: nothing, or one of

    secret: AES key of 16 or 32 bytes, which the server knows by `identifier` (bytes). Without
        identifier the server is not told, and the secret serves if the key needs it.
    private: RSA or EC private key (est.keys), which the server knows by `identifier`: SHA-1 of the
        public key unless given (RFC 5280 4.2.1.2).
    password: bytes, for a key under a password.
    """

    def __init__(self, secret=None, identifier=None, private=None, password=None):
        if secret is not None and (private or len(secret) not in (16, 32)):
            raise UsageError("to decrypt, give a secret of 16 or 32 bytes or a private key")
        self._attributes = []
        self.given = (secret, identifier, None, password)
        if private:
            self.given = (None, None, private.der(), password)
            info = der.Reader(private.spki()).enter()
            rsa = info.enter().oid()[:-1] == _RSA
            identifier = identifier or hashlib.sha1(info.bit_string()).digest()
            if rsa:
                # RSAES-OAEP and PKCS #1 v1.5.
                capable = [_capability(_RSA + b"\7"), _capability(_RSA + b"\1")]
            else:
                capable = [_capability(_ECDH_SHA256_KDF, _capability(_AES + b"\5"))]
            self._take(_ASYMMETRIC_DECRYPT_KEY_ID, identifier, capable)
        elif secret and identifier:
            wrap = b"\5" if len(secret) == 16 else b"\x2d"
            self._take(_DECRYPT_KEY_ID, identifier, [_capability(_AES + wrap)])

    def _take(self, oid, identifier, capable):
        for arc in _CONTENT:
            capable.append(_capability(_AES + bytes((arc,))))
        self._attributes = [
            (oid, der.octets(identifier)),
            (_SMIME_CAPABILITIES, der.sequence(*capable)),
        ]

    def attributes(self):
        """For est.csr.build: how the key shall be encrypted (RFC 7030 4.4.1)."""
        return self._attributes

    def __repr__(self):
        # What est.agent tells requests apart by; no secret.
        return "serverkeygen %r" % self._attributes


def _capability(oid, *parameters):
    return der.sequence(der.tlv(asn1.OID, oid), *parameters)


class ServerKey(Enrolment):
    """A key and its certificate, both made by the server. `key` stays empty until `accept`.

    With an identity the names are kept, as on renewal. decryption: a Decryption, or None.
    answer: [certificates, key], as they came.
    """

    kind = "serverkeygen"

    def __init__(self, decryption=None):
        super().__init__()
        self._decryption = decryption or Decryption()
        self.terms = store.digest(self._decryption)

    def build(self, fetch, log, wanted, leaf, key):
        """As Enrolment.build."""
        from est import request

        subject, san, eku, extra = wanted
        if isinstance(subject, bytes):
            self.request = subject
            if fetch:
                yield from aparts(fetch)
            return

        def fetched():
            attributes = fetch and (yield from fetch())
            if attributes:
                # What they say of the key is the server's to heed.
                attributes.keys = attributes.hints = ()
                attributes.signature = attributes.digest = None
            return attributes

        extra = list(extra) + self._decryption.attributes()
        own_key = apart(_own_key)
        yield
        wanted = subject, san, eku, extra
        _, self.request = yield from request.build(fetched, log, wanted, leaf, own_key)

    def send(self, client):
        """As Enrolment.send."""
        self.answer = yield from client.steps(operation(client.est, self.request))

    def accept(self, others, anchors, now, log=None):
        """As Enrolment.accept. Raises UsageError for what the board cannot decrypt."""
        from est import keys, verdict

        certificates, data = self.answer
        certificates = cms.issued(certificates)
        decryption = self._decryption
        if decryption.attributes():
            outer = cms.reader(data).enter()
            if outer.peek() != asn1.OID or outer.oid() == _SIGNED_DATA:
                raise PeerError("the key came unencrypted, though encryption was asked for")
        try:
            data = yield from unwrap(data, decryption.given, certificates + others, anchors, now)
        except ImportError as error:
            raise missing(error)
        try:
            key = keys.load(data).der()
        except Unsupported as error:
            raise Unsupported("the key that the server sent: %s" % error)
        except UsageError as error:
            raise PeerError("the key that the server sent cannot be used: %s" % error)
        return (yield from verdict.accept(certificates, others, key, anchors, now, log))


def _own_key():
    # It signs, and is forgotten: RFC 7030 4.4.1 has the server ignore it.
    from est import keys

    return keys.P256Key().der()


def orders(decryption=None):
    """What est.agent.Agent takes as `orders` to have the server make all keys."""
    return (lambda: ServerKey(decryption),) * 2


def enroll(agent, decryption=None, makers=None):
    """Have the server make key and certificate now, with est.agent.Agent `agent`.

    makers: instead of `decryption` what `orders` gives, such as est.quirks.orders changed.
    With an identity it shows that in TLS and keeps its names, as by `reenroll`; without, all is as
    by `enroll`. Returns the certificate (DER).
    """
    usual_orders = agent.orders
    agent.orders = makers or orders(decryption)
    try:
        return agent.reenroll() if agent.identity() else agent.enroll()
    finally:
        agent.orders = usual_orders


def operation(est, csr):
    """[certificates as CMS, key], both DER as they came, for CertificationRequest DER `csr`.

    est: est.protocol.Est. A generator as its operations are.
    """
    exchange = est.post("serverkeygen", csr)
    bodies = []
    try:
        request = next(exchange)
        while True:
            # The answer is neither base64 nor DER.
            request.response = _Response(_sink(est, request, bodies))
            yield request
            request = exchange.send(None)
    except StopIteration:
        return _sorted(bodies[-1].parts)


class _Response(http.Response):
    # libest's Content-Length leaves out what stands around the parts: where the connection ends
    # with the answer, one that is not whole goes on.
    def feed(self, data):
        super().feed(data)
        if self.left < 0 and not self.done and getattr(self._sink, "whole", False):
            self._finish()

    def _finish(self):
        if not (self.left or self.keep or getattr(self._sink, "whole", True)):
            self.left = -1
        else:
            super()._finish()


def _sink(est, sent, found):
    def on_head(response):
        if response.status not in (200, 201):
            return sent.on_head(response)
        kind = response.header("content-type") or "none"
        try:
            found.append(multipart.Parts(kind, (_PKCS7, _PKCS8)))
        except PeerError as error:
            raise PeerError(est.shown(sent, str(error).encode()))
        return found[-1]

    return on_head


def _sorted(parts):
    certificates = key = None
    for kind, content in parts:
        content = bytes(content)
        if kind[: len(_PKCS7)] == _PKCS7 and "server-generated-key" not in kind:
            # Without a word about it, what is inside tells.
            if "certs-only" in kind or cms.reader(content).enter().oid() == _SIGNED_DATA:
                if certificates is not None:
                    raise PeerError("the answer holds certificates twice")
                certificates = content
                continue
        if key is not None:
            raise PeerError("the answer holds two keys")
        key = content
    if not key or not certificates:
        raise PeerError("the answer holds no %s" % ("certificate" if key else "key"))
    return [certificates, key]


def unwrap(data, given, known, anchors, now):
    """Private key DER from what stands around it, in steps, for est.steps.

    given: see Decryption. known: DER certificates to find signers and their issuers in. anchors:
    DER certificates that must vouch for a signer at `now` (Unix seconds). Raises UsageError for
    what the board has no key for, Unsupported for what it cannot do or has no part for,
    NotTrusted for a signer, PeerError for the rest.
    """
    for _ in range(_MAX_LAYERS):
        reader = cms.reader(data)
        fields = reader.enter()
        reader.end()
        tag = fields.peek()
        if tag == asn1.INTEGER:
            return data
        if tag == asn1.OID:
            if fields.oid() == _SIGNED_DATA:
                data = _verified(data, known, anchors, now)
            else:
                data = yield from _decrypted(data, given)
            continue
        if tag != asn1.SEQUENCE:
            break
        if fields.enter().peek() == asn1.OID:
            if not given[3]:
                raise UsageError("the key comes under a password: give the password")
            from est import pbes2

            data = yield from pbes2.decrypt(data, given[3])
        else:
            # AsymmetricKeyPackage (RFC 5958 2) of one.
            reader = der.Reader(data).enter()
            data = reader.element()
            reader.end()
    raise PeerError("the key that the server sent is in no known form")


def _decrypted(data, given):
    from est import envelope

    kind, data = yield from envelope.decrypt(data, *given)
    try:
        # With one wrong key in 256 the padding of AES-CBC is right by chance.
        reader = cms.reader(data)
        reader.enter()
        reader.end()
    except PeerError:
        raise PeerError("the key comes encrypted: the wrong key, or changed data")
    if kind == _SIGNED_DATA and cms.reader(data).enter().peek() == asn1.INTEGER:
        # RFC 5652 6.1: SignedData itself, without the ContentInfo that some put around it.
        data = der.sequence(der.tlv(asn1.OID, kind), der.tlv(0xA0, data))
    return data


def _verified(data, known, anchors, now):
    from est import signed, x509

    info = cms.reader(data).enter()
    info.skip()
    fields = info.enter(0xA0).enter()
    fields.skip(asn1.INTEGER)
    if fields.element(asn1.SET) in _SHA1_ONLY:
        # Go's pkcs7, and so globalsign/est, signs so. That proves nothing any more, and is as good
        # as no signature: TLS has proven the server, and the certificate will prove the key.
        inner = fields.enter()
        inner.skip()
        return inner.enter(0xA0).bytes()
    known = list(x509.certificates(known))
    _, content, signer, inside = signed.verify(data, known)
    anchors = [x509.Certificate(encoded) for encoded in anchors]
    x509.verify_path(signer, inside + known, anchors, now)
    return content
