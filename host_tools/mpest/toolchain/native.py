"""Makes native functions, as of @micropython.viper, of the inline assembler's in .mpy files.

Stock firmware of ESP32 runs native functions but has no inline assembler for RISC-V: it takes
the assembler's for bytecode. Such a function must tell by its arguments how it is called, by the
assembler's convention or with (function, count of arguments, 0, their array). The format is
that of MicroPython's py/persistentcode.c.
"""

_BYTECODE, _NATIVE, _VIPER, _ASSEMBLER = range(4)
_NO_DATA = range(5)  # objects: the function table, None, False, True, ...
_TEXT = (5, 6)  # str, bytes: zero follows
_TUPLE = 10


def from_assembler(compiled: bytes) -> bytes:
    """`compiled`, a module's .mpy, with each function of the assembler made a native one."""
    reader = _Reader(compiled)
    reader.skip(4)
    names, objects = reader.number(), reader.number()
    for _ in range(names):
        length = reader.number()
        if not length & 1:  # else one of MicroPython's own
            reader.skip((length >> 1) + 1)
    for _ in range(objects):
        reader.object()
    return compiled[: reader.at] + reader.function()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def skip(self, count: int) -> bytes:
        self.at += count
        return self._data[self.at - count : self.at]

    def number(self) -> int:
        value = 0
        while True:
            (byte,) = self.skip(1)
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value

    def object(self) -> None:
        (kind,) = self.skip(1)
        if kind == _TUPLE:
            for _ in range(self.number()):
                self.object()
        elif kind not in _NO_DATA:
            self.skip(self.number() + (kind in _TEXT))

    def function(self) -> bytes:
        """The function here and those within it, converted."""
        start = self.at
        head = self.number()
        kind, has_children, length = head & 3, head & 4, head >> 3
        code = self.skip(length)
        if kind == _ASSEMBLER:
            flags = self.skip(1)
            self.number()  # count of arguments
            self.number()  # types of arguments and result
            return _number(head - _ASSEMBLER + _VIPER) + code + flags
        if kind == _NATIVE:
            self.number()  # where its prelude begins
        elif kind == _VIPER:
            self.number()  # flags; what mpy-cross compiles has no data
        octets = self._data[start : self.at]
        if not has_children:
            return octets
        count = self.number()
        return octets + _number(count) + b"".join([self.function() for _ in range(count)])


def _number(value: int) -> bytes:
    out = bytes([value & 0x7F])
    while value := value >> 7:
        out = bytes([value & 0x7F | 0x80]) + out
    return out
