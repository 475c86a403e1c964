"""What `mpest simulate` is given in files, read as the board does and before it starts."""

import base64
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mpest.exits import CliError
from mpest.sim import cpython
from mpest.sim.board_process import Event, stored_identity
from mpest.text import text_of

cpython.install()
from est import der, errors, keys, pem, x509  # noqa: E402

_KEY_LABELS = ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
_CURVES = (32, 48)  # P-256 and P-384, by the bytes of a private key


def read_trust(texts: tuple[str, ...]) -> Event:
    """The board's trust fields from "sha256:HEX", the name of a PEM or DER file, or both."""
    fields: Event = {}
    for text in texts:
        if text.lower().startswith("sha256:"):
            digits = text[7:].replace(":", "")
            if not re.fullmatch("[0-9a-fA-F]{64}", digits):
                raise CliError("--trust sha256: takes 64 hexadecimal digits")
            field: Event = {"fingerprint": digits.lower()}
        else:
            field = {"anchors": _hex_of(_read_certificates(text))}
        if fields.keys() & field.keys():
            raise CliError("--trust takes one file, one sha256:, or one of each")
        fields |= field
    return fields


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}") from None


def _blocks(data: bytes, label: str) -> list[bytes]:
    """DER of what has this label in PEM. Raises UsageError where something is cut off."""
    blocks: list[bytes] = pem.decode(data.decode("latin-1"), label)
    return blocks


def _read_certificates(path: str) -> list[Any]:
    data = _read(path)
    armoured = b"-----BEGIN" in data
    try:
        blocks = _blocks(data, "CERTIFICATE") if armoured else [data]
        if len(blocks) != data.count(b"-----BEGIN CERTIFICATE-----") and armoured:
            raise errors.UsageError
    except errors.UsageError:
        raise CliError(f"a certificate in {path} is cut off or damaged") from None
    try:
        certificates = [x509.Certificate(block) for block in blocks]
    except errors.PeerError:
        certificates = []
    if not certificates:
        raise CliError(f"{path} holds no certificate in PEM or DER")
    return certificates


def _read_key(path: str) -> Any:
    """The key as est.keys has it. Raises CliError; errors.Unsupported for one of another kind."""
    data = _read(path)
    try:
        if b"-----BEGIN" in data:
            if b"ENCRYPTED" in data:
                raise _locked(path)
            blocks = [block for label in _KEY_LABELS for block in _blocks(data, label)]
            data = blocks[0] if blocks else b""
        return keys.load(data)
    except errors.Unsupported:
        raise
    except errors.UsageError as error:
        if "no password" in str(error):
            raise _locked(path) from None
        raise CliError(f"{path} holds no private key in PEM or DER") from None


def _locked(path: str) -> CliError:
    return CliError(f"{path} has a password: openssl pkey -in {path} -out FILE writes it without")


def _read_usable_key(path: str) -> Any:
    try:
        return _read_key(path)
    except errors.Unsupported as error:
        raise CliError(f"{path}: {error}") from None


def _hex_of(certificates: list[Any]) -> list[str]:
    return [certificate.der.hex() for certificate in certificates]


def _der_of(key: Any) -> str:
    text: str = key.der().hex()
    return text


def read_factory(cert: str, key: str) -> Event:
    """The board's fields for its certificate from the factory, with chain and key."""
    chain, owner = _read_certificates(cert), _read_usable_key(key)
    if owner.spki() != chain[0].spki:
        raise CliError(f"{key} is not the key of the certificate in {cert}")
    return {"factory_chain": _hex_of(chain), "factory_key": _der_of(owner)}


def read_own(csr: str | None, own_key: str | None, element: str | None) -> Event:
    """The board's fields for a request made elsewhere and the key that is given, if any are."""
    fields: Event = {}
    owner = None
    if own_key:
        owner = _read_usable_key(own_key)
        fields["own_key"] = _der_of(owner)
    elif element:
        owner, private = _read_element(element)
        fields["element"] = private.hex()
    if csr:
        request, spki = _read_csr(csr)
        if owner and owner.spki() != spki:
            raise CliError(f"{own_key or element} is not the key of the request in {csr}")
        fields["own_request"] = request.hex()
    return fields


def _read_element(path: str) -> tuple[Any, bytes]:
    """A key on P-256 or P-384, and its number."""
    refusal = CliError(f"a secure element has a key on P-256 or P-384, {path} another")
    try:
        key = _read_key(path)
    except errors.Unsupported:
        raise refusal from None
    fields = der.Reader(key.der()).enter()
    fields.integer()
    if fields.peek() != 0x04:  # RSA has a number there, ECPrivateKey the private key's octets
        raise refusal
    private = fields.bytes()
    if len(private) not in _CURVES:
        raise refusal
    return key, private


def check_element(state: Path, element: str | None) -> None:
    """Raises CliError where the key of the board in `state` is in another secure element."""
    chain, key = stored_identity(state)
    if not chain or key:
        return
    if not element:
        raise CliError(
            "the board's key is in a secure element: give --secure-element as when it enrolled"
        )
    if _read_element(element)[0].spki() != x509.Certificate(chain[0]).spki:
        raise CliError(f"{element} is not the key that the board enrolled with")


_PEM = re.compile(
    rb"-----BEGIN (NEW )?CERTIFICATE REQUEST-----(.*?)-----END (NEW )?CERTIFICATE REQUEST-----",
    re.DOTALL,
)


def _read_csr(path: str) -> tuple[bytes, bytes]:
    """DER of a request and of its SubjectPublicKeyInfo."""
    data = _read(path)
    match = _PEM.search(data)
    try:
        if match:
            data = base64.b64decode(b"".join(match[2].split()), validate=True)
        reader = der.Reader(data)
        fields = reader.enter()
        reader.end()
        info = fields.enter()
        for _ in range(2):
            fields.skip()
        fields.end()
        info.integer()
        info.skip()
        spki = info.element()
        key = der.Reader(spki).enter()
        key.enter()
        key.bit_string()
        key.end()
    except (ValueError, errors.PeerError):
        message = f"{path} holds no certification request in PEM or DER, or one cut off or damaged"
        raise CliError(message) from None
    return data, spki


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
    fields: Event = {}
    if key:
        fields["decrypt_key"] = _der_of(_read_usable_key(key))
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


def end_of(path: Path) -> datetime | None:
    """When the certificate in the PEM file at `path` ends; None where there is none."""
    try:
        certificates = _read_certificates(str(path))
    except CliError:
        return None
    return datetime.fromtimestamp(certificates[0].not_after, UTC)
