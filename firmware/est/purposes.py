"""What a certificate's key may be used for: extended key usage (RFC 5280 4.2.1.12)."""

from est import der


def lists(value, *purposes):
    """Whether ExtKeyUsageSyntax DER `value` lists one of `purposes`, object identifiers (bytes).

    Raises DerError.
    """
    listed = der.Reader(value).enter()
    while listed.more():
        if listed.oid() in purposes:
            return True
    return False
