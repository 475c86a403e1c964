"""P-256 in machine code for ARMv6-M and all later Cortex-M, as RP2040 and RP2350 have.

Chosen by est.comb. `_run` interprets a program of field operations in one call, in a time that
depends on the program alone. Values are Montgomery's, times 2^256, those of tables excepted.
"""

from micropython import const

from est.comb import Comb

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


@micropython.asm_thumb
def _run(r0, r1):
    # r0: memory, r1: program.
    mov(r4, r8)
    mov(r5, r9)
    mov(r6, r10)
    mov(r7, r11)
    push({r4, r5, r6, r7})
    push({r0, r1, r2, r3})
    label(NEXT)
    data(2, 0x9C01)  # ldr r4, [sp, 4]
    ldrb(r2, [r4, 0])
    ldrb(r0, [r4, 2])
    ldrb(r3, [r4, 3])
    ldrb(r1, [r4, 4])
    add(r4, 6)
    data(2, 0x9401)  # str r4, [sp, 4]
    cmp(r2, 46)
    bne(GO)
    b(EXIT)
    label(GO)
    data(2, 0x9D00)  # ldr r5, [sp, 0]
    lsl(r2, r2, 27)
    lsr(r2, r2, 22)
    add(r2, r2, r5)
    lsl(r0, r0, 27)
    lsr(r0, r0, 22)
    add(r0, r0, r5)
    lsl(r1, r1, 27)
    lsr(r1, r1, 22)
    add(r1, r1, r5)
    mov(r6, 0)
    cmp(r3, 43)
    beq(PLUS)
    bhi(MINUS)
    b(TIMES)
    # Sum, carry in r7.
    label(PLUS)
    ldr(r3, [r0, 0])
    ldr(r4, [r1, 0])
    add(r3, r3, r4)
    str(r3, [r2, 0])
    ldr(r3, [r0, 4])
    ldr(r4, [r1, 4])
    adc(r3, r4)
    str(r3, [r2, 4])
    ldr(r3, [r0, 8])
    ldr(r4, [r1, 8])
    adc(r3, r4)
    str(r3, [r2, 8])
    ldr(r3, [r0, 12])
    ldr(r4, [r1, 12])
    adc(r3, r4)
    str(r3, [r2, 12])
    ldr(r3, [r0, 16])
    ldr(r4, [r1, 16])
    adc(r3, r4)
    str(r3, [r2, 16])
    ldr(r3, [r0, 20])
    ldr(r4, [r1, 20])
    adc(r3, r4)
    str(r3, [r2, 20])
    ldr(r3, [r0, 24])
    ldr(r4, [r1, 24])
    adc(r3, r4)
    str(r3, [r2, 24])
    ldr(r3, [r0, 28])
    ldr(r4, [r1, 28])
    adc(r3, r4)
    str(r3, [r2, 28])
    mov(r7, 0)
    adc(r7, r7)
    mov(r0, r2)
    mov(r1, r2)
    b(REDUCE)
    # Difference; r7 is all ones if p has to be added.
    label(MINUS)
    ldr(r3, [r0, 0])
    ldr(r4, [r1, 0])
    sub(r3, r3, r4)
    str(r3, [r2, 0])
    ldr(r3, [r0, 4])
    ldr(r4, [r1, 4])
    sbc(r3, r4)
    str(r3, [r2, 4])
    ldr(r3, [r0, 8])
    ldr(r4, [r1, 8])
    sbc(r3, r4)
    str(r3, [r2, 8])
    ldr(r3, [r0, 12])
    ldr(r4, [r1, 12])
    sbc(r3, r4)
    str(r3, [r2, 12])
    ldr(r3, [r0, 16])
    ldr(r4, [r1, 16])
    sbc(r3, r4)
    str(r3, [r2, 16])
    ldr(r3, [r0, 20])
    ldr(r4, [r1, 20])
    sbc(r3, r4)
    str(r3, [r2, 20])
    ldr(r3, [r0, 24])
    ldr(r4, [r1, 24])
    sbc(r3, r4)
    str(r3, [r2, 24])
    ldr(r3, [r0, 28])
    ldr(r4, [r1, 28])
    sbc(r3, r4)
    str(r3, [r2, 28])
    sbc(r7, r7)
    mov(r1, r2)
    b(CORRECT)
    # [r1] = [r0], carry r7, less p unless that is negative.
    label(REDUCE)
    mov(r5, 0)
    mvn(r5, r5)
    mov(r4, 1)
    ldr(r3, [r0, 0])
    sub(r3, r3, r5)
    str(r3, [r1, 0])
    ldr(r3, [r0, 4])
    sbc(r3, r5)
    str(r3, [r1, 4])
    ldr(r3, [r0, 8])
    sbc(r3, r5)
    str(r3, [r1, 8])
    ldr(r3, [r0, 12])
    sbc(r3, r6)
    str(r3, [r1, 12])
    ldr(r3, [r0, 16])
    sbc(r3, r6)
    str(r3, [r1, 16])
    ldr(r3, [r0, 20])
    sbc(r3, r6)
    str(r3, [r1, 20])
    ldr(r3, [r0, 24])
    sbc(r3, r4)
    str(r3, [r1, 24])
    ldr(r3, [r0, 28])
    sbc(r3, r5)
    str(r3, [r1, 28])
    sbc(r7, r6)
    # [r1] += p masked by r7.
    label(CORRECT)
    lsr(r4, r7, 31)
    ldr(r3, [r1, 0])
    add(r3, r3, r7)
    str(r3, [r1, 0])
    ldr(r3, [r1, 4])
    adc(r3, r7)
    str(r3, [r1, 4])
    ldr(r3, [r1, 8])
    adc(r3, r7)
    str(r3, [r1, 8])
    ldr(r3, [r1, 12])
    adc(r3, r6)
    str(r3, [r1, 12])
    ldr(r3, [r1, 16])
    adc(r3, r6)
    str(r3, [r1, 16])
    ldr(r3, [r1, 20])
    adc(r3, r6)
    str(r3, [r1, 20])
    ldr(r3, [r1, 24])
    adc(r3, r4)
    str(r3, [r1, 24])
    ldr(r3, [r1, 28])
    adc(r3, r7)
    str(r3, [r1, 28])
    b(NEXT)
    # Columns of products of 16-bit digits, the lowest first, each entered at its first product.
    # r4, r5: sum; r7: digit of the result; r8: entry; r10, r11: first and last entry; r9: what
    # follows a column, GROW until it has 16 products, then SHRINK.
    label(TIMES)
    data(2, 0x9202)  # str r2, [sp, 8]
    data(2, 0x9F00)  # ldr r7, [sp, 0]
    mov(r4, 0)
    mov(r5, 0)
    sub(r1, 30)
    mov(r2, pc)
    add(r2, 18)
    mov(r10, r2)
    mov(r3, r2)
    add(r3, 160)
    mov(r11, r3)
    add(r3, 14)
    mov(r9, r3)
    add(r2, 150)
    mov(r8, r2)
    mov(pc, r2)
    # 18 bytes on from where pc was read.
    ldrh(r2, [r0, 30])
    ldrh(r3, [r1, 0])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 28])
    ldrh(r3, [r1, 2])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 26])
    ldrh(r3, [r1, 4])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 24])
    ldrh(r3, [r1, 6])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 22])
    ldrh(r3, [r1, 8])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 20])
    ldrh(r3, [r1, 10])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 18])
    ldrh(r3, [r1, 12])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 16])
    ldrh(r3, [r1, 14])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 14])
    ldrh(r3, [r1, 16])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 12])
    ldrh(r3, [r1, 18])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 10])
    ldrh(r3, [r1, 20])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 8])
    ldrh(r3, [r1, 22])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 6])
    ldrh(r3, [r1, 24])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 4])
    ldrh(r3, [r1, 26])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 2])
    ldrh(r3, [r1, 28])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    ldrh(r2, [r0, 0])
    ldrh(r3, [r1, 30])
    mul(r2, r3)
    add(r4, r4, r2)
    adc(r5, r6)
    strh(r4, [r7, 0])
    add(r7, 2)
    lsr(r4, r4, 16)
    lsl(r5, r5, 16)
    orr(r4, r5)
    mov(r5, 0)
    mov(pc, r9)
    # GROW, 14 bytes on from the last entry.
    add(r1, 2)
    mov(r2, r8)
    sub(r2, 10)
    mov(r8, r2)
    data(2, 0x4552)  # cmp r2, r10
    bcc(TURN)
    mov(pc, r2)
    label(TURN)
    sub(r1, 2)
    mov(r2, r9)
    add(r2, 26)
    mov(r9, r2)
    mov(r2, r10)
    mov(r8, r2)
    # SHRINK, 26 bytes on from GROW.
    add(r0, 2)
    mov(r2, r8)
    add(r2, 10)
    mov(r8, r2)
    data(2, 0x455A)  # cmp r2, r11
    bcs(PRODUCT)
    mov(pc, r2)
    label(PRODUCT)
    strh(r4, [r7, 0])
    # Montgomery's reduction: with m the lowest word, adding m * p clears it, for p is -1 modulo
    # 2^96: m goes to words 3 and 6, -m to word 7, m to word 8. r7: the carry into word 9.
    data(2, 0x9800)  # ldr r0, [sp, 0]
    mov(r1, r0)
    add(r1, 32)
    mov(r7, 0)
    label(WORD)
    ldr(r2, [r0, 0])
    neg(r4, r2)
    mov(r5, r2)
    sbc(r5, r6)
    add(r5, r5, r7)
    ldr(r3, [r0, 12])
    add(r3, r3, r2)
    str(r3, [r0, 12])
    ldr(r3, [r0, 16])
    adc(r3, r6)
    str(r3, [r0, 16])
    ldr(r3, [r0, 20])
    adc(r3, r6)
    str(r3, [r0, 20])
    ldr(r3, [r0, 24])
    adc(r3, r2)
    str(r3, [r0, 24])
    ldr(r3, [r0, 28])
    adc(r3, r4)
    str(r3, [r0, 28])
    ldr(r3, [r0, 32])
    adc(r3, r5)
    str(r3, [r0, 32])
    mov(r7, 0)
    adc(r7, r7)
    add(r0, 4)
    cmp(r0, r1)
    bne(WORD)
    data(2, 0x9902)  # ldr r1, [sp, 8]
    b(REDUCE)
    label(EXIT)
    pop({r0, r1, r2, r3})
    pop({r4, r5, r6, r7})
    mov(r8, r4)
    mov(r9, r5)
    mov(r10, r6)
    mov(r11, r7)
    mov(r0, 0)


