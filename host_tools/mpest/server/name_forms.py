"""The form that a request's names must have, each after its kind (RFC 5280 4.2.1.6)."""

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from cryptography import x509
from pyasn1.codec.der.decoder import decode
from pyasn1.error import PyAsn1Error
from pyasn1_modules.rfc4108 import HardwareModuleName

from mpest.server.wire import Refused

_MAX_HOST = 253  # characters that a name of DNS can have (RFC 1035 2.3.4)
_MAX_SHOWN = 100  # characters of a name, in the answer to who sent it
# UTF8String, NumericString, PrintableString, TeletexString, IA5String, VisibleString, BMPString.
_STRINGS = (b"\x0c", b"\x12", b"\x13", b"\x14", b"\x16", b"\x1a", b"\x1e")
_HARDWARE_MODULE_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# RFC 1123 2.1, with the underscores that people give hosts, and `*` for wildcards.
_LABEL = r"[A-Za-z0-9_*](?:[A-Za-z0-9_*-]{0,61}[A-Za-z0-9_*])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL_PART = re.compile(rf'{_ATOM}(?:\.{_ATOM})*|"(?:[ !#-\[\]-~]|\\[ -~])*"')  # RFC 5321 4.1.2
_ABSOLUTE = re.compile(  # RFC 3986 3
    r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+"
)


def check(subject: x509.Name, san: x509.SubjectAlternativeName | None) -> None:
    """Raises Refused for the first name that is malformed."""
    for text in _texts(subject):
        _check_characters(text)
    if san is not None and not list(san):
        raise Refused(400, "the SubjectAltName has no names: leave it out")
    for name in san or ():
        _check_characters(str(name.value))
        objection = _objection(name)
        if objection:
            raise Refused(400, f"the alternative name {_shown(str(name.value))} {objection}")


def text_in(name: x509.OtherName) -> str | None:
    """The text that an otherName is, None if it is something else. Raises ValueError."""
    if name.value[:1] not in _STRINGS:
        return None
    try:
        return str(decode(name.value)[0])
    except PyAsn1Error as error:
        raise ValueError("it is no text") from error


def hardware_in(name: x509.OtherName) -> str | None:
    """The type and serial number, as 1.3.6.1.4.1.99.1:A0001, of a hardwareModuleName (RFC 4108 5)
    whose number is text in ASCII; None of any other name."""
    if name.type_id != _HARDWARE_MODULE_NAME:
        return None
    try:
        content, rest = decode(name.value, asn1Spec=HardwareModuleName())
        text = bytes(content["hwSerialNum"]).decode("ascii")
    except (PyAsn1Error, ValueError):
        return None
    return f"{content['hwType']}:{text}" if text.isprintable() and not rest else None


def _texts(name: x509.Name) -> Iterator[str]:
    return (attribute.value for attribute in name if isinstance(attribute.value, str))


def _check_characters(text: str) -> None:
    if _CONTROL.search(text):
        raise Refused(400, f"the name {_shown(text)} has control characters")


def _objection(name: x509.GeneralName) -> str | None:
    """What is wrong with an alternative name."""
    match name:
        case x509.IPAddress(value=ipaddress.IPv4Network() | ipaddress.IPv6Network()):
            return "is a network: an iPAddress has 4 or 16 octets"
        case x509.DNSName() if not _is_host(name.value):
            return "is no host name: IDNs are written with xn--"
        case x509.RFC822Name():
            local, at, domain = name.value.rpartition("@")
            if not (at and _LOCAL_PART.fullmatch(local) and _is_host(domain)):
                return "is no address of mail in ASCII"
        case x509.UniformResourceIdentifier():
            return _objection_to_uri(name.value)
        case x509.DirectoryName():
            for text in _texts(name.value):
                _check_characters(text)
            return None if list(name.value) else "is empty"
        case x509.OtherName():
            try:
                _check_characters(text_in(name) or "")
            except ValueError:
                return "holds no text of its kind"
    return None


def _objection_to_uri(uri: str) -> str | None:
    if not _ABSOLUTE.fullmatch(uri):
        return "is no absolute URI in ASCII"
    try:
        parts = urlsplit(uri)
        _ = parts.port  # which is parsed here
        if "//" in uri.partition(":")[2][:2] and not _is_host_or_address(parts.hostname or ""):
            return "has no host name or address after //"
    except ValueError:
        return "is no URI"
    return None


def _is_host_or_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _is_host(text)
    return True


def _is_host(text: str) -> bool:
    return len(text) <= _MAX_HOST and _HOST.fullmatch(text) is not None


def _shown(text: str) -> str:
    return repr(text[:_MAX_SHOWN])
