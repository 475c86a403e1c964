"""Makes the vectors of this folder anew: python tests/vectors/make.py.

cmc: messages of full CMC as Bouncy Castle writes them (Debian: libbcpkix-java and a JDK), an
implementation that shares nothing with est. Each run has new keys.
"""

import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HERE = Path(__file__).parent
JARS = ":".join(f"/usr/share/java/{name}.jar" for name in ("bcpkix", "bcprov", "bcutil"))


def name(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])


def cmc() -> None:
    folder = HERE / "cmc"
    folder.mkdir(exist_ok=True)
    key, ca_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(
            name((NameOID.COMMON_NAME, "device-7"), (NameOID.ORGANIZATION_NAME, "Example"))
        )
        .issuer_name(name((NameOID.COMMON_NAME, "mini CA")))
        .serial_number(0x1234ABCD)
        .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2030, 1, 1, tzinfo=UTC))
        .public_key(key.public_key())
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "signer-cert.der").write_bytes(certificate.public_bytes(Encoding.DER))
    with tempfile.NamedTemporaryFile() as file:
        file.write(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        subprocess.run(["java", "-cp", JARS, HERE / "Cmc.java", folder, file.name], check=True)


if __name__ == "__main__":
    cmc()
    print(*sorted(str(path.relative_to(HERE)) for path in HERE.glob("*/*")), sep="\n")
    sys.exit(0)
