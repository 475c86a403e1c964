"""Other libraries' elliptic curves, fetched by pip and changed only as far as MicroPython needs.

Each becomes a folder of .mpy files with a module `peer`: key(d) is a private key, public(key) a
point, sign(key, e) a tuple, verify(point, e, *signature) tells; d and e are integers. Other
libraries need not do DER, nor all but starkbank-ecdsa RFC 6979: their nonces are random numbers.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from report import EST

from mpest.toolchain import mpy

_CURVE = """
import os
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
def key(d):
    return d
def random():
    return int.from_bytes(os.urandom(40), "big") % (N - 1) + 1
def sign(d, e):
    k = random()
    r = public(k)[0] % N
    return r, inverse(k, N) * (e + r * d) % N
def verify(point, e, r, s):
    w = inverse(s, N)
    return combine(e * w % N, r * w % N, point) % N == r
"""


@dataclass(frozen=True)
class Peer:
    """modules: {module: file in what pip installs, or source text}; changes: {old: new} in all."""

    requirement: str
    modules: dict[str, Path | str]
    changes: dict[str, str]
    adapter: str

    @property
    def name(self) -> str:
        return self.requirement.replace("==", " ")


_SIGNATURE = """
class Signature:
    def __init__(self, r, s, recoveryId=None):
        self.r = r
        self.s = s
"""
# Numbers are of 32 bytes here, so hexadecimal is padded to 64 digits.
_BINARY = """
def hexFromInt(number):
    return "%064x" % number
def byteStringFromHex(text):
    return bytes.fromhex(text)
def numberFromByteString(data, bitLength=None):
    return int.from_bytes(data, "big")
"""
# With SHA-256, whichever hash is named; as fast as est.ec's.
_HMAC = """
from hashlib import sha256
class new:
    def __init__(self, key, data, hashfunc):
        key = int.from_bytes(key + bytes(64 - len(key)), "big")
        for pad in (b"\\x36", b"\\x5c"):
            state = sha256((key ^ int.from_bytes(pad * 64, "big")).to_bytes(64, "big"))
            state.update(data)
            data = state.digest()
        self._digest = data
    def digest(self):
        return self._digest
"""


PEERS = (
    Peer(
        "tinyec==0.4.0",
        {"tinyec.__init__": "", "tinyec.ec": Path("tinyec/ec.py"), "warnings": ""},
        # The recursion is deeper than MicroPython's stack.
        {
            "    g, x, y = egcd(a, p)\n": "    g, h, x, z = a, p, 1, 0\n"
            "    while h:\n        q = g // h\n"
            "        g, h = h, g - q * h\n        x, z = z, x - q * z\n"
        },
        """
from tinyec.ec import Curve, Point, SubGroup, mod_inv as inverse
curve = Curve(P - 3, B, SubGroup(P, G, N, 1))
def public(d):
    point = d * curve.g
    return point.x, point.y
def combine(u, v, point):
    return (u * curve.g + v * Point(curve, *point)).x
""",
    ),
    Peer(
        "embit==0.8.0",
        {"key": Path("embit/util/key.py"), "hmac": ""},
        {},
        """
from key import EllipticCurve, modinv as inverse
curve = EllipticCurve(P, -3, B)
def public(d):
    return curve.affine(curve.mul([(G + (1,), d)]))[:2]
def combine(u, v, point):
    return curve.affine(curve.mul([(G + (1,), u), (point + (1,), v)]))[0]
""",
    ),
    Peer(
        "starkbank-ecdsa==2.3.1",
        {
            "ellipticcurve.__init__": "",
            "ellipticcurve.math": Path("ellipticcurve/math.py"),
            "ellipticcurve.point": Path("ellipticcurve/point.py"),
            "ellipticcurve.curve": Path("ellipticcurve/curve.py"),
            "ellipticcurve.ecdsa": Path("ellipticcurve/ecdsa.py"),
            "ellipticcurve.utils.__init__": "",
            "ellipticcurve.utils.integer": Path("ellipticcurve/utils/integer.py"),
            # What those import from modules that lean on CPython's library.
            "ellipticcurve.signature": _SIGNATURE,
            "ellipticcurve.utils.binary": _BINARY,
            "ellipticcurve.utils.compatibility": "def toBytes(message):\n    return message\n",
            "hmac": _HMAC,
            "secrets": "import os\ndef randbelow(n):\n"
            "    return int.from_bytes(os.urandom(40), 'big') % n\n",
        },
        # There is no int.bit_length; pow(x, -1, n) returns 0 instead of raising.
        {
            "N.bit_length()": "256",
            "n.bit_length()": "(len(bin(n)) - 2)",
            "return pow(x, -1, n)": "raise ValueError",
            "hashfunc().digest_size": "32",
            ".zfill(orderByteLen * 2)": "",
        },
        """
