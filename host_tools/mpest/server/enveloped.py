"""CMS that encrypts (RFC 5652, RFC 5083, RFC 5753), written with nothing of the device's code."""

import os
from collections.abc import Callable, Iterator
from typing import Literal

from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.ciphers import Cipher as AesCipher
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pyasn1_modules import rfc5652, rfc5751

from mpest.server import der
from mpest.server.signed_data import decode

Cipher = Literal["aes-128-cbc", "aes-192-cbc", "aes-256-cbc", "aes-128-gcm", "aes-256-gcm"]
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
WrapKey = Callable[[bytes], bytes]
"""RecipientInfo DER that brings the content's key."""

_AES = "2.16.840.1.101.3.4.1"
_CIPHERS: dict[Cipher, tuple[str, int]] = {
    "aes-128-cbc": (f"{_AES}.2", 16),
    "aes-192-cbc": (f"{_AES}.22", 24),
    "aes-256-cbc": (f"{_AES}.42", 32),
    "aes-128-gcm": (f"{_AES}.6", 16),
    "aes-256-gcm": (f"{_AES}.46", 32),
}
_WRAPS = {16: f"{_AES}.5", 24: f"{_AES}.25", 32: f"{_AES}.45"}
_DATA = "1.2.840.113549.1.7.1"
_ENVELOPED_DATA = "1.2.840.113549.1.7.3"
_ENCRYPTED_DATA = "1.2.840.113549.1.7.6"
_AUTH_ENVELOPED_DATA = "1.2.840.113549.1.9.16.1.23"
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
_RSAES_OAEP = "1.2.840.113549.1.1.7"
_MGF1 = "1.2.840.113549.1.1.8"
_EC_PUBLIC_KEY = "1.2.840.10045.2.1"
_ECDH_SHA256_KDF = "1.3.132.1.11.1"
_SHA256 = "2.16.840.1.101.3.4.2.1"
_PBES2 = "1.2.840.113549.1.5.13"
_PBKDF2 = "1.2.840.113549.1.5.12"
_HMAC_SHA256 = "1.2.840.113549.2.9"
_ITERATIONS = 2048  # a board works some seconds at as many
_TAG = 16
_NULL = der.tlv(0x05)


def capabilities(value: bytes) -> Iterator[str]:
    """OIDs of SMIMECapabilities DER; `value` lacks tag and length. Raises ValueError."""
    for one in decode(der.sequence(value), rfc5751.SMIMECapabilities()):
        yield str(one["capabilityID"])


def first_cipher(oids: tuple[str, ...]) -> Cipher:
    """The first cipher that is named, else AES-256-CBC."""
    known = {oid: name for name, (oid, _) in _CIPHERS.items()}
    return next((known[oid] for oid in oids if oid in known), "aes-256-cbc")


def takes_oaep(oids: tuple[str, ...]) -> bool:
    return _RSA_ENCRYPTION not in oids or _RSAES_OAEP in oids


def to_secret(identifier: bytes, kek: bytes) -> WrapKey:
    """KEKRecipientInfo with AES key wrap (RFC 5652 6.2.3, RFC 3565)."""
    return lambda key: der.tlv(
        0xA2,
        der.integer(4),
        der.sequence(der.octet_string(identifier)),
        der.sequence(der.oid(_WRAPS[len(kek)])),
        der.octet_string(aes_key_wrap(kek, key)),
    )


def to_rsa(identifier: bytes, public: rsa.RSAPublicKey, *, oaep: bool) -> WrapKey:
    """KeyTransRecipientInfo for the subject key `identifier` (RFC 5652 6.2.1, RFC 3560)."""
    if oaep:
        sha256 = der.sequence(der.oid(_SHA256), _NULL)
        mask = der.sequence(der.oid(_MGF1), sha256)
        parameters = der.sequence(der.tlv(0xA0, sha256), der.tlv(0xA1, mask))
        algorithm = der.sequence(der.oid(_RSAES_OAEP), parameters)
    else:
        algorithm = der.sequence(der.oid(_RSA_ENCRYPTION), _NULL)

    def wrap(key: bytes) -> bytes:
        if oaep:
            digest = hashes.SHA256()
            encrypted = public.encrypt(
                key, rsa_padding.OAEP(rsa_padding.MGF1(digest), digest, None)
            )
        else:
            encrypted = public.encrypt(key, rsa_padding.PKCS1v15())
        named = der.tlv(0x80, identifier)
        return der.sequence(der.integer(2), named, algorithm, der.octet_string(encrypted))

    return wrap


