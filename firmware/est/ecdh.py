"""Elliptic curve Diffie-Hellman (SP 800-56A 5.7.1.2) on the curves of est.ec and est.curves."""

from est.errors import PeerError, Unsupported
from est.windows import Windows

# What the octets of a point in another form than the usual one begin with (SEC 1 2.3.3, X9.62).
_FORMS = {2: "compressed", 3: "compressed", 6: "hybrid", 7: "hybrid"}


def shared(curve, private, public):
    """As curve.ecdh."""
    k = curve.scalar(private)
    point = curve.point(public)
    if not point:
        raise refusal(public)
    point = curve.multiplier().both(k, curve.blinded(point, None), 0)
    return Windows(curve).affine(*point)[0].to_bytes(curve.size, "big")


def refusal(public):
    """What to raise for `public` (bytes), which est.ec takes for no point of its curve."""
    form = _FORMS.get(public[0]) if public else None
    if form:
        return Unsupported("a %s point, which is not supported (RFC 5480 2.2)" % form)
    return PeerError("EC point: not on the curve, or malformed")
