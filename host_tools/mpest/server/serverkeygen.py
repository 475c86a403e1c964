"""Keys made by the server (RFC 7030 4.4), and how each is packed for the client that asked."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mpest.server import der, enveloped
from mpest.server.ca import Signer
from mpest.server.enveloped import Cipher, PublicKey, WrapKey
from mpest.server.signed_data import SIGNED_DATA, sign
from mpest.server.wire import CERTIFICATES, Part, Refused

KeyType = Literal["P-256", "P-384", "RSA-2048", "RSA-4096"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

PKCS8 = "application/pkcs8"
GENERATED_KEY = f"{CERTIFICATES}; smime-type=server-generated-key"

_DATA = "1.2.840.113549.1.7.1"
_KEY_PACKAGE = "2.16.840.1.101.2.1.2.78.5"
_SMIME_CAPABILITIES = x509.ObjectIdentifier("1.2.840.113549.1.9.15")
_DECRYPT_KEY_ID = x509.ObjectIdentifier("1.2.840.113549.1.9.16.2.37")
_ASYMMETRIC_DECRYPT_KEY_ID = x509.ObjectIdentifier("1.2.840.113549.1.9.16.2.54")
_KEY_SIZES = (16, 32)
_CURVES: dict[str, KeyType] = {"secp256r1": "P-256", "secp384r1": "P-384"}


def _check_public_key(pem: str) -> str:
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError:
        raise ValueError("a public key in PEM is expected") from None
    if not isinstance(key, PublicKey):
        raise ValueError("a public key to encrypt to is RSA or elliptic")
    return pem


def _check_secret(text: str) -> str:
    try:
        size = len(bytes.fromhex(text))
    except ValueError:
        size = 0
    if size not in _KEY_SIZES:
        raise ValueError("an AES key has 16 or 32 bytes, in hexadecimal")
    return text


def _check_identifier(text: str) -> str:
    try:
        return bytes.fromhex(text).hex()
    except ValueError:
        raise ValueError("an identifier is hexadecimal") from None


Secret = Annotated[str, AfterValidator(_check_secret)]
Identifier = Annotated[str, AfterValidator(_check_identifier)]


class ServerKeygenPolicy(BaseModel):
    """How /serverkeygen makes and packs keys. Identifiers and secrets are hexadecimal.

    A CSR with a DecryptKeyIdentifier or an AsymmetricDecryptKeyIdentifier gets the key in
    EnvelopedData, or AuthEnvelopedData where the content's cipher is AES-GCM, as its
    SMIMECapabilities allow; any other gets it as `password` and `psk` say, plain by default.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    key_type: KeyType | None = None
    """None makes one of the type of the CSR's own."""
    key_format: Literal["pkcs8", "traditional", "package"] = "pkcs8"
    """traditional: PKCS#1 or SEC1. package: AsymmetricKeyPackage (RFC 5958), if encrypted."""
    signed: bool = True
    """Whether the CA signs what is then encrypted."""
    cipher: Cipher | None = None
    """None takes the first that the CSR's SMIMECapabilities name, AES-256-CBC without any."""
    oaep: bool | None = None
    """Encrypt to RSA keys by OAEP or by PKCS #1 v1.5; None goes by SMIMECapabilities."""
    secrets: dict[Identifier, Secret] = Field(default_factory=dict, repr=False)
    """AES keys by their DecryptKeyIdentifier."""
    public_keys: dict[Identifier, Annotated[str, AfterValidator(_check_public_key)]] = {}
    """PEM by AsymmetricDecryptKeyIdentifier. Those of certificates issued before are known by
    their subject key identifiers."""
    password: str | None = Field(default=None, repr=False)
    """EncryptedData under it (PBES2)."""
    psk: Secret | None = Field(default=None, repr=False)
    """EncryptedData in AES-GCM with this very key, as globalsign/est sends it."""


def new_key(kind: KeyType) -> PrivateKey:
    if kind.startswith("RSA-"):
        return rsa.generate_private_key(65537, int(kind[4:]))
    return ec.generate_private_key(ec.SECP256R1() if kind == "P-256" else ec.SECP384R1())


