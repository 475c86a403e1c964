"""Certificates and keys as other programs read them: PEM (RFC 7468)."""

import sys

from est import key_forms, keys, pem
from est.errors import UsageError

# What RFC 7468 and OpenSSL call a key, by its DER: PKCS #8 (RFC 5958), or SEC1 and PKCS #1.
PKCS8 = "pkcs8"
TRADITIONAL = "traditional"


def certificates(listed):
    """PEM text of DER certificates, in that order."""
    return "".join([pem.encode("CERTIFICATE", certificate) for certificate in listed])


def key(data, form=PKCS8):
    """PEM text of a private key, DER as est stores it: EC or RSA. Raises UsageError.

    A key in a secure element is such an error: nobody can export it.
    """
    element = sys.modules.get("est.element")
    if element and element.find(data):
        raise UsageError("private key: it stays in its secure element")
    loaded = keys.load(data)
    if form == PKCS8:
        return pem.encode("PRIVATE KEY", key_forms.pkcs8(loaded))
    kind = "RSA" if hasattr(loaded, "n") else "EC"
    return pem.encode(kind + " PRIVATE KEY", loaded.der())