class Thumb(Comb):
    """A Comb whose field operations are machine code."""

    def __init__(self, curve, table):
        super().__init__(curve, table)
        self._mixed = [_MIXED + sign + b"v=v*z " + _ADD for sign in _SIGNS]
        self._full = [_FULL + sign + _ADD for sign in _SIGNS]

    def base(self, k, entropy):
        memory = None
        for points in self._digits(k):
            if memory:
                _run(memory, _DOUBLE)
            else:
                point = self._point(*points.pop(0))
                memory = _enter(*self._curve.blinded(point, entropy))
            self._add(memory, points)
        point = _leave(memory)
        return self._curve.affine(*point) if point else self._curve.base(k, entropy)

    def both(self, k, point, u):
        memory = _enter(*point)
        table = [memory[_SUM:]]
        _run(memory, _DOUBLE)
        twice = memory[_SUM:]
        memory[_SUM:] = table[0]
        for _ in range(7):
            memory[_POINT:_SUM] = twice
            _run(memory, self._full[0])
            table.append(memory[_SUM:])
        windows = self._curve.digits(k)
        index, negative = next(windows)
        memory[_SUM:] = table[index]
        _run(memory, _NEGATE[negative])
        steps = u and self._steps
        digits = self._digits(u)
        at = 8 * self._curve.size
        for index, negative in windows:
            for _ in range(4):
                at -= 1
                _run(memory, _DOUBLE)
                if at < steps:
                    self._add(memory, next(digits))
            memory[_POINT:_SUM] = table[index]
            _run(memory, self._full[negative])
        return _leave(memory) or Comb.both(self, k, point, u)

    def _add(self, memory, points):
        for at, negate in points:
            memory[_POINT : _POINT + 64] = self._table[at : at + 64]
            _run(memory, self._mixed[negate])


def _enter(x, y, z):
    # The memory of a program with this point as x y z.
    memory = bytearray(_SIZE)
    memory[_ONE] = 1
    memory[_SQUARE : _SQUARE + 32] = _R2
    memory[_SUM:] = b"".join([value.to_bytes(32, "little") for value in (x, y, z)])
    _run(memory, _ENTER)
    return memory


def _leave(memory):
    # (x, y, z), or None if z = 0.
    _run(memory, _LEAVE)
    point = [int.from_bytes(memory[at : at + 32], "little") for at in range(_SUM, _SIZE, 32)]
    return tuple(point) if point[2] else None