def key_type_of(csr: x509.CertificateSigningRequest) -> KeyType:
    """The type of the CSR's own key, or the nearest that is made here."""
    key = csr.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA-2048" if key.key_size <= 2048 else "RSA-4096"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, "P-384")
    return "P-256"


@dataclass(frozen=True)
class Wanted:
    """What a CSR says about how its key is to be encrypted."""

    secret: bytes | None = None
    """DecryptKeyIdentifier."""
    public: bytes | None = None
    """AsymmetricDecryptKeyIdentifier."""
    capabilities: tuple[str, ...] = ()
    """OIDs in SMIMECapabilities, the preferred ones first."""


def wanted(csr: x509.CertificateSigningRequest) -> Wanted:
    """Raises Refused for what it cannot read."""
    try:
        found = {one.oid: one.value for one in csr.attributes}
        return Wanted(
            found.get(_DECRYPT_KEY_ID),
            found.get(_ASYMMETRIC_DECRYPT_KEY_ID),
            tuple(enveloped.capabilities(found.get(_SMIME_CAPABILITIES, b""))),
        )
    except ValueError as error:
        raise Refused(400, f"the request's attributes can't be read: {error}") from error


def pack(
    key: PrivateKey,
    policy: ServerKeygenPolicy,
    asked: Wanted,
    signer: Signer,
    chain: Iterable[x509.Certificate],
    issued: Iterable[x509.Certificate],
) -> Part:
    """`key` as it was `asked` for. issued: certificates whose keys may decrypt it.

    Raises Refused where the request names a key that is not known (RFC 7030 4.4.1).
    """
    traditional = policy.key_format == "traditional"
    form = PrivateFormat.TraditionalOpenSSL if traditional else PrivateFormat.PKCS8
    plain = key.private_bytes(Encoding.DER, form, NoEncryption())
    if asked.secret is None and asked.public is None and not (policy.password or policy.psk):
        return Part(PKCS8, plain)
    kind, content = _DATA, plain
    if policy.key_format == "package":
        kind, content = _KEY_PACKAGE, der.sequence(plain)
    if policy.signed:
        kind, content = SIGNED_DATA, sign(kind, content, signer, chain)
    recipient = _recipient(policy, asked, issued)
    if recipient:
        cipher = policy.cipher or enveloped.first_cipher(asked.capabilities)
        if kind == SIGNED_DATA:
            content = enveloped.without_info(content)
        return Part(GENERATED_KEY, enveloped.envelop(kind, content, cipher, recipient))
    if policy.psk:
        return Part(GENERATED_KEY, enveloped.with_psk(content, bytes.fromhex(policy.psk)))
    password = (policy.password or "").encode()
    return Part(GENERATED_KEY, enveloped.with_password(_DATA, content, password))


def _recipient(
    policy: ServerKeygenPolicy, asked: Wanted, issued: Iterable[x509.Certificate]
) -> WrapKey | None:
    if asked.secret is not None:
        secret = policy.secrets.get(asked.secret.hex())
        if secret is None:
            raise Refused(400, "the DecryptKeyIdentifier names no secret known here")
        return enveloped.to_secret(asked.secret, bytes.fromhex(secret))
    if asked.public is None:
        return None
    public = _public_key(asked.public, policy, issued)
    if isinstance(public, ec.EllipticCurvePublicKey):
        return enveloped.to_ec(asked.public, public)
    oaep = enveloped.takes_oaep(asked.capabilities)
    return enveloped.to_rsa(
        asked.public, public, oaep=oaep if policy.oaep is None else policy.oaep
    )


def _public_key(
    identifier: bytes, policy: ServerKeygenPolicy, issued: Iterable[x509.Certificate]
) -> PublicKey:
    pem = policy.public_keys.get(identifier.hex())
    found = load_pem_public_key(pem.encode()) if pem else None
    for one in issued:
        kind = x509.SubjectKeyIdentifier
        if (
            found is None
            and one.extensions.get_extension_for_class(kind).value.digest == identifier
        ):
            found = one.public_key()
    if not isinstance(found, PublicKey):
        raise Refused(400, "the AsymmetricDecryptKeyIdentifier names no key known here")
    return found
