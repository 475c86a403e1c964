"""The /csrattrs answer: what the server would like to see in a CSR.

In the old style (RFC 7030 4.5.2 as clarified by RFC 8951 3.2), as a template (RFC 9908 3.4), or
both. Anything else can be given as raw DER.
"""

import binascii
import ipaddress
from typing import Annotated, Literal, Self, TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from mpest.server import der
from mpest.server.ca import USAGES, key_usage

CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105  an OID
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_TEMPLATE = "1.2.840.113549.1.9.16.2.61"
_EXTENSION_TEMPLATE = "1.2.840.113549.1.9.16.2.62"
_EXTENSION_TEMPLATE_AS_PRINTED = "1.2.840.113549.1.9.62"
_EC_PUBLIC_KEY = "1.2.840.10045.2.1"
_RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
_CURVES = {"P-256": "1.2.840.10045.3.1.7", "P-384": "1.3.132.0.34"}
_ECDSA = {
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}
_RSA = {
    "sha256": "1.2.840.113549.1.1.11",
    "sha384": "1.2.840.113549.1.1.12",
    "sha512": "1.2.840.113549.1.1.13",
}
EXTENSIONS = {
    "subjectAltName": ExtensionOID.SUBJECT_ALTERNATIVE_NAME.dotted_string,
    "keyUsage": ExtensionOID.KEY_USAGE.dotted_string,
    "extKeyUsage": ExtensionOID.EXTENDED_KEY_USAGE.dotted_string,
    "basicConstraints": ExtensionOID.BASIC_CONSTRAINTS.dotted_string,
}
_SAN = EXTENSIONS["subjectAltName"]
_GENERAL_NAMES = {"email": 0x81, "DNS": 0x82, "URI": 0x86, "IP": 0x87}
_PURPOSES = {
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
}
_Value = TypeVar("_Value")
_PRINTABLE, _IA5, _UTF8 = 0x13, 0x16, 0x0C
_SUBJECT = {
    "CN": (NameOID.COMMON_NAME, _UTF8),
    "O": (NameOID.ORGANIZATION_NAME, _UTF8),
    "OU": (NameOID.ORGANIZATIONAL_UNIT_NAME, _UTF8),
    "C": (NameOID.COUNTRY_NAME, _PRINTABLE),
    "ST": (NameOID.STATE_OR_PROVINCE_NAME, _UTF8),
    "L": (NameOID.LOCALITY_NAME, _UTF8),
    "serialNumber": (NameOID.SERIAL_NUMBER, _PRINTABLE),
    "emailAddress": (NameOID.EMAIL_ADDRESS, _IA5),
    "DC": (NameOID.DOMAIN_COMPONENT, _IA5),
}


def _check_oid(dotted: str) -> str:
    try:
        der.oid(dotted)
    except ValueError:
        raise ValueError(f"{dotted!r} is no OID such as 2.5.29.15") from None
    return dotted


def _decode(text: object) -> bytes:
    if not isinstance(text, str | bytes):
        raise ValueError("base64 is expected")
    try:
        octets = text.encode() if isinstance(text, str) else text
        return binascii.a2b_base64(b"".join(octets.split()), strict_mode=True)
    except ValueError:
        raise ValueError("base64 is expected") from None


def _named(text: object) -> object:
    if not isinstance(text, str) or text[:1].isdigit():
        return text
    return _known([text], EXTENSIONS)[0]


def _known(names: list[str], table: dict[str, _Value]) -> list[_Value]:
    for name in names:
        if name not in table:
            raise ValueError(f"{name!r} is none of {' '.join(table)}")
    return [table[name] for name in names]


def _check_rdn(text: str) -> str:
    _known([text.partition("=")[0]], _SUBJECT)
    return text


def _extension(item: object) -> object:
    if not isinstance(item, str | dict | RequestedExtension):
        raise ValueError("a name, an OID or a table with oid is expected")
    return {"oid": item} if isinstance(item, str) else item


