"""The /csrattrs answer: what the server would like to see in a CSR.

RFC 7030 4.5.2 as clarified by RFC 8951 3.2. Anything else, an RFC 9908 template for example, can
be given as raw DER.
"""

import binascii
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from mpest.server import der

_CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105  an OID
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
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


def _check_oid(dotted: str) -> str:
    der.oid(dotted)
    return dotted


def _decode(text: object) -> bytes:
    if not isinstance(text, str | bytes):
        raise ValueError("base64 text expected")
    return binascii.a2b_base64(
        "".join(text.split()) if isinstance(text, str) else text, strict_mode=True
    )


Oid = Annotated[str, AfterValidator(_check_oid)]
Base64 = Annotated[bytes, BeforeValidator(_decode)]


class RequestedExtension(BaseModel):
    """An extension with its value, for the client to copy."""

    model_config = ConfigDict(extra="forbid")

    oid: Oid
    critical: bool = False
    value: Base64
    """base64 of the DER inside extnValue."""

    def to_der(self) -> bytes:
        critical = der.tlv(0x01, b"\xff") if self.critical else b""
        return der.sequence(der.oid(self.oid), critical, der.octet_string(self.value))


class CsrAttrsPolicy(BaseModel):
    """The attributes to ask for; the default names a P-256 key and ECDSA with SHA-256."""

    model_config = ConfigDict(extra="forbid")

    oids: list[Oid] = []
    """Sent as they are, first."""
    challenge_password: bool = False
    key: Literal["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"] | None = "P-256"
    extension_request: list[Oid | RequestedExtension] = []
    """OIDs only (RFC 7030 4.5.2), or extensions with their values (RFC 8951 3.2)."""
    digest: Literal["sha256", "sha384", "sha512"] | None = "sha256"
    raw_der_base64: Base64 | None = None
    """The whole CsrAttrs; everything else is ignored."""

    def to_der(self) -> bytes:
        """CsrAttrs ::= SEQUENCE OF AttrOrOID."""
        if self.raw_der_base64 is not None:
            return self.raw_der_base64
        items = [der.oid(dotted) for dotted in self.oids]
        if self.challenge_password:
            items.append(der.oid(_CHALLENGE_PASSWORD))
        if self.key:
            items.append(_key_attribute(self.key))
        items += self._extension_attributes()
        if self.digest:
            rsa = self.key is not None and self.key.startswith("RSA")
            items.append(der.oid((_RSA if rsa else _ECDSA)[self.digest]))
        return der.sequence(*items)

    def _extension_attributes(self) -> list[bytes]:
        oids = [der.oid(item) for item in self.extension_request if isinstance(item, str)]
        full = [
            item.to_der()
            for item in self.extension_request
            if isinstance(item, RequestedExtension)
        ]
        attributes = [_attribute(_EXTENSION_REQUEST, *oids)] if oids else []
        if full:
            attributes.append(_attribute(_EXTENSION_REQUEST, der.sequence(*full)))
        return attributes


def _attribute(kind: str, *values: bytes) -> bytes:
    return der.sequence(der.oid(kind), der.set_of(*values))


def _key_attribute(key: str) -> bytes:
    if key in _CURVES:
        return _attribute(_EC_PUBLIC_KEY, der.oid(_CURVES[key]))
    return _attribute(_RSA_ENCRYPTION, der.integer(int(key.removeprefix("RSA-"))))
