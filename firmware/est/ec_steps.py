"""What an est.ec.Curve does, in steps for est.steps: for P-384 and P-521, seconds on a slow board.

Other tasks run between the steps, and a watchdog is fed:
`await steps.wait(ec_steps.verify(P384, public, digest, signature))`. P-256 with its table or in
machine code is so fast that it needs none.
"""

from est.ec import Curve
from est.entropy import random
from est.windows import Windows


def public(curve, private):
    """As curve.public."""
    return _steps(curve, "public", private)


def sign(curve, private, digest, entropy=None, public=None):
    """As curve.sign."""
    extra = (entropy or random)(curve.size)
    return _steps(curve, "sign", private, digest, lambda count: extra, public)


def verify(curve, public, digest, signature):
    """As curve.verify."""
    return _steps(curve, "verify", public, digest, signature)


def ecdh(curve, private, public):
    """As curve.ecdh."""
    return _steps(curve, "ecdh", private, public)


class _Wanted(Exception):
    pass


class _Known(Curve):
    # The same curve, which multiplies by looking up what was multiplied before.
    def __init__(self, curve):
        for name in ("name", "size", "p", "b", "n", "generator"):
            setattr(self, name, getattr(curve, name))
        self._fast = self
        self._products = {}
        self._windows = Windows(curve)

    def base(self, k, entropy):
        point = self.blinded(self.generator, entropy)
        return self._windows.affine(*self.both(k, point, 0))

    def both(self, k, point, u):
        if (k, u) not in self._products:
            raise _Wanted(k, point, u)
        return self._products[k, u]

    def multiply(self, k, point, u):
        # In steps.
        product = yield from _last(self._windows.steps(k, point))
        if u:
            base = yield from _last(self._windows.steps(u, self.generator + (1,)))
            product = self._windows.add(product + base)
        self._products[k, u] = product


def _steps(curve, name, *arguments):
    # The operation starts anew once the product it wants is known. All else that it does is short,
    # and it comes to the same numbers again: sign's randomness is drawn before.
    known = _Known(curve)
    while True:
        try:
            return getattr(known, name)(*arguments)
        except _Wanted as error:
            wanted = error.args
        yield from known.multiply(*wanted)


def _last(points):
    for point in points:
        yield
    return point
