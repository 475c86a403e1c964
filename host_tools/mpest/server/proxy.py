"""Client certificates that come in a header, from a proxy which ends TLS.

RFC 9440 names the header Client-Cert and has base64 between colons. nginx's
$ssl_client_escaped_cert is PEM with percent signs, HAProxy's ssl_c_der,base64 is bare base64.
"""

import base64
import contextlib
import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import pairwise
from urllib.parse import unquote

from aiohttp import web
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from mpest.server.ca import now
from mpest.server.csr_policy import WEAK_DIGESTS
from mpest.server.wire import Refused

Network = IPv4Network | IPv6Network

_ARMOUR = re.compile(r"-----(?:BEGIN|END) CERTIFICATE-----")
_MAX_CERTIFICATES = 8  # as many as a chain may have
_MIN_RSA_BITS = 2048  # as OpenSSL has it at level 2, that of distributions


def is_proxy(request: web.BaseRequest, proxies: Iterable[Network]) -> bool:
    """Whether the request comes from one of the `proxies`."""
    try:
        address = ip_address((request.remote or "").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return any((mapped or address) in network for network in proxies)


def forwarded(
    request: web.BaseRequest, header: str, anchors: Iterable[x509.Certificate]
) -> list[x509.Certificate]:
    """The certificate that the proxy was shown, verified as TLS would, and the CAs above it up to
    one of the `anchors`; empty if it was shown none. The header may go on with its chain, after
    commas; so may Client-Cert-Chain. What is no chain are two certificates, of the proxy and of
    the client: which is whose is open. Raises Refused.
    """
    values = request.headers.getall(header, [])
    if len(values) > 1:
        raise Refused(400, f"the header {header} comes twice: the proxy must replace the client's")
    if not values or not values[0].strip():
        return []
    shown = values[0].split(",")
    texts = [*shown, *_chain(request)]
    if len(texts) > _MAX_CERTIFICATES:
        raise Refused(400, f"the header {header} holds more than {_MAX_CERTIFICATES} certificates")
    try:
        certificate, *chain = map(_certificate, texts)
    except (ValueError, x509.InvalidVersion) as error:
        raise Refused(400, f"the header {header} holds no certificate") from error
    for issued, issuer in pairwise([certificate, *chain][: len(shown)]):
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise Refused(
                400,
                f"the header {header} holds two certificates, of which the second did not issue "
                "the first: the proxy must replace the client's",
            ) from error
    try:
        return _verify(certificate, chain, anchors)
    except (VerificationError, ValueError, UnsupportedAlgorithm) as error:
        raise Refused(
            403, f"the client certificate in {header} is not trusted: {error}"
        ) from error


def _chain(request: web.BaseRequest) -> list[str]:
    values = ",".join(request.headers.getall("Client-Cert-Chain", []))
    return values.split(",") if values else []


def _certificate(text: str) -> x509.Certificate:
    """Raises ValueError."""
    text = unquote(text) if "%" in text else text
    text = "".join(_ARMOUR.sub("", text).split())
    if text[:1] == text[-1:] == ":":
        text = text[1:-1]
    return x509.load_der_x509_certificate(base64.b64decode(text, validate=True))


def _verify(
    certificate: x509.Certificate,
    chain: list[x509.Certificate],
    anchors: Iterable[x509.Certificate],
) -> list[x509.Certificate]:
    """The path up to an anchor. Raises VerificationError, ValueError."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        raise ValueError(f"its key has less than {_MIN_RSA_BITS} bits")
    if certificate.version == x509.Version.v1:
        return [certificate, _issuer_of_v1(certificate, anchors)]
    policy = PolicyBuilder().extension_policies(ca_policy=_OF_CAS, ee_policy=_OF_CLIENTS)
    verifier = policy.store(Store(list(anchors))).build_client_verifier()
    path = verifier.verify(certificate, chain).chain
    for extension in certificate.extensions:
        match extension.value:
            case x509.ExtendedKeyUsage() as purposes:
                if ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
                    raise ValueError("it is not for clients")
            case x509.KeyUsage() as usage:
                if not (usage.digital_signature or usage.key_agreement):
                    raise ValueError("its key is not for signatures")
    return path


def _issuer_of_v1(
    certificate: x509.Certificate, anchors: Iterable[x509.Certificate]
) -> x509.Certificate:
    """A certificate without extensions may be of X.509 v1 (RFC 5280 4.1.2.1), which
    `cryptography` refuses. Raises ValueError."""
    digest = certificate.signature_hash_algorithm
    if digest is not None and digest.name in WEAK_DIGESTS:
        raise ValueError(f"it is signed by {digest.name}")
    for ca in anchors:
        with contextlib.suppress(ValueError, TypeError, InvalidSignature):
            certificate.verify_directly_issued_by(ca)
            if _is_in_force(certificate) and _is_in_force(ca):
                return ca
    raise ValueError("it is of X.509 v1, and no CA that is known issued it for this time")


def _is_in_force(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_before_utc <= now() <= certificate.not_valid_after_utc


def _check_signs(_policy: Policy, _of: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage and not usage.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")


# As OpenSSL has it, so that a client is judged alike behind a proxy and without one: no names are
# asked for, and what an extension says binds where it stands.
_OF_CLIENTS = ExtensionPolicy.permit_all()
_OF_CAS = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_signs)
)
