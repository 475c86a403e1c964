"""Private keys under a password: EncryptedPrivateKeyInfo (RFC 5958 3) with PBES2 (RFC 8018 6.2).

PBKDF2 with HMAC over SHA-1 or SHA-2, and AES-CBC, as openssl writes them.
"""

from micropython import const

from est import asn1, cbc, der, kdf
from est.errors import PeerError, UsageError

_PBES2 = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d")
_PBKDF2 = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c")
_HMAC = const(b"\x2a\x86\x48\x86\xf7\x0d\x02")
_AES = const(b"\x60\x86\x48\x01\x65\x03\x04\x01")
_NULL = const(0x05)
_SUPPORTED = const("only PBES2 with PBKDF2 and AES-CBC of 128 or 256 bits is supported")
# Last arc of HMAC's hash -> its size.
_SIZES = {7: 20, 9: 32, 10: 48, 11: 64}
# Last arc of AES in CBC mode -> size of its key.
_KEYS = {2: 16, 42: 32}


def decrypt(data, password):
    """PrivateKeyInfo DER from EncryptedPrivateKeyInfo DER and the password (bytes), in steps.

    Raises UsageError, also for a wrong password.
    """
    private_key_info = yield from content(data, password)
    try:
        # With one wrong password in 256 the padding is right by chance.
        body = der.Reader(private_key_info)
        body.enter()
        body.end()
    except PeerError:
        raise UsageError("encrypted private key: the wrong key, or changed data")
    return private_key_info


def content(data, password):
    """As `decrypt`, whatever was encrypted; of the wrong passwords most raise UsageError."""
    try:
        body = der.Reader(data)
        fields = body.enter()
        body.end()
        parameters = _parameters(fields.enter(), _PBES2)
        encrypted = fields.bytes()
        fields.end()
        derivation = _parameters(parameters.enter(), _PBKDF2)
        cipher = parameters.enter()
        parameters.end()
        size = _KEYS.get(_last(cipher.oid(), _AES))
        iv = cipher.bytes()
        cipher.end()
        salt = derivation.bytes()
        iterations = derivation.integer()
        length = derivation.integer() if derivation.peek() == asn1.INTEGER else size
        hash_size = 20
        if derivation.more():
            function = derivation.enter()
            hash_size = _SIZES.get(_last(function.oid(), _HMAC))
            if function.more():
                function.skip(_NULL)
            function.end()
        derivation.end()
        if not (size and hash_size and length == size):
            raise UsageError(_SUPPORTED)
        key = yield from kdf.pbkdf2(hash_size, password, salt, iterations, size)
        return cbc.decrypt(key, iv, encrypted)
    except (PeerError, UsageError) as error:
        raise UsageError("encrypted private key: %s" % error)


def _parameters(algorithm, oid):
    # Reader of the parameters of the AlgorithmIdentifier of `oid`.
    if algorithm.oid() != oid:
        raise UsageError(_SUPPORTED)
    inner = algorithm.enter()
    algorithm.end()
    return inner


def _last(oid, stem):
    # Last arc of an `oid` that starts with `stem`, else 0.
    return oid[-1] if oid[:-1] == stem else 0
