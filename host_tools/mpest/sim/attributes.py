"""The answer of /csrattrs in words."""

import ipaddress
from typing import Any

from cryptography import x509

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
_GENERAL_NAMES = {0x81: "email", 0x82: "DNS", 0x86: "URI", 0x87: "IP"}


def lines(event: dict[str, Any]) -> list[str]:
    """What a `csrattrs` event of the board says, one line for each thing that is asked for."""
    out = []
    if event["subject"] is not None:
        rdns = ["+".join(_pair(*pair) for pair in rdn) for rdn in event["subject"]]
        out.append(f"subject: {', '.join(rdns) or 'empty'}")
    for what, names in (("key", event["keys"]), ("key, as a hint", event["hints"])):
        if names:
            out.append(f"{what}: {' or '.join(names)}")
    for what in ("signature", "digest"):
        if event[what]:
            out.append(f"{what}: {event[what]}")
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
    # cryptography knows names, and has no public way to ask for one.
    name = x509.ObjectIdentifier(oid)._name
    return oid if name == "Unknown OID" else name


def _value(name: str, value: bytes) -> str:
    cpython.install()
    from est import asn1, der, errors

    try:
        match name:
            case "keyUsage":
                return " ".join(_usages(der.Reader(value).bytes(asn1.BIT_STRING)))
            case "extendedKeyUsage":
                listed = der.Reader(value).enter()
                purposes = []
                while listed.more():
                    purposes.append(_name(asn1.oid_text(listed.oid())))
                return " ".join(purposes)
            case "subjectAltName":
                listed = der.Reader(value).enter()
                names = []
                while listed.more():
                    names.append(_general_name(listed.peek(), listed.bytes(0)))
                return ", ".join(names)
    except errors.PeerError:
        pass  # shown as it is
    return value.hex()


def _usages(content: bytes) -> list[str]:
    bits = "".join(f"{octet:08b}" for octet in content[1:])
    return [name for name, bit in zip(_USAGES, bits, strict=False) if bit == "1"]


def _general_name(tag: int, content: bytes) -> str:
    kind = _GENERAL_NAMES.get(tag, f"name of kind {tag & 0x1F}")
    if not content:
        return f"{kind} {_YOURS}"
    if kind == "IP" and len(content) in (4, 16):
        return f"IP:{ipaddress.ip_address(content)}"
    text = content.decode() if content.isascii() and tag in _GENERAL_NAMES else content.hex()
    return f"{kind}:{text}"
