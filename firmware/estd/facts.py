"""What is known of an identity, for hooks and for `status`."""

import binascii
import hashlib

from est import x509

_SUBJECT_ALT_NAME = b"\x55\x1d\x11"
_DNS = 0x82


def of(known):
    """Dict of what the certificate of est.identity.Identity `known` says. Unix seconds."""
    leaf = x509.Certificate(known.chain[0])
    return {
        "subject": str(leaf),
        "issuer": x509.name_text(leaf.issuer),
        "serial": binascii.hexlify(leaf.serial).decode(),
        "sha256": hashlib.sha256(leaf.der).digest().hex(),
        "domains": domains(leaf),
        "not_before": leaf.not_before,
        "not_after": leaf.not_after,
        "generation": known.generation,
    }


def domains(leaf):
    """The DNS names (text) of an est.x509.Certificate."""
    from est import der
    from est.errors import PeerError

    value = leaf.extension(_SUBJECT_ALT_NAME)
    found = []
    try:
        general_names = der.Reader(value).enter() if value else None
        while general_names and general_names.more():
            kind = general_names.peek()
            content = general_names.bytes(0)
            if kind == _DNS:
                found.append(bytes(content).decode())
    except (PeerError, ValueError):
        pass  # the certificate serves; what it says there is not ours to judge
    return found
