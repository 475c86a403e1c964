"""MicroPython's cryptolib for CPython, over cryptography: AES in ECB (1) and CBC (2) mode."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


class aes:
    def __init__(self, key, mode, iv=None):
        if len(key) not in (16, 32):
            raise ValueError("key")
        if mode not in (1, 2):
            raise ValueError("mode")
        if mode == 2 and (iv is None or len(iv) != 16):
            raise ValueError("IV")
        cipher = Cipher(algorithms.AES(key), modes.ECB() if mode == 1 else modes.CBC(iv))
        self._contexts = {"encrypt": cipher.encryptor, "decrypt": cipher.decryptor}
        self._used = None
        self._context = None

    def encrypt(self, data, out=None):
        return self._process("encrypt", data, out)

    def decrypt(self, data, out=None):
        return self._process("decrypt", data, out)

    def _process(self, direction, data, out):
        # One object goes one way; the next call goes on where the last one ended.
        if self._used not in (None, direction):
            raise ValueError("can't encrypt & decrypt")
        if len(data) % 16:
            raise ValueError("blksize % 16")
        if self._context is None:
            self._used = direction
            self._context = self._contexts[direction]()
        result = self._context.update(data)
        if out is None:
            return result
        if len(out) < len(result):
            raise ValueError("output too small")
        out[: len(result)] = result
        return out