Oid = Annotated[str, AfterValidator(_check_oid)]
ExtensionOid = Annotated[Oid, BeforeValidator(_named)]
Base64 = Annotated[bytes, BeforeValidator(_decode)]
Rdn = Annotated[str, AfterValidator(_check_rdn)]


class RequestedExtension(BaseModel):
    """An extension for the client to copy, to complete, or to give a value of its own."""

    model_config = ConfigDict(extra="forbid")

    oid: ExtensionOid
    """Dotted, or subjectAltName, keyUsage, extKeyUsage, basicConstraints."""
    critical: bool = False
    value: Base64 | None = None
    """base64 of the DER inside extnValue."""
    values: list[str] | None = None
    """The same in words: DNS:a.example, IP: (the client's own), digitalSignature, clientAuth."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.value is not None and self.values is not None:
            raise ValueError("an extension has value or values, not both")
        self.content()
        return self

    def content(self) -> bytes | None:
        """DER inside extnValue; None leaves it to the client. Raises ValueError."""
        if self.values is None:
            return self.value
        if self.oid == _SAN:
            return der.sequence(*map(_general_name, self.values))
        if self.oid == EXTENSIONS["keyUsage"]:
            return key_usage(*_known(self.values, USAGES)).public_bytes()
        if self.oid == EXTENSIONS["extKeyUsage"]:
            return x509.ExtendedKeyUsage(_known(self.values, _PURPOSES)).public_bytes()
        raise ValueError(f"{self.oid} takes no values in words: give value in base64")

    def open_names(self) -> list[str]:
        """Kinds of alternative names that the client is to fill in, such as IP."""
        return [one[:-1] for one in self.values or () if self.oid == _SAN and one[-1:] == ":"]

    def to_der(self) -> bytes:
        """An Extension, or the ExtensionTemplate of RFC 9908 where it has no value."""
        critical = der.tlv(0x01, b"\xff") if self.critical else b""
        content = self.content()
        value = b"" if content is None else der.octet_string(content)
        return der.sequence(der.oid(self.oid), critical, value)


class CsrAttrsPolicy(BaseModel):
    """The attributes to ask for; the default names a P-256 key and ECDSA with SHA-256."""

    model_config = ConfigDict(extra="forbid")

    style: Literal["old", "template", "both"] = "old"
    """`both` has the old elements first; who knows templates ignores them (RFC 9908 4)."""
    oids: list[Oid] = []
    """Sent as they are, first; in the old style only."""
    challenge_password: bool = False
    key: Literal["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"] | None = "P-256"
    extension_request: list[Annotated[RequestedExtension, BeforeValidator(_extension)]] = []
    """Names or OIDs only (RFC 7030 4.5.2), or extensions with their values (RFC 8951 3.2)."""
    digest: Literal["sha256", "sha384", "sha512"] | None = "sha256"
    """A template has no place for it."""
    subject: list[Rdn] | None = None
    """RDNs in order, `CN` for the client's own value or `OU=sensors`; needs a template."""
    extension_template_as_printed: bool = False
    """Use the OID that RFC 9908 prints in its example instead of the one it assigns."""
    raw_der_base64: Base64 | None = None
    """The whole CsrAttrs; everything else is ignored."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.style == "old" and self.subject is not None:
            raise ValueError("a subject can be asked for with style template or both only")
        if self.style != "template" and any(one.open_names() for one in self.extension_request):
            raise ValueError("names for the client to fill in need style template")
        return self

    def to_der(self) -> bytes:
        """CsrAttrs ::= SEQUENCE OF AttrOrOID."""
        if self.raw_der_base64 is not None:
            return self.raw_der_base64
        items = [] if self.style == "template" else self._old_items()
        if self.style != "old":
            items.append(_attribute(_TEMPLATE, self._template()))
        return der.sequence(*items)

    def _old_items(self) -> list[bytes]:
        items = [der.oid(dotted) for dotted in self.oids]
        if self.challenge_password:
            items.append(der.oid(CHALLENGE_PASSWORD))
        if self.key:
            items.append(_key_attribute(self.key))
        oids = [der.oid(one.oid) for one in self.extension_request if one.content() is None]
        if oids:
            items.append(_attribute(_EXTENSION_REQUEST, *oids))
        full = [one.to_der() for one in self.extension_request if one.content() is not None]
        if full:
            items.append(_attribute(_EXTENSION_REQUEST, der.sequence(*full)))
        if self.digest:
            rsa = self.key is not None and self.key.startswith("RSA")
            items.append(der.oid((_RSA if rsa else _ECDSA)[self.digest]))
        return items

    def _template(self) -> bytes:
        """CertificationRequestInfoTemplate."""
        parts = [der.integer(0)]
        if self.subject is not None:
            parts.append(der.sequence(*map(_rdn_template, self.subject)))
        if self.key:
            parts.append(_key_template(self.key))
        attributes = []
        if self.challenge_password:
            attributes.append(_attribute(CHALLENGE_PASSWORD, der.tlv(_UTF8)))
        extensions = self.extension_request
        if extensions:
            whole = all(one.content() is not None and not one.open_names() for one in extensions)
            partly = (
                _EXTENSION_TEMPLATE_AS_PRINTED
                if self.extension_template_as_printed
                else _EXTENSION_TEMPLATE
            )
            listed = der.sequence(*(one.to_der() for one in extensions))
            attributes.append(_attribute(_EXTENSION_REQUEST if whole else partly, listed))
        return der.sequence(*parts, der.tlv(0xA1, *sorted(attributes)))


def split_rdn(text: str) -> tuple[x509.ObjectIdentifier, str]:
    """OID and value of an RDN; the value is empty where the client is to give it."""
    name, _, value = text.partition("=")
    return _SUBJECT[name][0], value


def _rdn_template(text: str) -> bytes:
    oid, value = split_rdn(text)
    tag = _SUBJECT[text.partition("=")[0]][1]
    encoded = der.tlv(tag, value.encode()) if value else b""
    return der.set_of(der.sequence(der.oid(oid.dotted_string), encoded))


def _general_name(text: str) -> bytes:
    kind, colon, value = text.partition(":")
    if kind not in _GENERAL_NAMES or not colon:
        raise ValueError(f"{text!r} is none of {' '.join(f'{one}:' for one in _GENERAL_NAMES)}")
    if not value.isascii():
        raise ValueError(f"{text!r} is not ASCII: a host name begins with xn-- then")
    return der.tlv(_GENERAL_NAMES[kind], _packed(value) if kind == "IP" else value.encode())


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed if address else b""


def _attribute(kind: str, *values: bytes) -> bytes:
    return der.sequence(der.oid(kind), der.set_of(*values))


def _key_attribute(key: str) -> bytes:
    if key in _CURVES:
        return _attribute(_EC_PUBLIC_KEY, der.oid(_CURVES[key]))
    return _attribute(_RSA_ENCRYPTION, der.integer(_rsa_bits(key)))


def _key_template(key: str) -> bytes:
    """SubjectPublicKeyInfoTemplate [0], with a placeholder for the size of an RSA key."""
    if key in _CURVES:
        return der.tlv(0xA0, der.sequence(der.oid(_EC_PUBLIC_KEY), der.oid(_CURVES[key])))
    modulus = der.integer((1 << _rsa_bits(key)) - 1)
    placeholder = der.sequence(modulus, der.integer(65537))
    algorithm = der.sequence(der.oid(_RSA_ENCRYPTION), der.tlv(0x05))
    return der.tlv(0xA0, algorithm, der.tlv(0x03, b"\0", placeholder))


def _rsa_bits(key: str) -> int:
    """Size in a name such as RSA-2048."""
    return int(key.removeprefix("RSA-"))
