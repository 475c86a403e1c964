"""P-256 in C, which `make bench` counts for comparison, computes what it should."""

import c_reference
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from mpest.boards import Board


@pytest.mark.timeout(300)
def test_counts(board: Board) -> None:
    mbedtls, p256_m = c_reference.count(board).values()
    for counted in mbedtls, p256_m:
        assert 1_000_000 < counted["key_pair"] < counted["sign"] < counted["verify"]
    assert mbedtls["sign"] < p256_m["sign"]


def test_wrong_results_are_noticed() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    public = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    algorithm = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    r, s = utils.decode_dss_signature(key.sign(c_reference.DIGEST, algorithm))
    c_reference.check(public, r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    with pytest.raises(InvalidSignature):
        c_reference.check(public, r.to_bytes(32, "big") + (s ^ 1).to_bytes(32, "big"))
