"""Answers of simpleenroll: certs-only CMS (RFC 7030 4.2.3)."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from mpest.exits import CliError
from mpest.station.ledger.working import key_hash_of


def chain_in(answer: bytes, key_hash: str) -> list[bytes]:
    """Certificates of a certs-only answer (DER), the one of this key first. Raises CliError."""
    try:
        found = pkcs7.load_der_pkcs7_certificates(answer)
        own = [one for one in found if key_hash_of(one) == key_hash]
    except (ValueError, x509.InvalidVersion):
        raise CliError("the server's answer holds no certificates that can be read") from None
    if not own:
        raise CliError("the server issued a certificate for another key")
    rest = [one for one in found if one is not own[0]]
    return [one.public_bytes(Encoding.DER) for one in (own[0], *rest)]


def certs_only(chain: list[bytes]) -> bytes:
    """A chain (DER) as certs-only CMS (DER), as a server sends it (RFC 7030 4.2.3)."""
    certificates = [x509.load_der_x509_certificate(one) for one in chain]
    return pkcs7.serialize_certificates(certificates, Encoding.DER)
