"""Names that nobody is given: those of the server and of its CA."""

import contextlib
import ipaddress
import re
from collections.abc import Iterable

from cryptography import x509
from cryptography.x509.oid import NameOID

from mpest.server.ca import Order
from mpest.server.csr_policy import alternative_names
from mpest.server.wire import Refused


def host_names(order: Order) -> list[str]:
    """The names in an order by which a client may take its holder for a host."""
    return _hosts(order.subject, order.san)


def check(
    order: Order,
    authorities: Iterable[x509.Certificate],
    server: x509.Certificate | None,
    others: Iterable[str] = (),
) -> None:
    """Raises Refused for a name of the `server`, one of `others`, or a subject of `authorities`.

    A common name counts as a host name, for clients take it as one where there is no other.
    """
    names = host_names(order)
    for ca in authorities:
        common = {_canonical(one) for one in _hosts(ca.subject, None)}
        if order.subject == ca.subject or common & set(map(_canonical, names)):
            raise Refused(403, f"{ca.subject.rfc4514_string()} is the CA: ask for another name")
    taken = {_canonical(name) for name in others}
    if server is not None:
        taken |= set(map(_canonical, _hosts(server.subject, alternative_names(server.extensions))))
    for name in names:
        pattern = re.escape(_canonical(name)).replace(r"\*", ".*")
        if any(re.fullmatch(pattern, one) for one in taken):
            raise Refused(403, f"{name} is a name of the server: ask for another")


def _hosts(subject: x509.Name, san: x509.SubjectAlternativeName | None) -> list[str]:
    names = [str(one.value) for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    for name in san or ():
        if isinstance(name, x509.DNSName | x509.IPAddress):
            names.append(str(name.value))
    return names


def _canonical(name: str) -> str:
    """One spelling for all that clients take as the same host."""
    name = name.strip().rstrip(".").lower()
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(name.strip("[]"))
        return str(getattr(address, "ipv4_mapped", None) or address)
    return name
