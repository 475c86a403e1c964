"""The stand-in for cryptolib does on CPython what MicroPython's own does."""

import binascii

import cryptolib

import check

KEY = bytes(range(16))
# 48 zero octets under AES-128-CBC, as `openssl enc` gives them too.
CBC = binascii.unhexlify(
    "c6a13b37878f5b826f4f8162a1c8d879af9d9926f7dac87192b1c4143ad98958"
    "1d2bd041b903bc5fa2dca1378dc1f3e2"
)


def test_cbc_goes_on_from_call_to_call():
    aes = cryptolib.aes(KEY, 2, bytes(16))
    assert aes.encrypt(bytes(32)) + aes.encrypt(bytes(16)) == CBC
    aes = cryptolib.aes(KEY, 2, bytes(16))
    assert aes.decrypt(CBC[:16]) + aes.decrypt(CBC[16:]) == bytes(48)


def test_output_buffer():
    aes = cryptolib.aes(KEY + KEY, 1)
    out = bytearray(16)
    aes.encrypt(bytes(16), out)
    assert cryptolib.aes(KEY + KEY, 1).decrypt(bytes(out)) == bytes(16)
    check.raises(ValueError, aes.encrypt, bytes(32), out)


def test_wrong_use():
    check.raises(ValueError, cryptolib.aes, bytes(24), 1)
    check.raises(ValueError, cryptolib.aes, KEY, 2)
    check.raises(ValueError, cryptolib.aes, KEY, 2, bytes(15))
    check.raises(ValueError, cryptolib.aes, KEY, 7, bytes(16))
    aes = cryptolib.aes(KEY, 1)
    check.raises(ValueError, aes.encrypt, bytes(15))
    aes.encrypt(bytes(16))
    check.raises(ValueError, aes.decrypt, bytes(16))
