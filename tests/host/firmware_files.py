"""Files for boards: firmware as MicroPython's builds make it, with made-up content; a key pair."""

import functools
import hashlib
import operator
import struct
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

CHIP_IDS = {"esp32": 0, "esp32c3": 5, "esp32s3": 9}
RAM = {"esp32": 0x3FFF0000, "esp32c3": 0x3FC80000, "esp32s3": 0x3FC88000}


def boot_loader(chip: str) -> bytes:
    """An image with one segment: header, extended header, segment, checksum, hash."""
    data = bytes(range(256)) * 16
    image = struct.pack("<BBBBI", 0xE9, 1, 2, 0x20, 0x40080000)
    image += struct.pack("<B3xHBHHxxxxB", 0xEE, CHIP_IDS[chip], 0, 0, 0xFFFF, 1)
    image += struct.pack("<II", RAM[chip], len(data)) + data
    image += bytes(15 - len(image) % 16)
    image += bytes([functools.reduce(operator.xor, data, 0xEF)])
    return image + hashlib.sha256(image).digest()


def esp32(chip: str, offset: int, *, storage: int = 0x200000, size: int = 0x20000) -> bytes:
    """Boot loader, partition table and an application, `size` bytes in all."""
    partitions = [(1, 2, 0x9000, b"nvs"), (0, 0, 0x10000, b"factory"), (1, 129, storage, b"vfs")]
    table = b"".join(
        struct.pack("<HBBII16sI", 0x50AA, kind, subtype, at, 0x6000, label, 0)
        for kind, subtype, at, label in partitions
    )
    start = boot_loader(chip).ljust(0x8000 - offset, b"\xff")
    return (start + table).ljust(0x10000 - offset, b"\xff").ljust(size, b"\x5a")


def uf2_block(address: int, number: int, count: int, family: int, flags: int = 0x2000) -> bytes:
    head = struct.pack("<8I", 0x0A324655, 0x9E5D5157, flags, address, 256, number, count, family)
    return head + bytes([number & 0xFF]) * 476 + struct.pack("<I", 0x0AB16F30)


def uf2(family: int, addresses: Sequence[int]) -> bytes:
    """A block for each address."""
    count = len(addresses)
    return b"".join(uf2_block(at, n, count, family) for n, at in enumerate(addresses))


def certificate_and_key() -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "made up")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    now = datetime.now()
    builder = builder.not_valid_before(now - timedelta(2)).not_valid_after(now + timedelta(2))
    certificate = builder.sign(key, hashes.SHA256())
    return (
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