def to_ec(identifier: bytes, public: ec.EllipticCurvePublicKey) -> WrapKey:
    """KeyAgreeRecipientInfo with an ephemeral key (RFC 5753 3.1.1), KDF with SHA-256."""

    def wrap(key: bytes) -> bytes:
        ephemeral = ec.generate_private_key(public.curve)
        point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        material = os.urandom(16)
        wrapping = der.sequence(der.oid(_WRAPS[16]))
        bits = der.octet_string((8 * 16).to_bytes(4, "big"))
        ukm = der.octet_string(material)
        info = der.sequence(wrapping, der.tlv(0xA0, ukm), der.tlv(0xA2, bits))
        shared = ephemeral.exchange(ec.ECDH(), public)
        kek = X963KDF(hashes.SHA256(), 16, info).derive(shared)
        originator = der.sequence(der.oid(_EC_PUBLIC_KEY)), der.tlv(0x03, b"\0", point)
        recipient = der.tlv(0xA0, der.octet_string(identifier))
        return der.tlv(
            0xA1,
            der.integer(3),
            der.tlv(0xA0, der.tlv(0xA1, *originator)),
            der.tlv(0xA1, ukm),
            der.sequence(der.oid(_ECDH_SHA256_KDF), wrapping),
            der.sequence(der.sequence(recipient, der.octet_string(aes_key_wrap(kek, key)))),
        )

    return wrap


def envelop(kind: str, content: bytes, cipher: Cipher, to: WrapKey) -> bytes:
    """EnvelopedData of `content` of type `kind`; AuthEnvelopedData where `cipher` is AES-GCM."""
    oid, size = _CIPHERS[cipher]
    key = os.urandom(size)
    recipients = der.set_of(to(key))
    if not cipher.endswith("gcm"):
        iv = os.urandom(16)
        encrypted = _cbc(key, iv, content)
        algorithm = der.sequence(der.oid(oid), der.octet_string(iv))
        inner = _content_info(kind, algorithm, encrypted)
        return with_info(_ENVELOPED_DATA, der.sequence(der.integer(2), recipients, inner))
    attributes = b""
    if kind != _DATA:
        # RFC 5083 2.1 wants it for any other type.
        attributes = der.set_of(der.sequence(der.oid(_CONTENT_TYPE), der.set_of(der.oid(kind))))
    nonce = os.urandom(12)
    sealed = AESGCM(key).encrypt(nonce, content, attributes)
    parameters = der.sequence(der.octet_string(nonce), der.integer(_TAG))
    inner = _content_info(kind, der.sequence(der.oid(oid), parameters), sealed[:-_TAG])
    tagged = b"\xa1" + attributes[1:] if attributes else b""
    mac = der.octet_string(sealed[-_TAG:])
    return with_info(
        _AUTH_ENVELOPED_DATA, der.sequence(der.integer(0), recipients, inner, tagged, mac)
    )


def with_password(kind: str, content: bytes, password: bytes) -> bytes:
    """EncryptedData under a password: PBES2 of RFC 8018 with AES-256-CBC."""
    salt, iv = os.urandom(16), os.urandom(16)
    key = PBKDF2HMAC(hashes.SHA256(), 32, salt, _ITERATIONS).derive(password)
    prf = der.sequence(der.oid(_HMAC_SHA256), _NULL)
    derivation = der.sequence(der.octet_string(salt), der.integer(_ITERATIONS), prf)
    scheme = der.sequence(der.oid(_CIPHERS["aes-256-cbc"][0]), der.octet_string(iv))
    parameters = der.sequence(der.sequence(der.oid(_PBKDF2), derivation), scheme)
    algorithm = der.sequence(der.oid(_PBES2), parameters)
    inner = _content_info(kind, algorithm, _cbc(key, iv, content))
    return with_info(_ENCRYPTED_DATA, der.sequence(der.integer(0), inner))


def with_psk(content: bytes, key: bytes) -> bytes:
    """EncryptedData under AES-GCM key `key` as Go's pkcs7, and so globalsign/est, writes it: with
    parameters that are not those of RFC 5084, the tag at the end, and the type always data.
    """
    nonce = os.urandom(12)
    parameters = der.sequence(der.tlv(0x84, nonce), der.integer(_TAG))
    oid, _ = _CIPHERS["aes-128-gcm" if len(key) == 16 else "aes-256-gcm"]
    algorithm = der.sequence(der.oid(oid), der.tlv(0x10, parameters))
    inner = _content_info(_DATA, algorithm, AESGCM(key).encrypt(nonce, content, None))
    return with_info(_ENCRYPTED_DATA, der.sequence(der.integer(0), inner))


def without_info(info: bytes) -> bytes:
    """What a ContentInfo holds: encrypted, SignedData stands without it (RFC 5652 6.1)."""
    return bytes(decode(info, rfc5652.ContentInfo())["content"])


def with_info(kind: str, content: bytes) -> bytes:
    """ContentInfo around `content` of type `kind`."""
    return der.sequence(der.oid(kind), der.tlv(0xA0, content))


def _content_info(kind: str, algorithm: bytes, encrypted: bytes) -> bytes:
    return der.sequence(der.oid(kind), algorithm, der.tlv(0x80, encrypted))


def _cbc(key: bytes, iv: bytes, content: bytes) -> bytes:
    padder = padding.PKCS7(128).padder()
    encryptor = AesCipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
