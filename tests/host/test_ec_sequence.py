"""The sequence of field operations is the same for every key and nonce."""

import hashlib
import random
import sys
from collections.abc import Iterator

import pytest

from mpest.sim import cpython

cpython.install()

from est.comb import Comb, find  # noqa: E402
from est.ec import P256  # noqa: E402
from est.windows import Windows  # noqa: E402

PATHS = {
    "windows": Windows(P256),
    "comb5x2": Comb(P256, find(P256, 5, 2)),
    "comb7x2": Comb(P256, find(P256, 7, 2)),
}


class Prime(int):
    """The field's prime; it notes where each reduction modulo it happens."""

    places: list[tuple[str, int]] = []  # noqa: RUF012

    def __rmod__(self, value: int) -> int:
        frame = sys._getframe(1)
        self.places.append((frame.f_code.co_name, frame.f_lineno))
        return int(value) % int(self)


@pytest.fixture(params=PATHS)
def reductions(request: pytest.FixtureRequest) -> Iterator[list[tuple[str, int]]]:
    prime = P256.p
    P256.p = Prime(prime)
    P256._fast = PATHS[request.param]
    yield Prime.places
    P256.p = prime
    P256._fast = None


def scalars(count: int) -> list[bytes]:
    """Sparse, dense, short, long, odd, even and random ones."""
    numbers = random.Random(1)
    found = [3 << 250, P256.n - (1 << 200), (1 << 255) + 1, 0xFF << 128, int("5" * 64, 16)]
    found += [numbers.randrange(1 << 100, P256.n) for _ in range(count)]
    return [one.to_bytes(32, "big") for one in found]


def sequences(reductions: list[tuple[str, int]], operation: object, inputs: object) -> set:
    found = set()
    for one in inputs:
        reductions.clear()
        operation(*one)
        found.add(tuple(reductions))
    return found


def test_public(reductions):
    (sequence,) = sequences(reductions, P256.public, [[key] for key in scalars(100)])
    assert len(sequence) > 400


def test_sign(reductions):
    """Each signature has a nonce of its own."""
    digests = [hashlib.sha256(bytes([count])).digest() for count in range(3)]
    inputs = [[key, digest] for key in scalars(40) for digest in digests]
    (sequence,) = sequences(reductions, P256.sign, inputs)
    assert len(sequence) > 400


def test_ecdh(reductions):
    public = P256.public((5).to_bytes(32, "big"))
    (sequence,) = sequences(reductions, P256.ecdh, [[key, public] for key in scalars(40)])
    assert len(sequence) > 2000


def test_it_would_notice(reductions):
    """Verifying works on what everybody knows, and its sequence differs."""
    private = (7).to_bytes(32, "big")
    digests = [bytes(32), hashlib.sha256(b"").digest()]
    inputs = [[P256.public(private), one, P256.sign(private, one)] for one in digests]
    assert len(sequences(reductions, P256.verify, inputs)) == 2
