"""PKCS#8 (RFC 5208, RFC 5958): the private key format of other programs."""

from est import der
from est.errors import UsageError
from est.keys import ec_algorithm


def encode(key):
    """PrivateKeyInfo DER of an est.keys.SoftwareKey."""
    return der.sequence(der.integer(0), ec_algorithm(), der.octets(key.sec1()))


def private_key(fields):
    """ECPrivateKey DER from a der.Reader that stands after the version.

    Raises UsageError for a key that is not on P-256, DerError for a malformed one.
    """
    if fields.element() != ec_algorithm():
        raise UsageError("private key: only P-256 is supported")
    return fields.bytes()
