"""Private keys: made, loaded, and asked to sign.

A CSR needs `spki()` and `sign(message)`; TLS and the store need `der()`. The same methods have
P-384 keys (est.ec_key), RSA keys (est.rsa_key) and those in a secure element (est.element).
"""

from est import encode
from est.errors import missing
from est.p256_key import P256Key


def request(key, subject, attributes):
    """CertificationRequest (RFC 2986, DER) of what est.csr.fields gives, signed by `key`."""
    info = encode.sequence(b"\2\1\0", subject, key.spki(), attributes)
    algorithm, signature = key.sign(info)
    return encode.sequence(info, algorithm, encode.bits(signature))


def load(data, password=None):
    """The key of DER `data`: P-256 as `P256Key.der` gives it, any other with est.key_forms.

    Raises UsageError, and Unsupported as est.key_forms does.
    """
    if len(data) == 121:
        key = P256Key(bytes(data[7:39]))
        if key.der() == data:
            return key
    try:
        from est import key_forms
    except ImportError as error:
        raise missing(error)
    return key_forms.load(data, password)
