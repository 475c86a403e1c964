"""Patterns of subjects and alternative names, as a policy file has them.

They are literal but for `*`, which stands for any characters (in host names: of one label), and
for `{user}`, `{serialNumber}` and `{CN}`, in whose place words come.
"""

import ipaddress
import re
from collections.abc import Mapping

from cryptography import x509
from cryptography.x509.oid import NameOID

from mpest.server.name_forms import hardware_in

ANY_SUBJECT = "*"
"""The pattern that each subject fits."""
_WORDS = ("user", "serialNumber", "CN")
_ATTRIBUTES = {"serialNumber": NameOID.SERIAL_NUMBER, "emailAddress": NameOID.EMAIL_ADDRESS}
_KINDS: dict[str, type[x509.GeneralName]] = {
    "DNS": x509.DNSName,
    "IP": x509.IPAddress,
    "URI": x509.UniformResourceIdentifier,
    "email": x509.RFC822Name,
    "HW": x509.OtherName,
}
_HARDWARE = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+:.+")
_MAX_NAMES, _MAX_SHOWN = 8, 300  # how many are shown to a person, and characters of each
_ANY, _LABEL = ".", "[^.]"
_NO_WORDS: Mapping[str, str] = {}


def name_of(text: str) -> x509.Name:
    """The name that an RFC 4514 text says. Raises ValueError in plain words."""
    try:
        name = x509.Name.from_rfc4514_string(text, _ATTRIBUTES)
    except ValueError as error:
        raise ValueError(f"{text!r} is no subject such as CN=device-1,O=Example") from error
    if not list(name):
        raise ValueError("a subject is expected, such as CN={user}")
    return name


def _check_words(text: str) -> str:
    for word in re.findall(r"\{(.*?)\}", text):
        if word not in _WORDS:
            raise ValueError(f"{{{word}}} is none of {{{'} {'.join(_WORDS)}}}")
    return text


def check_subject(text: str) -> str:
    """Return a pattern of subjects. Raises ValueError in plain words; so do the next two."""
    if text != ANY_SUBJECT:
        name_of(text)
    return _check_words(text)


def check_alternative(text: str) -> str:
    kind, colon, value = text.partition(":")
    if kind not in _KINDS or not colon or not value:
        raise ValueError(f"{text!r} begins with none of {': '.join(_KINDS)}:")
    if kind == "HW" and not _HARDWARE.fullmatch(value):
        raise ValueError(f"{value} is no hardware type and number such as 1.3.6.1.4.1.99.1:A*")
    if kind == "IP":
        try:
            ipaddress.ip_network(value)
        except ValueError:
            raise ValueError(f"{value} is no address and no network such as 10.1.0.0/16") from None
    return _check_words(text)


def check_ca(text: str) -> str:
    if text != "*" and not re.fullmatch("sha256:[0-9a-f]{64}", text):
        name_of(text)
    return text


def same_name(pattern: x509.Name, name: x509.Name, words: dict[str, str]) -> bool:
    """Whether each part of `name` fits that of `pattern` at the same place."""
    return len(pattern.rdns) == len(name.rdns) and all(
        _same_rdn(one, other, words) for one, other in zip(pattern.rdns, name.rdns, strict=True)
    )


def _same_rdn(
    pattern: x509.RelativeDistinguishedName,
    rdn: x509.RelativeDistinguishedName,
    words: dict[str, str],
) -> bool:
    ones = sorted(pattern, key=lambda one: one.oid.dotted_string)
    others = sorted(rdn, key=lambda one: one.oid.dotted_string)
    return [one.oid for one in ones] == [other.oid for other in others] and all(
        isinstance(other.value, str) and fits(str(one.value), other.value, words)
        for one, other in zip(ones, others, strict=True)
    )


def same_alternative(pattern: str, name: x509.GeneralName, words: dict[str, str]) -> bool:
    """Whether `name` fits `pattern`, which begins with its kind."""
    kind, _, value = pattern.partition(":")
    if not isinstance(name, _KINDS[kind]):
        return False
    if isinstance(name, x509.OtherName):
        hardware = hardware_in(name)
        return hardware is not None and fits(value, hardware, words)
    if isinstance(name, x509.IPAddress):
        network = ipaddress.ip_network(value)
        return isinstance(name.value, ipaddress.IPv4Address | ipaddress.IPv6Address) and (
            name.value in network
        )
    if isinstance(name, x509.DNSName):
        lower = {word: text.lower() for word, text in words.items()}
        return fits(_lower(value), name.value.lower(), lower, _LABEL)
    return fits(value, str(name.value), words)


def shown_alternatives(san: x509.SubjectAlternativeName | None) -> str:
    """The names, each after its kind as in a pattern: what a person reads before approving."""
    names = [_shown(name) for name in san or ()]
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES] + ([f"and {more} more"] if more > 0 else []))


def _shown(name: x509.GeneralName) -> str:
    kind = next((kind for kind, of in _KINDS.items() if isinstance(name, of)), "other")
    value = name.value
    if isinstance(name, x509.OtherName):
        hardware = hardware_in(name)
        kind, value = ("HW", hardware) if hardware else ("other", name.type_id)
    match value:
        case x509.Name():
            text = value.rfc4514_string()
        case x509.ObjectIdentifier():
            text = value.dotted_string
        case _:
            text = str(value)
    return f"{kind}:{text[:_MAX_SHOWN]}{'...' if len(text) > _MAX_SHOWN else ''}"


def _lower(pattern: str) -> str:
    return "".join(part if part.startswith("{") else part.lower() for part in _parts(pattern))


def _parts(pattern: str) -> list[str]:
    return re.split(r"(\*|\{\w+\})", pattern)


def fits(
    pattern: str, text: str, words: Mapping[str, str] = _NO_WORDS, character: str = _ANY
) -> bool:
    """Whether `pattern` is about all of `text`, with `words` in place of their names in braces.
    `character`: a regular expression of one that `*` may stand for.
    """
    literals = [""]
    for part in _parts(pattern):
        if part == "*":
            literals.append("")
        elif part.startswith("{") and part.endswith("}"):
            if not words.get(part[1:-1]):
                return False
            literals[-1] += re.escape(words[part[1:-1]])
        else:
            literals[-1] += re.escape(part)
    first, *middle = literals
    last = f"{character}+{middle.pop()}" if middle else ""
    # Atomic: no text, however long, has a pattern with many signs tried in all ways.
    found = "".join(f"(?>{character}+?{literal})" for literal in middle)
    return re.fullmatch(first + found + last, text, re.DOTALL) is not None
