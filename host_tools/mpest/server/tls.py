"""The server's TLS side: contexts, its own certificate, and what it learns of the client."""

import base64
import contextlib
import ipaddress
import socket
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import ifaddr
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from mpest.server.authority import Authority
from mpest.server.ca import Order, common_name, new_key, now

_LIFETIME = timedelta(days=365)
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_WILDCARDS = {"0.0.0.0": 4, "::": 6}  # noqa: S104  compared, not bound
FORWARDED: web.RequestKey[list[x509.Certificate]] = web.RequestKey("forwarded")
_DER = 2  # _ssl.ENCODING_DER
CMC_RA = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")


def addresses(host: str) -> list[str]:
    """Where other machines reach a server that listens on `host`: for a wildcard this machine's
    addresses, without loopback and link-local ones."""
    if host not in _WILDCARDS:
        return [host]
    found = [
        ipaddress.ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0])
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]
    return [
        str(address)
        for address in found
        if address.version == _WILDCARDS[host]
        and not (address.is_loopback or address.is_link_local)
    ]


def names_of_server(host: str) -> list[str]:
    """The local names and what `host` stands for, as of now."""
    names = [*_LOCAL_NAMES, *addresses(host)]
    if host in _WILDCARDS:
        names.append(socket.gethostname())
    return list(dict.fromkeys(names))


def _names(host: str) -> list[x509.GeneralName]:
    return list(map(general_name, names_of_server(host)))


def order_for_server(host: str, *, cmc_ra: bool, key: ec.EllipticCurvePrivateKey) -> Order:
    """A certificate for a server that listens on `host`; `cmc_ra` adds id-kp-cmcRA."""
    purposes = (ExtendedKeyUsageOID.SERVER_AUTH, *([CMC_RA] if cmc_ra else []))
    return Order(
        common_name("localhost"),
        key.public_key(),
        x509.SubjectAlternativeName(_names(host)),
        purposes=purposes,
    )


def general_name(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


@dataclass(frozen=True)
class TlsIdentity:
    """A key, its certificate and the certificates to send after it."""

    chain: list[x509.Certificate]
    key: ec.EllipticCurvePrivateKey

    def load_into(self, context: ssl.SSLContext) -> None:
        """Put the pair into a context, by way of a short-lived private file."""
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem += b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain)
        with tempfile.NamedTemporaryFile() as file:
            file.write(pem)
            file.flush()
            context.load_cert_chain(file.name)


def due(certificate: x509.Certificate, host: str) -> str | None:
    """Why the server's own certificate should be replaced, or None."""
    end = certificate.not_valid_after_utc
    if now() > end - (end - certificate.not_valid_before_utc) / 3:
        return "the one before ends soon"
    known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    added = [name for name in _names(host) if name not in known]
    return f"{added[0].value} is new" if added else None


def own_identity(authority: Authority, host: str, *, cmc_ra: bool) -> TlsIdentity:
    """The server's ordinary identity, freshly signed by `authority`."""
    key = new_key()
    order = order_for_server(host, cmc_ra=cmc_ra, key=key)
    leaf = authority.issuer.sign(order, now() + _LIFETIME)
    return TlsIdentity([leaf, *authority.sent], key)


def server_context(
    identity: TlsIdentity,
    authority: Authority,
    tls_max: Literal["1.2", "1.3"],
    *,
    demand_client: bool = False,
) -> ssl.SSLContext:
    """TLS 1.2 or later; asks for a client certificate of `authority`, or demands it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls_max == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    trust_clients(context, authority)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # each CA that is named, root or not
    context.verify_mode = ssl.CERT_REQUIRED if demand_client else ssl.CERT_OPTIONAL
    identity.load_into(context)
    return context


def report_failures(context: ssl.SSLContext, report: Callable[[str], None]) -> None:
    """Have `report` told why, when a handshake in `context` fails: asyncio keeps it to itself."""

    class Handshake(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                report(_why(error))
                raise

    context.sslobject_class = Handshake


def _why(error: ssl.SSLError) -> str:
    # OpenSSL's words, such as "certificate verify failed: certificate has expired".
    words = [(error.reason or "no reason").lower().replace("_", " ")]
    if isinstance(error, ssl.SSLCertVerificationError):
        words.append(error.verify_message)
    return ": ".join(words)


def trust_clients(context: ssl.SSLContext, authority: Authority) -> None:
    """Let a context verify the certificates that `authority` issued."""
    anchors = (certificate.public_bytes(Encoding.PEM) for certificate in authority.anchors)
    context.load_verify_locations(cadata=b"".join(anchors).decode())


def client_certificate(request: web.BaseRequest) -> x509.Certificate | None:
    """The certificate that the client proved to hold in the handshake; None once it has gone.

    Behind a proxy that ends TLS it is the first that is FORWARDED.
    """
    if FORWARDED in request:
        path = request[FORWARDED]
        return path[0] if path else None
    tls = request.get_extra_info("ssl_object")
    try:
        der = tls.getpeercert(binary_form=True) if tls else None
    except ValueError:  # a broken connection forgets its handshake
        der = None
    return x509.load_der_x509_certificate(der) if der else None


def client_path(request: web.BaseRequest) -> list[x509.Certificate]:
    """The client's certificate and the CAs above it, as they were verified; empty without one, and
    in TLS where a session was resumed, which keeps the certificate alone."""
    if FORWARDED in request:
        return request[FORWARDED]
    tls = request.get_extra_info("ssl_object")
    if tls is None:
        return []
    # Python 3.13 has it by this name; before, what it calls does.
    of_tls = tls if hasattr(tls, "get_verified_chain") else tls._sslobj
    try:
        path = of_tls.get_verified_chain() or []
    except ValueError:  # a broken connection forgets its handshake
        return []
    ders = (one if isinstance(one, bytes) else one.public_bytes(_DER) for one in path)
    return [x509.load_der_x509_certificate(der) for der in ders]


def tls_unique(request: web.BaseRequest) -> str | None:
    """base64 of the session's tls-unique (RFC 5929 3), as it goes into a challengePassword."""
    tls = request.get_extra_info("ssl_object")
    value = tls.get_channel_binding("tls-unique") if tls and tls.version() == "TLSv1.2" else None
    return base64.b64encode(value).decode() if value else None
