"""Trust anchors that an application gives, in any form."""

from est import der, pem
from est.errors import PeerError, UsageError


def load(data):
    """List of the certificates (DER) in PEM or DER `data` (str, bytes), or in a list of such.

    Raises UsageError.
    """
    certificates = []
    try:
        for encoded in [data] if isinstance(data, (bytes, str)) else data:
            if isinstance(encoded, bytes) and b"-----BEGIN" in encoded:
                encoded = encoded.decode()
            if isinstance(encoded, str):
                certificates += pem.decode(encoded, "CERTIFICATE")
            else:
                reader = der.Reader(encoded)
                while reader.more():
                    certificates.append(reader.element())
    except (PeerError, ValueError) as error:
        raise UsageError("certificates: %s" % error)
    if not certificates:
        raise UsageError("certificates: neither PEM nor DER")
    return certificates
