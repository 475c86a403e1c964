"""What an est.ec.Curve does, in steps for est.steps: for P-384 and P-521, seconds on a slow board.

Other tasks run between the steps, and a watchdog is fed:
`await steps.wait(ec_steps.verify(P384, public, digest, signature))`. P-256 with its table or in
machine code is so fast that it needs none.
"""

from est.entropy import random


def public(curve, private):
    """As curve.public."""
    return _steps(curve, curve.public, private)


def sign(curve, private, digest, entropy=None):
    """As curve.sign."""
    extra = (entropy or random)(curve.size)
    return _steps(curve, curve.sign, private, digest, lambda count: extra)


def verify(curve, public, digest, signature):
    """As curve.verify."""
    return _steps(curve, curve.verify, public, digest, signature)


def ecdh(curve, private, public):
    """As curve.ecdh."""
    return _steps(curve, curve.ecdh, private, public)


class _Wanted(Exception):
    pass


class _Known:
    # Multiplies for a curve by looking up what was multiplied before.
    def __init__(self, curve):
        self._curve = curve
        self.products = {}

    def base(self, k, entropy):
        curve = self._curve
        point = curve.blinded(curve.generator, entropy)
        return curve.windows().affine(*self.both(k, point, 0))

    def both(self, k, point, u):
        if (k, u) not in self.products:
            raise _Wanted(k, point, u)
        return self.products[k, u]


def _steps(curve, operation, *arguments):
    # `operation` starts anew once the product it wants is known. All else that it does is short,
    # and it comes to the same numbers again: sign's randomness is drawn before.
    known = _Known(curve)
    while True:
        fast = curve._fast
        curve._fast = known
        try:
            return operation(*arguments)
        except _Wanted as wanted:
            k, point, u = wanted.args
        finally:
            curve._fast = fast
        windows = curve.windows()
        point = yield from _last(windows.steps(k, point))
        if u:
            base = yield from _last(windows.steps(u, curve.generator + (1,)))
            point = windows.add(*(point + base))
        known.products[k, u] = point


def _last(points):
    for point in points:
        yield
    return point
