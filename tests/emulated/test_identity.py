"""A board gets its identity over the serial port: its key never leaves it, the host enrols."""

import base64
import json
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from mpest import emulator
from mpest.boards import Board
from mpest.server import EstServer, ServerConfig, running_server

PowerOn = Callable[[Board], AbstractContextManager[emulator.Machine]]

MAKE_REQUEST = """
from wiring import Board
from est import csr, keys, store
from est.extensions import requested
key = keys.P256Key()
extensions = requested(["DNS:board-1.example"], ["clientAuth"])
request = csr.build(key, "CN=board-1,O=Example", extensions)
store.Store(Board().check_storage()).save("order", store.pack({}, key.der(), request))
print(request.hex())
"""
INSTALL = """
from est import clock, run, store, verdict
records = store.Store("/")
_, key, _ = store.unpack(records.load("order"))
issued = [bytes.fromhex(der) for der in {issued}]
anchors = [bytes.fromhex(der) for der in {anchors}]
items = run(verdict.accept(issued, (), key, anchors, clock.now()))
records.save("identity", store.pack({{}}, *items))
records.erase("order")
"""
READ = """
import hashlib, json
from est import keys, store, x509
records = store.Store("/")
_, key, *chain = store.unpack(records.load("identity"))
key = keys.load(key)
algorithm, signature = key.sign(b"challenge")
print(json.dumps({
    "chain": [der.hex() for der in chain],
    "subject": str(x509.Certificate(chain[0])),
    "spki": key.spki().hex(),
    "signature": signature.hex(),
    "order": records.load("order"),
}))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EstServer]:
    config = ServerConfig(
        directory=tmp_path / "ca",
        port=0,
        auth="basic",
        users={"board": "correct horse"},
        chain_length=2,
    )
    with running_server(config) as running:
        yield running


def enroll(server: EstServer, request: bytes) -> list[x509.Certificate]:
    """simpleenroll on behalf of a board."""
    password = base64.b64encode(b"board:correct horse").decode()
    order = urllib.request.Request(
        server.url + "/simpleenroll",
        data=base64.encodebytes(request),
        headers={"Content-Type": "application/pkcs10", "Authorization": f"Basic {password}"},
    )
    context = ssl.create_default_context(cafile=server.ca_pem)
    with urllib.request.urlopen(order, context=context, timeout=30) as answer:
        return pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.read()))


def hexes(certificates: list[x509.Certificate]) -> list[str]:
    return [one.public_bytes(Encoding.DER).hex() for one in certificates]


@pytest.mark.timeout(600)
def test_enrol_over_serial(
    board: Board, power_on: PowerOn, server: EstServer, tmp_path: Path
) -> None:
    with power_on(board) as machine:
        machine.inject_entropy()
        request = bytes.fromhex(machine.run(MAKE_REQUEST))
        # The host may take its time; the board need not stay awake.
        machine.soft_reset()
        issued = enroll(server, request)
        intermediate = server.ca_certificates[:-1]
        machine.inject_entropy()
        machine.run(
            INSTALL.format(
                issued=hexes([*issued, *intermediate]),
                anchors=hexes(server.ca_certificates[-1:]),
            )
        )
        machine.soft_reset()
        machine.inject_entropy()
        found = json.loads(machine.run(READ))
        if emulator.Profile.of(board).keeps_storage:
            machine.power_off()
            machine.power_on()
            machine.inject_entropy()
            after = json.loads(machine.run(READ))
            assert after | {"signature": ""} == found | {"signature": ""}
    assert found["chain"] == hexes([*issued, *intermediate])
    assert found["subject"] == "CN=board-1,O=Example"
    assert found["order"] is None
    public = issued[0].public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert found["spki"] == spki.hex()
    files = {
        "leaf.pem": issued[0].public_bytes(Encoding.PEM),
        "intermediate.pem": intermediate[0].public_bytes(Encoding.PEM),
        "public.pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "signature": bytes.fromhex(found["signature"]),
        "challenge": b"challenge",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    openssl = [
        f"verify -purpose sslclient -CAfile {server.ca_pem} -untrusted intermediate.pem leaf.pem",
        "dgst -sha256 -verify public.pem -signature signature challenge",
    ]
    for arguments in openssl:
        subprocess.run(["openssl", *arguments.split()], check=True, cwd=tmp_path)


def test_no_key_without_entropy(board: Board, power_on: PowerOn) -> None:
    make_key = "from est import keys\nkeys.P256Key()\n"
    check = "from wiring import Board\nBoard().check_entropy()\n"
    with power_on(board) as machine:
        with pytest.raises(emulator.BoardError, match=r"UsageError: .* est\.entropy\.use"):
            machine.run(make_key)
        with pytest.raises(emulator.BoardError, match="UsageError"):
            machine.run(check)
        with pytest.raises(emulator.BoardError, match="32 bytes or more"):
            machine.run("import qemu\nqemu.inject(bytes(31))\n")
        machine.inject_entropy()
        assert machine.run(check + make_key) == ""
        # What was injected is gone with the reset, with all that was drawn from it.
        machine.soft_reset()
        with pytest.raises(emulator.BoardError, match=r"UsageError: .* est\.entropy\.use"):
            machine.run(make_key)


def test_unique_id(board: Board, power_on: PowerOn) -> None:
    read = "from wiring import Board\nprint(Board().unique_id())\n"
    with power_on(board) as machine:
        machine.inject_entropy()
        first = machine.run(read)
        assert len(first.strip()) == 16
        machine.soft_reset()
        assert machine.run(read) == first
    with power_on(board) as machine:
        machine.inject_entropy()
        assert machine.run(read) != first


WRITE_ON_AND_ON = """
from est import store
records = store.Store("/")
count = 0
while True:
    count += 1
    records.save("x", b"%08d" % count * 64)
"""


@pytest.mark.timeout(300)
def test_power_cuts_while_writing(mps2: Board, power_on: PowerOn, tmp_path: Path) -> None:
    """QEMU is killed in the middle of whatever littlefs writes."""
    script = tmp_path / "write.py"
    script.write_text(WRITE_ON_AND_ON)
    read = "from est import store\nprint(store.Store('/').load('x'))\n"
    last = 0
    with power_on(mps2) as machine:
        machine.run("from est import store\nstore.Store('/').save('x', b'%08d' % 0 * 64)")
        cuts, pause = 0, 0.2
        while cuts < 8 or last <= 3:
            machine.mpremote("resume", "run", "--no-follow", script)
            time.sleep(pause + cuts * 0.037)
            machine.power_off()
            machine.power_on()
            record = eval(machine.run(read))
            assert record == record[:8] * 64
            assert int(record[:8]) >= min(last, 1)
            last = max(last, int(record[:8]))
            cuts += 1
            if last <= cuts // 2:  # a busy machine writes less in that time
                pause *= 2
