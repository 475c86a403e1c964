"""What a board is to have a certificate for, and whether what it made is that."""

import base64
import hashlib
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from mpest.exits import CliError
from mpest.sim import cpython
from mpest.station.errors import NotProven, RequestDiffers

_OID = 0x06
_SUBJECT_ALT_NAME = "2.5.29.17"
_EXTENSION_REQUEST = bytes.fromhex("2a864886f70d01090e")  # content octets of its OID
_HARDWARE_MODULE_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4")
# Of a challenge, so that its signature is good for nothing else.
PURPOSE = b"mpest station: proof of possession\0"
_GENERAL_NAMES: dict[str, Callable[[str], x509.GeneralName]] = {
    "dns": x509.DNSName,
    "email": x509.RFC822Name,
    "ip": lambda text: x509.IPAddress(ipaddress.ip_address(text)),
    "uri": x509.UniformResourceIdentifier,
}
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}


@dataclass(frozen=True)
class Request:
    """What a board is to ask for, and what it needs to know of the server for that.

    subject, san: as config.json has them, without `{id}`; key_type: as there, "" for any. They are
    what the board's config.json must lead to. cacerts, csrattrs: the server's answers (DER);
    csrattrs is empty where it has none. now: Unix seconds. date: the server's Date header.
    hardware: of a birth certificate, the type of hardware (dotted OID) and its serial number,
    which go into a hardwareModuleName (RFC 4108 5, IEEE 802.1AR 8.6).
    """

    subject: str
    san: tuple[str, ...] = ()
    key_type: str = ""
    hardware: tuple[str, bytes] | None = None
    cacerts: bytes = b""
    csrattrs: bytes = b""
    now: int = 0
    date: str = ""

    def order(self) -> dict[str, Any]:
        """As the device code takes it."""
        answers = {"cacerts": _text(self.cacerts), "date": self.date}
        if self.csrattrs:
            answers["csrattrs"] = _text(self.csrattrs)
        return {"now": self.now, "answers": answers, "birth": None}

    def birth(self) -> dict[str, Any]:
        """As the device code takes it for a birth certificate, for which config.json says nothing.

        Its path must lead to a root in `cacerts`. Raises CliError.
        """
        _, names = _names(self)
        extra = []
        if names:
            value = x509.SubjectAlternativeName(names).public_bytes()
            extra = [[_EXTENSION_REQUEST.hex(), _extension_request(value).hex()]]
        birth = {
            "subject": self.subject,
            "extra": extra,
            "key": self.key_type or None,
            "anchors": [_text(root) for root in _roots(self.cacerts)],
        }
        return {**self.order(), "birth": birth}


def _roots(cacerts: bytes) -> list[bytes]:
    try:
        certificates = pkcs7.load_der_pkcs7_certificates(cacerts)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CliError(f"the server's /cacerts cannot be read: {error}") from None
    roots = [entry for entry in certificates if entry.subject == entry.issuer]
    return [entry.public_bytes(Encoding.DER) for entry in roots]


def _extension_request(san: bytes) -> bytes:
    """The extensions of a request (RFC 2985 5.4.2) with that subjectAltName, DER."""
    der = import_module("est.der")
    oid = der.tlv(_OID, import_module("est.extensions").oid(_SUBJECT_ALT_NAME))
    encoded: bytes = der.sequence(der.sequence(oid, der.octets(san)))
    return encoded


def _hardware_module_name(kind: str, serial: bytes) -> x509.OtherName:
    der = import_module("est.der")
    oid = der.tlv(_OID, import_module("est.extensions").oid(kind))
    return x509.OtherName(_HARDWARE_MODULE_NAME, der.sequence(oid, der.octets(serial)))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def key_hash(key: Any) -> str:
    """SHA-256 in hex of the SubjectPublicKeyInfo (DER) of a public key."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def check(csr: bytes, request: Request, board: str) -> str:
    """The key hash of a CertificationRequest (DER) that a board made. Raises RequestDiffers.

    Its names and its type of key must be those of `request`, and its signature good.
    """
    try:
        parsed = x509.load_der_x509_csr(csr)
        key = parsed.public_key()
        signed = parsed.is_signature_valid
        subject = parsed.subject.public_bytes()
        san = _alternative_names(parsed)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise RequestDiffers(f"{board}: its request cannot be read: {error}") from None
    if not signed:
        raise RequestDiffers(f"{board}: its request is not signed by its own key")
    wanted_subject, wanted_san = _names(request)
    if subject != wanted_subject:
        raise RequestDiffers(
            f"{board}: its request is for {parsed.subject.rfc4514_string()!r}, the job's is for "
            f"{request.subject!r}: see subject in config.json, or wipe the board"
        )
    if not wanted_san <= san:
        lacking = ", ".join(str(name.value) for name in wanted_san - san)
        raise RequestDiffers(
            f"{board}: its request lacks the alternative name {lacking}: see san in config.json, "
            "or wipe the board"
        )
    if request.key_type and (found := _key_type(key)) != request.key_type:
        raise RequestDiffers(
            f"{board}: its key is {found}, the job's {request.key_type}: see key in config.json, "
            "or wipe the board"
        )
    return key_hash(key)


def _names(request: Request) -> tuple[bytes, set[x509.GeneralName]]:
    """(Name in DER as est makes it, alternative names). Raises CliError."""
    cpython.install()
    try:
        subject: bytes = import_module("est.names").name(request.subject)
        import_module("est.extensions").requested(request.san)
        pairs = [name.partition(":")[::2] for name in request.san]
        san = {_GENERAL_NAMES[kind.lower()](value) for kind, value in pairs}
        if request.hardware:
            san.add(_hardware_module_name(*request.hardware))
    except (import_module("est.errors").EstError, ValueError) as error:
        raise CliError(str(error)) from None
    return subject, san


def _alternative_names(csr: x509.CertificateSigningRequest) -> set[x509.GeneralName]:
    try:
        extension = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return set(extension.value)


def _key_type(key: Any) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, key.curve.name)
    return f"RSA-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else "of another kind"


def issued(answer: bytes, key: str, board: str) -> list[bytes]:
    """The certificates (DER) of certs-only CMS (DER) `answer`, the one for that key hash first.

    Raises NotProven where there is none for it.
    """
    try:
        certificates = pkcs7.load_der_pkcs7_certificates(answer)
        others = [entry for entry in certificates if key_hash(entry.public_key()) != key]
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise NotProven(f"{board}: the server's answer cannot be read: {error}") from None
    ours = [entry for entry in certificates if entry not in others]
    if not ours:
        raise NotProven(
            f"{board}: the server issued a certificate for another key; the board keeps its order"
        )
    return [entry.public_bytes(Encoding.DER) for entry in (*ours, *others)]


def verify(leaf: bytes, challenge: bytes, signature: bytes, board: str) -> None:
    """Raise NotProven unless `signature` over the challenge is by the key of certificate `leaf`.

    It is with the hash of the key's size, as est signs.
    """
    key = x509.load_der_x509_certificate(leaf).public_key()
    message = PURPOSE + challenge
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            digest = hashes.SHA384() if key.curve.name == "secp384r1" else hashes.SHA256()
            key.verify(signature, message, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        else:
            raise InvalidSignature
    except InvalidSignature:
        raise NotProven(f"{board}: its key is not that of its certificate: set it aside") from None
