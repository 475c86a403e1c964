"""What a board says in DER, in words: the answer of /csrattrs, names and keys of certificates."""

import ipaddress
from _ssl import txt2obj
from typing import Any

from mpest.sim import cpython

_YOURS = "the board's own"
# Named bits of keyUsage (RFC 5280 4.2.1.3).
_USAGES = [
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
]
# By OpenSSL's names of the curves.
_KEY_TYPES = {"prime256v1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_GENERAL_NAMES = {0x81: "email", 0x82: "DNS", 0x86: "URI", 0x87: "IP"}


def lines(event: dict[str, Any]) -> list[str]:
    """What a `csrattrs` event of the board says, one line for each thing that is asked for."""
    out = []
    if event["subject"] is not None:
        rdns = ["+".join(_pair(*pair) for pair in rdn) for rdn in event["subject"]]
        out.append(f"subject: {', '.join(rdns) or 'empty'}")
    for label, names in (("key", event["keys"]), ("key, as a hint", event["hints"])):
        if names:
            out.append(f"{label}: {' or '.join(names)}")
    for label in ("signature", "digest"):
        if event[label]:
            out.append(f"{label}: {event[label]}")
    if event["challenge_password"]:
        out.append("challengePassword")
    for oid, critical, value in event["extensions"]:
        words = _value(_name(oid), bytes.fromhex(value)) if value is not None else _YOURS
        out.append(f"extension {_name(oid)}{', critical' if critical else ''}: {words}")
    out += [f"unknown to a board: {_name(oid)}" for oid in event["unknown"]]
    return out


def _pair(oid: str, value: str | None) -> str:
    return f"{_name(oid)} {_YOURS}" if value is None else f"{_name(oid)}={value}"


def _name(oid: str) -> str:
    # OpenSSL knows names, and ssl has no public way to ask for one.
    try:
        name: str = txt2obj(oid)[1]
    except ValueError:
        return oid
    return name


def _value(name: str, value: bytes) -> str:
    cpython.install()
    from est import asn1, der, errors

    try:
        match name:
            case "keyUsage":
                return " ".join(_usages(der.Reader(value).bytes(asn1.BIT_STRING)))
            case "extendedKeyUsage":
                key_purposes = der.Reader(value).enter()
                purposes = []
                while key_purposes.more():
                    purposes.append(_name(asn1.oid_text(key_purposes.oid())))
                return " ".join(purposes)
            case "subjectAltName":
                return ", ".join(_general_names(value))
    except errors.PeerError:
        pass  # shown as it is
    return value.hex()


def _usages(content: bytes) -> list[str]:
    bits = "".join(f"{octet:08b}" for octet in content[1:])
    return [name for name, bit in zip(_USAGES, bits, strict=False) if bit == "1"]


def _general_names(value: bytes) -> list[str]:
    from est import der

    general_names = der.Reader(value).enter()
    names = []
    while general_names.more():
        names.append(_general_name(general_names.peek(), general_names.bytes(0)))
    return names


def shown(event: dict[str, Any]) -> dict[str, Any]:
    """A `show` event with the certificate's names and type of key in the place of their DER."""
    if event["certificate"] is None:
        return event
    cpython.install()
    certificate = dict(event["certificate"])
    san = certificate.pop("san")
    certificate["names"] = _general_names(bytes.fromhex(san)) if san else []
    certificate["key"] = _key_type(bytes.fromhex(certificate.pop("spki")))
    return {**event, "certificate": certificate}


def _key_type(spki: bytes) -> str:
    from est import asn1, der

    fields = der.Reader(spki).enter()
    algorithm = fields.enter()
    name = _name(asn1.oid_text(algorithm.oid()))
    if name == "rsaEncryption":
        modulus = der.Reader(fields.bit_string()).enter().bytes(asn1.INTEGER)
        return f"RSA-{int.from_bytes(modulus, 'big').bit_length()}"
    if name == "id-ecPublicKey":
        name = _name(asn1.oid_text(algorithm.oid()))
    return _KEY_TYPES.get(name, name)


def _general_name(tag: int, content: bytes) -> str:
    kind = _GENERAL_NAMES.get(tag, f"name of kind {tag & 0x1F}")
    if not content:
        return f"{kind} {_YOURS}"
    if kind == "IP" and len(content) in (4, 16):
        return f"IP:{ipaddress.ip_address(content)}"
    text = content.decode("latin-1")
    if not (text.isascii() and text.isprintable() and tag in _GENERAL_NAMES):
        text = content.hex()
    return f"{kind}:{text}"
