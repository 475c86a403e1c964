"""Keys in a secure element, whose private half is never seen here.

In TLS the element signs through `SSLContext.ecdsa_sign_callback`, which MicroPython has where it
was built with MICROPY_PY_SSL_ECDSA_SIGN_ALT (extmod/modtls_mbedtls.c of 1.25). Without it such a
key can be enrolled, but not shown to a server.
"""

from est import asn1, der
from est.ec_key import EcKey
from est.errors import UsageError

_OIDS = {65: b"\x2a\x86\x48\xce\x3d\x03\x01\x07", 97: b"\x2b\x81\x04\x00\x22"}

_keys = {}


class ElementKey(EcKey):
    """The key that the element knows as `handle`, with this public point (uncompressed SEC1).

    sign(digest) has the element sign: 32 bytes for P-256, 48 for P-384. It returns the signature,
    DER or r and s side by side.

    `der()` is an ECPrivateKey with the handle in place of the private key: this is stored, and
    says which key it was once another start of the board has made this object anew. handle: bytes,
    fewer than the curve has, the first not zero.
    """

    def __init__(self, handle, public, sign):
        self._use(_OIDS.get(len(public), b""))
        if not 0 < len(handle) < self._curve.size or not handle[0]:
            raise UsageError("secure element: a handle has 1 to %d bytes" % (self._curve.size - 1))
        self._private = bytes(handle)
        self.public = bytes(public)
        self._sign = sign
        _keys[self.der()] = self

    def signature(self, digest):
        """As EcKey's; TLS asks for it, too."""
        size = self._curve.size
        digest = bytes(digest[:size])
        digest = bytes(size - len(digest)) + digest
        signature = self._sign(digest)
        if len(signature) == 2 * size:
            signature = der.sequence(
                asn1.integer(signature[:size]), asn1.integer(signature[size:])
            )
        if self.checked and not self._curve.verify(self.public, digest, signature):
            raise UsageError("secure element: its signature is not by the public key given")
        return signature


def find(data):
    """The Key whose `der()` is `data`, or None."""
    return _keys.get(data)


def attach(context, data):
    """Let `context` (tls.SSLContext) sign with the Key whose `der()` is `data`, if there is one.

    Raises UsageError where MicroPython cannot.
    """
    key = find(data)
    if key:
        if not hasattr(context, "ecdsa_sign_callback"):
            raise UsageError("this MicroPython's TLS cannot sign with a secure element")
        # It is given what it takes for the private key, and TLS's digest.
        context.ecdsa_sign_callback = lambda handle, digest: key.signature(digest)
