"""What `mpest simulate` is given in files, checked before a board starts."""

import base64
import re
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
)

from mpest.exits import CliError
from mpest.sim import cpython
from mpest.sim.board_process import Event, stored_identity
from mpest.text import text_of

_CURVES = ("secp256r1", "secp384r1")


def read_trust(texts: tuple[str, ...]) -> Event:
    """The board's trust fields from "sha256:HEX", the name of a PEM or DER file, or both."""
    found: Event = {}
    for text in texts:
        if text.lower().startswith("sha256:"):
            digits = text[7:].replace(":", "")
            if not re.fullmatch("[0-9a-fA-F]{64}", digits):
                raise CliError("--trust sha256: takes 64 hexadecimal digits")
            one: Event = {"fingerprint": digits.lower()}
        else:
            one = {"anchors": _hex_of(_read_certificates(text))}
        if found.keys() & one.keys():
            raise CliError("--trust takes one file, one sha256:, or one of each")
        found |= one
    return found


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}") from None


def _read_certificates(path: str) -> list[x509.Certificate]:
    data = _read(path)
    try:
        if b"-----BEGIN" in data:
            found = x509.load_pem_x509_certificates(data)
        else:
            found = [x509.load_der_x509_certificate(data)]
    except (ValueError, x509.InvalidVersion):
        raise CliError(f"{path} holds no certificate in PEM or DER") from None
    if b"-----BEGIN" in data and len(found) != data.count(b"-----BEGIN CERTIFICATE-----"):
        raise CliError(f"a certificate in {path} is cut off or damaged")
    return found


def _read_key(path: str) -> PrivateKeyTypes:
    data = _read(path)
    load = load_pem_private_key if b"-----BEGIN" in data else load_der_private_key
    try:
        return load(data, None)
    except TypeError:
        message = f"{path} has a password: openssl pkey -in {path} -out FILE writes it without"
        raise CliError(message) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CliError(f"{path} holds no private key in PEM or DER") from None


def _hex_of(chain: list[x509.Certificate]) -> list[str]:
    return [one.public_bytes(Encoding.DER).hex() for one in chain]


def _pkcs8(key: PrivateKeyTypes) -> str:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).hex()


def read_factory(cert: str, key: str) -> Event:
    """The board's fields for its certificate from the factory, with chain and key."""
    chain, owner = _read_certificates(cert), _read_key(key)
    try:
        same = owner.public_key() == chain[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        same = False
    if not same:
        raise CliError(f"{key} is not the key of the certificate in {cert}")
    return {"factory_chain": _hex_of(chain), "factory_key": _pkcs8(owner)}


def read_own(csr: str | None, own_key: str | None, element: str | None) -> Event:
    """The board's fields for a request made elsewhere and the key that is given, if any are."""
    fields: Event = {}
    owner = None
    if own_key:
        owner = _read_key(own_key)
        fields["own_key"] = _pkcs8(owner)
    elif element:
        owner = _read_key(element)
        if not isinstance(owner, ec.EllipticCurvePrivateKey) or owner.curve.name not in _CURVES:
            raise CliError(f"a secure element has a key on P-256 or P-384, {element} another")
        number = owner.private_numbers().private_value
        fields["element"] = number.to_bytes(owner.key_size // 8, "big").hex()
    if csr:
        request, key = _read_csr(csr)
        if owner and owner.public_key() != key:
            raise CliError(f"{own_key or element} is not the key of the request in {csr}")
        fields["own_request"] = request.hex()
    return fields


def check_element(state: Path, element: str | None) -> None:
    """Raises CliError where the key of the board in `state` is in another secure element."""
    chain, key = stored_identity(state)
    if not chain or key:
        return
    leaf = x509.load_der_x509_certificate(chain[0])
    if not element:
        raise CliError(
            "the board's key is in a secure element: give --secure-element as when it enrolled"
        )
    if _read_key(element).public_key() != leaf.public_key():
        raise CliError(f"{element} is not the key that the board enrolled with")


_PEM = re.compile(
    rb"-----BEGIN (NEW )?CERTIFICATE REQUEST-----(.*?)-----END (NEW )?CERTIFICATE REQUEST-----",
    re.DOTALL,
)


def _read_csr(path: str) -> tuple[bytes, PublicKeyTypes]:
    # DER of a request and its key. By the board's reader, since requests of others may lack the
    # attributes, which `cryptography` demands.
    cpython.install()
    from est import der, errors

    data = _read(path)
    pem = _PEM.search(data)
    try:
        if pem:
            data = base64.b64decode(b"".join(pem[2].split()), validate=True)
        whole = der.Reader(data)
        fields = whole.enter()
        whole.end()
        asked = fields.enter()
        for _ in range(2):
            fields.skip()
        fields.end()
        asked.integer()
        asked.skip()
        return data, load_der_public_key(asked.element())
    except (ValueError, errors.PeerError, UnsupportedAlgorithm):
        message = f"{path} holds no certification request in PEM or DER, or one cut off or damaged"
        raise CliError(message) from None


def read_secret(path: str) -> str:
    """First line of the file at `path`, whose byte order mark is none of it."""
    try:
        lines = text_of(Path(path).read_bytes()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise CliError(f"cannot read {path}: {reason}") from None
    if not lines or not lines[0]:
        raise CliError(f"{path} is empty")
    return lines[0]


def read_decryption(
    key: str | None, secret_file: str | None, identifier: str | None, password_file: str | None
) -> Event:
    """The board's fields that say what serverkeygen decrypts with."""
    if key and secret_file:
        raise CliError("--decrypt-key and --decrypt-secret-file exclude each other")
    if identifier and not (key or secret_file):
        raise CliError("--decrypt-id goes with --decrypt-key or --decrypt-secret-file")
    fields: Event = {}
    if key:
        fields["decrypt_key"] = _pkcs8(_read_key(key))
    if secret_file:
        fields["decrypt_secret"] = _hex(read_secret(secret_file), secret_file)
    if identifier:
        fields["decrypt_identifier"] = _hex(identifier, "--decrypt-id")
    if password_file:
        fields["decrypt_password"] = read_secret(password_file)
    return fields


def _hex(text: str, where: str) -> str:
    try:
        return bytes.fromhex(text.replace(":", "")).hex()
    except ValueError:
        raise CliError(f"{where} takes hexadecimal digits") from None
