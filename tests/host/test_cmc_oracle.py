"""The board's CMC requests as openssl verifies and pyasn1-modules reads them."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cmc_client
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pyasn1_modules import rfc6402
from server_client import make_csr

from mpest.sim import cpython

cpython.install()

from est import cmc, keys  # noqa: E402

NAME = x509.Name.from_rfc4514_string("CN=board-1,O=Acme")
KEYS = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", KEYS)
def test_signed_request(tmp_path: Path, kind: str) -> None:
    key = KEYS[kind]()
    start = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(NAME, NAME, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=9))
        .sign(key, hashes.SHA256())
    )
    leaf = certificate.public_bytes(Encoding.DER)
    (tmp_path / "ca").write_bytes(certificate.public_bytes(Encoding.PEM))
    form = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    issuer = certificate.issuer.public_bytes()
    serial = certificate.serial_number.to_bytes(20, "big")
    control = cmc.revoke_request(issuer, serial, "superseded", "20260102030405Z", b"pw", "Tschüß")
    csr = make_csr("CN=board-1").public_bytes(Encoding.DER)
    request = cmc.Request(keys.load(form), [leaf], (control,), (csr,))

    content = cmc_client.verify(tmp_path, request.der, tmp_path / "ca")
    name, found, bag = cmc_client.content_of(request.der)
    assert (name, found, bag) == (str(rfc6402.id_cct_PKIData), content, [certificate])
    body = cmc_client.decode(content, rfc6402.PKIData())
    assert [int(one["bodyPartID"]) for one in body["controlSequence"]] == [1, 2, 3]
    controls = cmc_client.read(content)
    assert len(controls[rfc6402.id_cmc_senderNonce][0]) == 18
    (revocation,) = controls[rfc6402.id_cmc_revokeRequest]
    asked = cmc_client.decode(revocation, rfc6402.RevokeRequest())
    assert cmc_client.encode(asked["issuerName"]) == issuer
    assert int(asked["serialNumber"]) == certificate.serial_number
    assert int(asked["reason"]) == 4
    assert asked["invalidityDate"].asDateTime == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (bytes(asked["passphrase"]), str(asked["comment"])) == (b"pw", "Tschüß")
    (tagged,) = body["reqSequence"]
    assert int(tagged["tcr"]["bodyPartID"]) == 4
    assert cmc_client.encode(tagged["tcr"]["certificationRequest"]) == csr
    # openssl is no rubber stamp.
    broken = request.der.replace(b"Tsch", b"tsch")
    with pytest.raises(subprocess.CalledProcessError):
        cmc_client.verify(tmp_path, broken, tmp_path / "ca")
