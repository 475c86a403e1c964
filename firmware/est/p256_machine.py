"""P-256 on field operations in machine code: what est.p256_thumb and est.p256_rv32 share.

`run(memory, program)` of those interprets a program of field operations in one call, and branches
by the program alone. Values are Montgomery's, times 2^256, those of tables excepted.
"""

from micropython import const

from est.comb import Comb, contains, windows
from est.windows import digits

# A program is text: "x=y*z " or + or -, until a full stop. A letter's low 5 bits number one of 27
# places of 32 bytes; those of "@" and "a" are scratch.
_SIZE = const(27 * 32)
_ONE = const(14 * 32)  # n
_SQUARE = const(18 * 32)  # r
_POINT = const(21 * 32)  # u v w
_SUM = const(24 * 32)  # x y z

# 2^512 modulo p, little-endian.
_R2 = (
    b"\x03\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xfb\xff\xff\xff"
    b"\xfe\xff\xff\xff\xff\xff\xff\xff\xfd\xff\xff\xff\x04\x00\x00\x00"
)
_ENTER = b"x=x*r y=y*r z=z*r ."
_LEAVE = b"x=x*n y=y*n z=z*n ."
_NEGATE = (b"y=y-o .", b"y=o-y .")
# x y, which are z^2 z^3, times u v, which are not Montgomery's.
_FIRST = b"u=u*r x=x*u v=v*r y=y*v ."
_DOUBLE = (
    b"t=z*z d=y+y z=d*z e=d*y y=e+e e=e*y y=x*y d=x-t t=x+t d=d*t t=d+d d=d+t "
    b"x=d*d x=x-y x=x-y y=y-x y=d*y y=y-e ."
)
# x y z plus u v, which are not Montgomery's and whose z is 1: t takes one more factor for that.
_MIXED = b"q=o-v t=z*z t=t*r u=u*t "
_SIGNS = (b"v=v*t ", b"v=q*t ")
# x y z plus u v w.
_FULL = b"q=o-v t=z*z u=u*t t=t*z p=w*w x=x*p p=p*w y=y*p z=z*w "
# z becomes 0, and stays so, where the points were equal or opposite or infinity.
_ADD = b"u=u-x v=v-y z=z*u t=u*u u=u*t t=x*t x=v*v x=x-u x=x-t x=x-t t=t-x t=v*t u=y*u y=t-u ."
# 1/z = z^(p-2) in t. Each four bytes: the result, what is squared, how often, and what that is
# multiplied by. b to f become z^(2^k - 1) for k from 2 to 32.
_INVERSE = (
    b"bz\x01zcb\x02bdc\x04ced\x08dfe\x10etf\x20ztt\x80ftt\x20ftt\x10ett\x08dtt\x04ctt\x02btt\x02z"
)
_AFFINE = b"u=t*t x=x*u u=u*t y=y*u ."
_SQUARES = const(16)  # of one program


class Machine(Comb):
    """A Comb whose field operations are machine code, which `run` interprets."""

    def __init__(self, curve, table, run):
        super().__init__(curve, table)
        self._run = run
        self._mixed = [_MIXED + sign + b"v=v*z " + _ADD for sign in _SIGNS]
        self._full = [_FULL + sign + _ADD for sign in _SIGNS]

    def base(self, k, entropy):
        memory = self._enter(*self.curve.blinded((1, 1), entropy))
        double = None
        for entries in self.entries(k):
            if double:
                self._run(memory, double)
            else:
                double = _DOUBLE
                memory[_POINT : _POINT + 64], negate = entries.pop(0)
                self._run(memory, _FIRST)
                self._run(memory, _NEGATE[negate])
            self._add(memory, entries)
        product = b"%c=%c*%c "
        for at in range(0, len(_INVERSE), 4):
            to, square, times, factor = _INVERSE[at : at + 4]
            program = product % (to, square, square)
            while times > 1:
                # In short programs, which fit anywhere in the heap.
                self._run(memory, program + b".")
                program = product % (to, to, to) * min(times - 1, _SQUARES)
                times -= _SQUARES
            self._run(memory, program + product % (to, to, factor) + b".")
        self._run(memory, _AFFINE)
        point = self._leave(memory)
        if point and contains(self.curve, *point[:2]):
            return point[:2]
        return windows(self.curve).base(k, entropy)

    def both(self, k, point, u):
        memory = self._enter(*point)
        table = [memory[_SUM:]]
        self._run(memory, _DOUBLE)
        twice = memory[_SUM:]
        memory[_SUM:] = table[0]
        for _ in range(7):
            memory[_POINT:_SUM] = twice
            self._run(memory, self._full[0])
            table.append(memory[_SUM:])
        odd = digits(self.curve, k)
        index, negative = next(odd)
        memory[_SUM:] = table[index]
        self._run(memory, _NEGATE[negative])
        steps = u and self.steps
        entries = self.entries(u)
        at = 8 * self.curve.size
        for index, negative in odd:
            for _ in range(4):
                at -= 1
                self._run(memory, _DOUBLE)
                if at < steps:
                    self._add(memory, next(entries))
            memory[_POINT:_SUM] = table[index]
            self._run(memory, self._full[negative])
        table = None  # a KB of heap, which is short where TLS has most of it
        product = self._leave(memory)
        if product and contains(self.curve, *product):
            return product
        return windows(self.curve).both(k, point, u)

    def _add(self, memory, entries):
        for entry, negate in entries:
            memory[_POINT : _POINT + 64] = entry
            self._run(memory, self._mixed[negate])

    def _enter(self, x, y, z):
        # The memory of a program with this point as x y z.
        memory = bytearray(_SIZE)
        memory[_ONE] = 1
        memory[_SQUARE : _SQUARE + 32] = _R2
        memory[_SUM:] = b"".join([value.to_bytes(32, "little") for value in (x, y, z)])
        self._run(memory, _ENTER)
        return memory

    def _leave(self, memory):
        # (x, y, z), or None if z = 0.
        self._run(memory, _LEAVE)
        point = [int.from_bytes(memory[at : at + 32], "little") for at in range(_SUM, _SIZE, 32)]
        return tuple(point) if point[2] else None
