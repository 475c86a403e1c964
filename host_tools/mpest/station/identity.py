"""Who a board is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """What a board says of itself.

    unique_id: machine.unique_id() in hex, "" where it has none. mac: in hex, or "". machine,
    platform, version, mpy: as its sys says. files: the paths of all that is on it. key_hash:
    SHA-256 in hex of the SubjectPublicKeyInfo, and chain: DER certificates, leaf first, of the
    identity that lies there already; "" and empty without one. unreadable: why that cannot be
    told, "" where it can.
    """

    unique_id: str
    mac: str
    machine: str
    platform: str
    version: tuple[int, ...]
    mpy: int
    files: tuple[str, ...]
    key_hash: str = ""
    chain: tuple[bytes, ...] = ()
    unreadable: str = ""

    @property
    def blank(self) -> bool:
        """Whether no MicroPython has said it, but a boot loader."""
        return not self.version

    @property
    def provisioned(self) -> bool:
        """Whether the board has a certificate."""
        return bool(self.chain)


@dataclass(frozen=True)
class Birth:
    """Where on a board its birth certificate goes, as config.json names both: PEM, and the key in
    DER. folder: of the order, until both are whole."""

    certificate: str = "/birth.pem"
    key: str = "/birth.key"
    folder: str = "/birth"