from ellipticcurve.curve import prime256v1 as curve
from ellipticcurve.ecdsa import Ecdsa
from ellipticcurve.math import Math
from ellipticcurve.signature import Signature
class Key:
    def __init__(self, d):
        self.curve = curve
        self.secret = d
class Public:
    def __init__(self, point):
        self.curve = curve
        self.point = point
class Digest:
    def __init__(self, data):
        self._data = data
    def digest(self):
        return self._data
def hashfunc(data):
    # The message is a digest already.
    return Digest(data)
key = Key
plain = random
def random():
    return Key(plain())
def public(key):
    return Math.multiplyGenerator(curve, key.secret)
def sign(key, e):
    signature = Ecdsa.sign(e.to_bytes(32, "big"), key, hashfunc)
    return signature.r, signature.s
def verify(point, e, r, s):
    return Ecdsa.verify(e.to_bytes(32, "big"), Signature(r, s), Public(point), hashfunc)
""",
    ),
    Peer(
        "ecdsa==0.19.2",
        {
            "ecdsa.__init__": "",
            "ecdsa.ellipticcurve": Path("ecdsa/ellipticcurve.py"),
            "ecdsa.numbertheory": Path("ecdsa/numbertheory.py"),
            "ecdsa.errors": Path("ecdsa/errors.py"),
            # What those import from modules that lean on CPython's library.
            "ecdsa._compat": "normalise_bytes = int_to_bytes = bytes_to_int = None\n"
            "def bit_length(x):\n    return len(bin(x)) - 2\n",
            "ecdsa.util": "orderlen = string_to_number = number_to_string = None\n"
            "from ecdsa._compat import bit_length\n",
            "six.__init__": "integer_types = (int,)\nPY2 = False\n"
            "def python_2_unicode_compatible(cls):\n    return cls\n",
            "six.moves": "from functools import reduce\n",
            "functools": "def reduce(f, values, start):\n    for value in values:\n"
            "        start = f(start, value)\n    return start\n",
            "warnings": "",
        },
        {"from __future__ import division": ""},
        """
from ecdsa.ellipticcurve import CurveFp, PointJacobi
from ecdsa.numbertheory import inverse_mod as inverse
curve = CurveFp(P, -3, B, 1)
generator = PointJacobi(curve, G[0], G[1], 1, N, generator=True)
def public(d):
    point = generator * d
    return point.x(), point.y()
def combine(u, v, point):
    return generator.mul_add(u, PointJacobi(curve, point[0], point[1], 1, N), v).x()
""",
    ),
)


# Modules that P-256 needs, with the table that is named first.
_OURS = ("__init__", "ec", "entropy", "errors", "numbers", "windows", "wnaf")
OURS = {
    "est": ("comb", "p256_comb5x2", *_OURS),
    "est, 8 KB table": ("comb", "p256_comb7x2", *_OURS),
    "est, least install": _OURS,
}
_OUR_ADAPTER = """
from est.ec import P256
public = P256.public
random = P256.generate
def key(d):
    return d.to_bytes(32, "big")
def sign(private, e):
    return (P256.sign(private, e.to_bytes(32, "big")),)
def sign_checked(private, e, public):
    return P256.sign(private, e.to_bytes(32, "big"), None, public)
def verify(point, e, signature):
    return P256.verify(point, e.to_bytes(32, "big"), signature)
"""


def build(folder: Path) -> dict[str, Path]:
    """{name: folder of its .mpy files} of all libraries, ours first. pip's errors go through."""
    fetched = folder / "fetched"
    requirements = [peer.requirement for peer in PEERS]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", fetched, *requirements], check=True)
    contents: dict[str, dict[str, str]] = {}
    for name, modules in OURS.items():
        own = {f"est.{module}": (EST / f"{module}.py").read_text() for module in modules}
        contents[name] = {"peer": _OUR_ADAPTER, **own}
    for peer in PEERS:
        contents[peer.name] = {"peer": _CURVE + peer.adapter}
        for module, content in peer.modules.items():
            text = (fetched / content).read_text() if isinstance(content, Path) else content
            for old, new in peer.changes.items():
                text = text.replace(old, new)
            contents[peer.name][module] = text
    built = {}
    for number, (name, modules) in enumerate(contents.items()):
        built[name] = out = folder / str(number)
        for module, text in modules.items():
            path = Path(module.replace(".", "/"))
            source = folder / "source" / str(number) / path.with_suffix(".py")
            compiled = out / path.with_suffix(".mpy")
            for file in (source, compiled):
                file.parent.mkdir(parents=True, exist_ok=True)
            source.write_text(text)
            compiled.write_bytes(mpy.compile_file(source, "armv6m"))
    return built
