"""Faults of certificates: those issued, those of the CA, and the server's own."""

from dataclasses import replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from mpest.server import der
from mpest.server.authority import Authority
from mpest.server.ca import (
    Order,
    Signer,
    common_name,
    link,
    new_ca,
    new_key,
    now,
    self_signed,
)
from mpest.server.faults.registry import CERTIFICATE, PACKAGE, TLS, fault

_DAY = timedelta(days=1)


@fault(CERTIFICATE, "wrong-key", "issues the certificate over another key")
def _wrong_key(authority: Authority, order: Order, end: datetime) -> x509.Certificate:
    return authority.issuer.sign(replace(order, public_key=new_key().public_key()), end)


@fault(CERTIFICATE, "wrong-ca", "issues from a CA that the client does not know")
def _wrong_ca(_authority: Authority, order: Order, end: datetime) -> x509.Certificate:
    return new_ca("unknown CA").sign(order, end)


@fault(CERTIFICATE, "expired-cert", "issues a certificate that expired yesterday")
def _expired_cert(authority: Authority, order: Order, _end: datetime) -> x509.Certificate:
    return authority.issuer.sign(order, now() - _DAY, now() - 2 * _DAY)


@fault(CERTIFICATE, "ca-cert-instead", "answers with the CA's own certificate")
def _ca_cert_instead(authority: Authority, _order: Order, _end: datetime) -> x509.Certificate:
    return authority.root.certificate


@fault(PACKAGE, "extra-certs", "puts two unrelated certificates first into the PKCS#7")
def _extra_certs(_authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    strangers = [new_ca(f"stranger {number}").certificate for number in (1, 2)]
    return der.certs_only([*strangers, *certificates])


@fault(PACKAGE, "broken-cert", "puts a certificate that cannot be read first into the PKCS#7")
def _broken_cert(_authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    return der.certs_only(certificates, der.sequence(der.integer(1)))


@fault(PACKAGE, "reverse-order", "adds the CA chain, root first, with the certificate last")
def _reverse_order(authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    chain = [one for one in authority.certificates if one not in certificates]
    return der.certs_only([*reversed(chain), *reversed(certificates)])


@fault(PACKAGE, "no-certs", "sends a PKCS#7 that holds no certificate")
def _no_certs(_authority: Authority, _certificates: list[x509.Certificate]) -> bytes:
    return der.certs_only([])


def _rolled(
    authority: Authority, *, signer: Signer | None = None, end: datetime | None = None
) -> list[x509.Certificate]:
    """What a rollover adds to /cacerts: NewWithNew, OldWithNew, NewWithOld.

    `signer` signs NewWithOld in place of the old root; it ends at `end`.
    """
    old = authority.root
    new = new_ca("mpest test root", after=old)
    return [new.certificate, link(old, new), link(new, signer or old, end)]


@fault(PACKAGE, "rollover-forged", "adds a new root that the old one did not sign")
def _rollover_forged(authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    forger = new_ca("mpest test root")
    return der.certs_only([*_rolled(authority, signer=forger), *certificates])


@fault(PACKAGE, "rollover-one-way", "adds a new root that the old one signed, without OldWithNew")
def _rollover_one_way(authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    new, _, new_with_old = _rolled(authority)
    return der.certs_only([new, new_with_old, *certificates])


@fault(PACKAGE, "rollover-link-expired", "adds a new root whose link with the old one has expired")
def _rollover_link_expired(authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    return der.certs_only([*_rolled(authority, end=now() - _DAY), *certificates])


@fault(PACKAGE, "rollover-unrelated", "adds a root that nothing links with the one there is")
def _rollover_unrelated(_authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    return der.certs_only([new_ca("stranger").certificate, *certificates])


@fault(PACKAGE, "rollover-old-expired", "adds a new root and shows the old one as expired")
def _rollover_old_expired(authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    others = [one for one in certificates if one != authority.root.certificate]
    expired = link(authority.root, authority.root, now() - _DAY)
    return der.certs_only([*_rolled(authority), expired, *others])


@fault(TLS, "tls-wrong-ca", "the server's certificate is from a CA that the client does not know")
def _tls_wrong_ca(
    _authority: Authority, order: Order, _key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    return new_ca("unknown CA").sign(order, now() + _DAY)


@fault(TLS, "tls-wrong-name", "the server's certificate names another host")
def _tls_wrong_name(
    authority: Authority, order: Order, _key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    name = "elsewhere.example"
    san = x509.SubjectAlternativeName([x509.DNSName(name)])
    return authority.issuer.sign(replace(order, subject=common_name(name), san=san), now() + _DAY)


@fault(TLS, "tls-expired", "the server's certificate expired yesterday")
def _tls_expired(
    authority: Authority, order: Order, _key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    return authority.issuer.sign(order, now() - _DAY, now() - 2 * _DAY)


@fault(TLS, "tls-not-yet-valid", "the server's certificate is valid from tomorrow")
def _tls_not_yet_valid(
    authority: Authority, order: Order, _key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    return authority.issuer.sign(order, now() + 2 * _DAY, now() + _DAY)


@fault(TLS, "tls-self-signed", "the server's certificate is signed by nobody else")
def _tls_self_signed(
    _authority: Authority, order: Order, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    return self_signed(order, key, now() + _DAY)


@fault(TLS, "tls-client-only", "the server's certificate is for clients only")
def _tls_client_only(
    authority: Authority, order: Order, _key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    client_only = replace(order, purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    return authority.issuer.sign(client_only, now() + _DAY)
