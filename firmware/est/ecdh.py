"""Elliptic curve Diffie-Hellman (SP 800-56A 5.7.1.2) on the curves of est.ec and est.curves."""

from est.errors import PeerError
from est.windows import Windows


def shared(curve, private, public):
    """As curve.ecdh."""
    k = curve.scalar(private)
    point = curve.point(public)
    if not point:
        raise PeerError("EC point: not on the curve, or not uncompressed")
    point = curve.multiplier().both(k, curve.blinded(point, None), 0)
    return Windows(curve).affine(*point)[0].to_bytes(curve.size, "big")
