"""A board that publishes over MQTT with its certificate, and renews it meanwhile.

The broker is mosquitto, which demands certificates of a chain of three and goes by a CRL. `run`
renews so often while a connection is held. That one must go on, the next one must show the new
certificate with its chain, no message may be lost, and the heap may not grow. `faults` lets the
network and the broker fail; the board must be back within two keepalives. `revoked` has the
certificate revoked: the board must find its way back.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import line
from broker import DOUBLES, Broker, Subscriber, Wire
from cryptography import x509

from mpest.server import EstServer, ServerConfig, running_server
from mpest.server.authority import Authority
from mpest.server.ca import Order, common_name, new_key, now
from mpest.server.tls import TlsIdentity, general_name

PROGRAM = Path(__file__).with_name("use_program.py")
# As tests/host/test_contracts.py; on CPython the original does not run.
ORIGINALS = os.environ.get("MPEST_LIBRARIES") or str(DOUBLES)
CHAIN = 3
KEEPALIVE = 5  # seconds; a handshake takes one under qemu
PATIENT = 120  # where a renewal under qemu on a busy machine may hold the board up
# Of one runtime, in `make soak`.
MANY = 1000
# The first renewals load what stays.
WARM = 3


class Bench:
    """A board, its EST server, the broker, and the wire between board and broker."""

    def __init__(
        self, server: EstServer, broker: Broker, wire: Wire, board: line.Line, state: Path
    ) -> None:
        self.server = server
        self.broker = broker
        self.wire = wire
        self.board = board
        self.subscriber = Subscriber(broker.open_port)
        self.problems: list[str] = []
        self.count = 0
        self._state = state

    def do(self, command: str, **fields: Any) -> line.Answer:
        self.board.say(do=command, **fields)
        answer = self.board.hear(120)
        if not answer["ok"]:
            self.problems.append(f"{command}: {answer['error']}")
        return answer

    def publish(self, messages: int = 1) -> line.Answer:
        for _ in range(messages):
            answer = self.do("publish", text=str(self.count))
            self.count += 1
        return answer

    def shown(self) -> None:
        """The last connection showed the certificate of today, with its chain."""
        chain, _ = line.stored_identity(self._state)
        if len(chain) != CHAIN:
            self.problems.append(f"a chain of {len(chain)}")
        if [one for one in chain if one not in self.wire.sent[-1]]:
            self.problems.append("the last connection does not show the certificate of today")

    def missing(self, seconds: float = 5) -> list[int]:
        """Numbers of the messages that did not arrive."""
        until = time.monotonic() + seconds
        while True:
            texts = {text for text in self.subscriber.texts if text != "in"}
            lost = sorted(set(range(self.count)) - set(map(int, texts)))
            if not lost or time.monotonic() > until:
                return lost
            time.sleep(0.05)

    def crl(self) -> bytes:
        return (self.server.config.directory / "crl.pem").read_bytes()


@contextmanager
def bench(runtime: str, client: str = "simple", keepalive: int = KEEPALIVE) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(dir=line.MEMORY) as name:
        folder = Path(name)
        config = ServerConfig(
            directory=folder / "ca",
            auth="basic",
            users={line.USER: line.PASSWORD},
            chain_length=CHAIN,
        )
        with running_server(config) as server:
            authority = Authority.open(config.directory, CHAIN)
            key = new_key()
            names = x509.SubjectAlternativeName([general_name("localhost")])
            order = Order(common_name("broker"), key.public_key(), names)
            leaf = authority.issuer.sign(order, now() + timedelta(days=365))
            identity = TlsIdentity([leaf, *authority.sent], key)
            crl = (config.directory / "crl.pem").read_bytes()
            state = folder / "board"
            with (
                Broker(identity, authority.root.certificate, crl) as broker,
                closing(Wire(broker.port)) as wire,
                line.Line(
                    server,
                    runtime,
                    state,
                    program=PROGRAM,
                    broker=["localhost", wire.port],
                    keepalive=keepalive,
                    client=client,
                    library=str(DOUBLES) if runtime == "cpython" else ORIGINALS,
                ) as board,
            ):
                board.start()
                made = Bench(server, broker, wire, board, state)
                made.do("enroll")
                made.do("connect")
                made.shown()
                yield made


def run(
    renewals: int = MANY, runtime: str = "micropython", client: str = "simple"
) -> dict[str, Any]:
    """Renew so often. Returns counts, and as `problems` a list of texts."""
    heaps = []
    with bench(runtime, client, PATIENT) as made:
        for number in range(renewals):
            made.publish(2)
            open_ones = len(made.wire.sent)
            generation = made.do("renew")["generation"]
            if generation != number + 2:
                made.problems.append(f"generation {generation} after {number + 1} renewals")
            made.publish()
            if len(made.wire.sent) != open_ones:
                made.problems.append("the connection that was held has not gone on")
            made.do("disconnect")
            made.do("connect")
            made.publish()
            made.shown()
            heaps.append(made.do("nothing")["heap"])
            if made.problems:
                break
        lost = made.missing()
        found = {
            "renewals": len(heaps),
            "messages": made.count,
            "lost": len(lost),
            "connections": len(made.wire.sent),
            "heap": max(heaps[WARM:], default=0) - (heaps[WARM - 1] if len(heaps) > WARM else 0),
            "problems": made.problems,
        }
    if lost:
        made.problems.append(f"lost: {lost}")
    if found["heap"] > 0:
        made.problems.append(f"the heap grew by {found['heap']} octets")
    return found


def faults(runtime: str, client: str = "simple") -> dict[str, Any]:
    """A wire that falls silent, a broker that starts anew, connections that are cut.

    Returns by fault how many milliseconds passed until a message had arrived, and `problems`.
    """
    found: dict[str, Any] = {}
    with bench(runtime, client) as made:

        def back(fault: str) -> None:
            answer = made.publish()
            found[fault] = answer["ms"]
            if answer["waited"] > 2 * KEEPALIVE * 1000:
                made.problems.append(f"{fault}: back after {answer['ms']} ms")
            if {"failed", "ordered"} & set(answer["events"]):
                made.problems.append(f"{fault}: the agent was asked: {answer['events']}")
            made.shown()

        made.publish()
        made.wire.fall_silent()
        back("silence")
        made.broker.stop()
        time.sleep(1)
        made.broker.start()
        made.subscriber.again()
        back("restart")
        # As just-in-time registration does with the first connection of a certificate.
        made.do("renew")
        made.do("disconnect")
        made.wire.cut = 1
        back("cut")
        lost = made.missing()
        if lost:
            made.problems.append(f"lost: {lost}")
        found["problems"] = made.problems
    return found


def revoked(runtime: str) -> dict[str, Any]:
    """A revoked certificate is refused by the broker; the agent, told so, gets another."""
    with bench(runtime, keepalive=PATIENT) as made:
        made.publish()
        made.do("disconnect")
        made.server.revoke(int(made.server.issued()[-1].serial, 16))
        made.broker.revoke(made.crl())
        made.subscriber.again()
        answer = made.do("refused")
        made.do("connect")
        made.publish()
        made.shown()
        lost = made.missing()
        if lost:
            made.problems.append(f"lost: {lost}")
        found = {"generation": answer["generation"], "problems": made.problems}
    return found
