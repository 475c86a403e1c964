"""Trust anchors that an application gives, in any form."""

from est import der, pem
from est.errors import PeerError, UsageError


def load(data):
    """List of the certificates (DER) in PEM or DER `data` (str, bytes), or in a list of such.

    Raises UsageError.
    """
    found = []
    try:
        for one in [data] if isinstance(data, (bytes, str)) else data:
            if isinstance(one, bytes) and b"-----BEGIN" in one:
                one = one.decode()
            if isinstance(one, str):
                found += pem.decode(one, "CERTIFICATE")
            else:
                reader = der.Reader(one)
                while reader.more():
                    found.append(reader.element())
    except (PeerError, ValueError) as error:
        raise UsageError("certificates: %s" % error)
    if not found:
        raise UsageError("certificates: none")
    return found
