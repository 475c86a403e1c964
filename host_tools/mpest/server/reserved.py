"""Names that nobody is given, in whatever spelling: those of the server and of its CA."""

import contextlib
import glob
import ipaddress
import socket
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from mpest.server.ca import Order
from mpest.server.csr_policy import alternative_names
from mpest.server.name_forms import text_in
from mpest.server.spelling import canonical
from mpest.server.wire import Refused

_DOTS = str.maketrans("\u3002\uff0e\uff61", "...")  # all separate labels (RFC 3490 3.1)
_A_LABEL = "xn--"


def host_names(order: Order) -> list[str]:
    """The names in an order by which a client may take its holder for a host."""
    return [name for name, is_host in _names(order.subject, order.san) if is_host]


def check(
    order: Order,
    authorities: Iterable[x509.Certificate],
    server: x509.Certificate | None,
    others: Iterable[str] = (),
) -> None:
    """Raises Refused for a name of the `server`, one of `others`, or a subject of `authorities`,
    and for URIs, addresses of mail and the like there.

    A common name counts as a host name, for clients take it as one where there is no other.
    """
    inner = order.san.get_values_for_type(x509.DirectoryName) if order.san else []
    subjects = {_canonical_name(name) for name in (order.subject, *inner)}
    hosts = set(map(_host, host_names(order)))
    for ca in authorities:
        common = {_host(name) for name, is_host in _names(ca.subject, None) if is_host}
        if _canonical_name(ca.subject) in subjects or common & hosts:
            raise Refused(403, f"{ca.subject.rfc4514_string()} is the CA: ask for another name")
    taken = set(map(_host, others))
    if server is not None:
        own = _names(server.subject, alternative_names(server.extensions))
        taken |= {_host(name) for name, _ in own}
    for name, _ in _names(order.subject, order.san):
        pattern = glob.escape(_host(name)).replace("[*]", "*")
        if any(fnmatchcase(one, pattern) for one in taken):
            raise Refused(403, f"{name} is a name of the server: ask for another")


def _names(
    subject: x509.Name, san: x509.SubjectAlternativeName | None
) -> Iterator[tuple[str, bool]]:
    """The hosts that are named, and whether a client may take the holder for one of them."""
    for attribute in subject:
        text = str(attribute.value)
        if attribute.oid == NameOID.COMMON_NAME:
            yield text, True
        elif attribute.oid == NameOID.EMAIL_ADDRESS:
            yield text.rpartition("@")[2], False
    for name in san or ():
        match name:
            case x509.DNSName() | x509.IPAddress():
                yield str(name.value), True
            case x509.RFC822Name():
                yield name.value.rpartition("@")[2], False
            case x509.UniformResourceIdentifier():
                yield urlsplit(name.value).hostname or "", False
            case x509.OtherName():
                text = text_in(name) or ""
                # A mailbox or the like, or the name of a service (RFC 4985 2).
                yield text.rpartition("@")[2], False
                if text.startswith("_"):
                    yield text.partition(".")[2], False
            case x509.DirectoryName():
                for inner, _ in _names(name.value, None):
                    yield inner, False


def _canonical_name(name: x509.Name) -> tuple[frozenset[tuple[str, str]], ...]:
    """The same for two names that are one (RFC 5280 7.1)."""
    return tuple(
        frozenset((one.oid.dotted_string, canonical(str(one.value))) for one in rdn)
        for rdn in name.rdns
    )


def _host(name: str) -> str:
    """One spelling for all that clients take as the same host (RFC 5280 7.2)."""
    text = canonical(name).translate(_DOTS).rstrip(".").strip("[]").partition("%")[0]
    if " " not in text:
        with contextlib.suppress(OSError, ValueError):
            # So do browsers and others read 127.1 and 0x7f000001.
            return str(ipaddress.IPv4Address(socket.inet_aton(text)))
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(text)
        return str(getattr(address, "ipv4_mapped", None) or address)
    return ".".join(map(_label, text.split(".")))


def _label(label: str) -> str:
    """A label of an IDN as people read it."""
    with contextlib.suppress(UnicodeError):
        if label.startswith(_A_LABEL):
            return canonical(label.removeprefix(_A_LABEL).encode().decode("punycode"))
    return label
