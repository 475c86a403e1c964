"""The manifest of a batch: its document in JSON, and beside it the station's signature.

The signature is detached CMS SignedData (RFC 5652) in DER. So the manifest is plain JSON to every
tool, and each of its bytes is signed; in CMS that holds the JSON the bytes around it would not be.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from mpest.exits import CliError
from mpest.station import own_certificate
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.record import document

SUFFIX = ".p7s"
"""Of the signature, after the whole name of the manifest."""


class Signer:
    """A station's certificate with its chain, and the key of it."""

    def __init__(self, certificate: Path, key: Path, password: str | None = None) -> None:
        """Files in PEM or DER. Raises CliError where they can't be used together."""
        chain, private = own_certificate.load(certificate, key, password)
        if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise CliError(f"{key} is neither an EC nor an RSA key")
        self.certificate, *self.others = chain
        self._key = private

    def sign(self, content: bytes) -> bytes:
        """CMS SignedData in DER, of the content, with the chain."""
        builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
        builder = builder.add_signer(self.certificate, self._key, SHA256())
        for certificate in self.others:
            builder = builder.add_certificate(certificate)
        options = [
            pkcs7.PKCS7Options.DetachedSignature,
            pkcs7.PKCS7Options.Binary,
            pkcs7.PKCS7Options.NoCapabilities,
        ]
        return builder.sign(Encoding.DER, options)


def manifest(ledger: Ledger, batch: str, signer: Signer) -> tuple[bytes, bytes]:
    """The manifest and its signature. Raises CliError."""
    content = {**document(ledger, batch), "signer": signer.certificate.subject.rfc4514_string()}
    data = json.dumps(content, indent=1).encode() + b"\n"
    return data, signer.sign(data)


def schema() -> dict[str, Any]:
    """The JSON Schema of the manifest."""
    text = (resources.files("mpest.station.ledger") / "manifest.schema.json").read_text()
    content: dict[str, Any] = json.loads(text)
    return content
