"""One board's life against a server in memory, in simulated time, with the design's rules watched.

`laboratory` gives the shipped code this time, a seeded randomness and OpenSSL's mathematics, and
takes all back. A test makes a Server and a Board in it, says what happens when (`Board.at`), and
lets the board live. After each step, and at each change of its store, the rules are checked; what
breaks one raises Broken with the rule's name.

The rules speak of the truth: the Server's time, what it issued, what it would accept.
"""

import contextlib
import gc
import heapq
import importlib
import itertools
from collections import Counter
from pathlib import Path
from random import Random

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec as openssl
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from mpest.sim import cpython

cpython.install()

import machine  # noqa: E402
import world  # noqa: E402

import est  # noqa: E402
from est import clock, csr, curves, duty, ec, errors, key_types, keys, retry, store, x509  # noqa: E402
from est.agent import Agent  # noqa: E402
from est.errors import EstError  # noqa: E402
from est.store import Store  # noqa: E402

START, DAY, HOUR = world.START, world.DAY, 3600
YEAR = 365.25 * DAY
TEN_YEARS = 3652 * DAY
# The longest back-off with its jitter, and some steps.
LONGEST_WAIT = 21600 * 5 // 4 + 600
# How often, at most, a server is asked for its CA certificates: what a refusal can go unnoticed.
CHECK = 30 * DAY
# Steps that follow at once: bootstrap, order, judging, proof and what the clock adds.
_MAX_IN_A_ROW = 8
# While the clock is not set, a step each 45 s; the last minutes of a life are denser.
_MAX_STEPS_A_DAY = 2400
# Resets aside. Where what is issued is refused, on the last day of a life: 47 floors of 1/8 of
# what is left, with seven connections each.
_MAX_CONNECTIONS_A_DAY = 400

# Else est.apart would load them anew for each step. The others are for boards' processors.
for _path in Path(est.__path__[0]).glob("[a-z]*.py"):
    if not _path.stem.endswith(("_rv32", "_thumb", "_viper")):
        importlib.import_module("est." + _path.stem)


class Broken(AssertionError):
    """A rule of the design does not hold."""


class PowerCut(BaseException):
    """The power goes: nothing in est may catch it."""


class Clock:
    """The board's clock, in place of `time` in est.clock. ahead: seconds; drift: per second."""

    def __init__(self, server):
        self._server = server
        self.ahead = 0
        self.drift = 0
        self._since = server.now

    def time(self):
        now = self._server.now
        return int(now + self.ahead + self.drift * (now - self._since))

    @staticmethod
    def gmtime(*seconds):
        return world.time.gmtime(*seconds)

    def right(self):
        self.ahead = self.drift = 0
        self._since = self._server.now

    def set(self, seconds):
        """Show this time, and run on."""
        self.right()
        self.ahead = seconds - self._server.now

    def error(self):
        return self.time() - self._server.now


class Server(world.World):
    """A World that keeps what the rules are judged by, and renews its own certificate.

    remembers: the same request brings the same certificate. tls_life: of its own certificate, in
    seconds; None for as long as the root. unlucky: called with the operation before each request,
    for a fault of World.fault. allows: called with an Order; False answers 403.
    turned_away, welcome: the certificates that were closed the door on, by chance or not, and
    those that were answered; a Board clears both.
    closed: when a connection was last closed by chance, which looks like a refusal, or all
    were refused.
    born: {DER: when it was issued}. proofs: the certificates that /cacerts was answered with.
    """

    def __init__(self, seed=0, **policy):
        self.remembers = False
        self.tls_life = None
        self.unlucky = None
        self.born = {}
        self.certificates = {}
        self.statuses = {}
        self.proofs = set()
        self._window = None
        self.closed = 0
        self.turned_away = set()
        self.welcome = set()
        super().__init__(seed=b"%r" % seed if isinstance(seed, bytes) else str(seed).encode())
        for name, value in policy.items():
            if not hasattr(self, name):
                raise ValueError(f"the Server has no {name}")
            setattr(self, name, value)
        self.latency = 1
        self.fault = self._fault
        self._hit = None

    def _new_root(self, lifetime=30 * YEAR):
        super()._new_root(lifetime)

    def _fault(self, number, operation, peer):
        self._hit = self.unlucky(operation) if self.unlucky else None
        if self._hit in ("closed", 0):
            self.closed = self.now
            self.turned_away.add(peer)
        return self._hit

    @property
    def server_leaf(self):
        """The certificate that TLS shows, renewed at 2/3 of `tls_life`."""
        if not self.tls_life:
            return self._long
        window = int(self.now) // (self.tls_life * 2 // 3), self.server
        if window != self._window:
            self._window = window
            issuer_key, issuer = self.roots[self.server]
            begin = window[0] * (self.tls_life * 2 // 3) - DAY
            self._short = self._certificate(
                self._long.subject,
                self._long.spki,
                world.extensions.requested(("DNS:est.example",), ("serverAuth",)),
                begin,
                begin + DAY + self.tls_life,
                issuer.subject,
                issuer_key,
            )
        return self._short

    @server_leaf.setter
    def server_leaf(self, leaf):
        self._long = leaf

    def _issue(self, *arguments, **options):
        found = super()._issue(*arguments, **options)
        self.born[found.der] = self.now
        return found

    def _simpleenroll(self, order):
        known = self._answers.get(order.csr)
        if known and self.remembers:
            order.certificate = known
            return world._certificates([known])
        return super()._simpleenroll(order)

    def hello(self, chain, key):
        try:
            return super().hello(chain, key)
        except EstError:
            self.turned_away.add(chain[0])
            raise

    def serve(self, octets, peer):
        answer = super().serve(octets, peer)
        if self._hit is None:
            denied = answer[9:12] in (b"401", b"403")
            (self.turned_away if denied else self.welcome).add(peer)
            if denied and self.status:
                self.closed = self.now
        whole = self._hit is None or (isinstance(self._hit, int) and self._hit >= len(answer))
        if peer and whole and self._asked == "cacerts" and b" 200 " in answer[:13]:
            self.proofs.add(peer)
        return answer

    def _operation(self, method, operation, headers, body, peer):
        count = len(self.orders)
        answer = super()._operation(method, operation, headers, body, peer)
        self._asked = operation
        for one in self.orders[count:]:
            self.statuses[one.csr] = one.status
            if one.certificate:
                self.certificates.setdefault(one.csr, set()).add(one.certificate)
        if len(self.orders) > 2000:
            self._forget()
        return answer

    def _forget(self):
        # Ten years of hours must fit into memory.
        del self.orders[:-10]
        for der in [one for one in self.issued if x509.Certificate(one).not_after < self.now]:
            if der in self.born:
                del self.issued[der], self.born[der]
        for found in (self._answers, self._waiting, self.certificates, self.statuses):
            for one in list(found)[:-50]:
                del found[one]
        self.proofs &= set(self.issued)
        _mathematics.clear()

    def takes_password(self):
        """Whether a board that never enrolled could, by the password."""
        return self.once is None or self._spent is None


class Records(Store):
    """A Store in memory, whose changes are whole or not there. Watched by a Board."""

    def __init__(self, board):
        super().__init__("/")
        self.files = False
        self._board = board

    def load(self, name, least=-1):
        self.damaged = 0
        return self._board.records.get(name)

    def save(self, name, payload):
        self._board.change(name, payload)

    def erase(self, name):
        if name in self._board.records:
            self._board.change(name, None)

    def prepare(self):
        pass

    def close(self):
        pass


class Board:
    """A board and its application's loop. Options are those of est.agent.Agent.

    calm_since: since when nothing disturbs it, or None; set by `disturb` and `calm`.
    patience: seconds of calm after which what is due must be done.
    cut_chance: that the power goes at a write or a request. prompt: whether the application tells
    of a certificate that the server refuses.
    counts: what happened. tell: called with each event and change, or None.
    """

    def __init__(self, server, seed=0, prompt=False, **options):
        self.server = server
        self.random = Random(str(seed))
        self.clock = clock.time = Clock(server)
        self.prompt = prompt
        self.options = {
            "url": world.URL,
            "subject": "CN=board-1",
            "trust": server.fingerprint(),
            "credentials": world.login(),
        }
        self.options.update(options)
        self.records = {}
        self.counts = Counter()
        self.tell = None
        self.cut_chance = 0
        self.cut_next = None
        self.calm_since = server.now
        self.patience = LONGEST_WAIT
        self.moves = Counter()
        self._plan = []
        self._numbers = itertools.count()
        self._day = None
        self._finished = self._finished_for = None
        self._fruitless = False
        self._to_report = []
        self._events = []
        self._bad_since = None
        self._errors = [0]
        self._error_then = 0
        self._turned_away = 0
        self._found = None
        server.watch = lambda kind: self._touch(kind)
        world.Client.world = server
        machine.unique_id = lambda: b"%d" % self.random.unique
        self.random.unique = self.random.getrandbits(48)
        duty.os = _Random(self.random)
        self.start()

    # What a test does.

    def start(self, **options):
        """Boot, with these options of the agent changed."""
        if options:
            self.options.update(options)
        self.agent = Agent(Records(self), on_event=self._event, **self.options)
        self._in_a_row = 0
        self._bad_since = None if self._bad_since is None else self.server.now

    def disturb(self):
        """From now on what is due need not be done."""
        self.calm_since = None

    def calm(self):
        """From now on it must, after `patience`."""
        self.calm_since = self.server.now
        self.clock.right()

    def at(self, seconds, function):
        """Call `function()` so many seconds from now."""
        heapq.heappush(self._plan, (self.server.now + seconds, next(self._numbers), function))

    def live(self, seconds):
        """Let the application run for so long."""
        end = self.server.now + seconds
        while self.server.now < end:
            # As docs/agent.md has an application do it.
            wake = self.server.now + min(self.step(), DAY)
            while self._plan and self._plan[0][0] <= min(wake, end):
                when, _, function = heapq.heappop(self._plan)
                self.server.now = max(when, self.server.now)
                agent = self.agent
                function()
                if self.agent is not agent:
                    wake = self.server.now  # a boot
            self.server.now = max(min(wake, end), self.server.now)

    def step(self):
        """One step of the agent, checked; the seconds that it wants to sleep."""
        server = self.server
        if self.prompt and self._doubtful():
            self.agent.known.refused("handshake failure")
        self._events = []
        connections = server.connections
        before = self.state()
        server.turned_away.clear()
        server.welcome.clear()
        try:
            wait = self.agent.step()
        except PowerCut:
            self.counts["power cuts"] += 1
            server.now += self.random.choice((2, 10, 60, 3600))
            self._to_report = []
            self.start()
            wait = 0
        except BaseException as error:
            raise Broken(f"step raises nothing: {error!r} while {self.agent.doing}") from error
        leaf = self.leaf
        if leaf in server.turned_away:
            self._turned_away += 1
        elif leaf in server.welcome and not any(name == "failed" for name, _ in self._events):
            self._turned_away = 0
        self.moves[before, self.state()] += 1
        self.counts["steps"] += 1
        self._bounded(wait, server.connections - connections)
        self._reported()
        self._a_way_back()
        if self._found:
            raise Broken(self._found)
        return wait

    # What a test sees.

    def items(self, name):
        return store.unpack(self.records.get(name))

    @property
    def leaf(self):
        """DER of the certificate in use, or None."""
        found = self.items("identity")
        return found[2] if found else None

    def state(self):
        """What the board is at: a word of the design's table."""
        found = self.items("order")
        if not found:
            name = "none"
        elif found[0]["state"] == "answered" and self.agent.candidate:
            name = "candidate"
        else:
            name = found[0]["state"]
        return name + (", aside" if "aside" in self.records else "")

    def works(self):
        """Whether the certificate in use is good, by the true time and the server's word."""
        leaf = self.leaf
        return bool(leaf) and self._alive(leaf) and self.server.current(leaf)

    def life(self, leaf):
        """(start, end) of the part of its validity that counts."""
        certificate = x509.Certificate(leaf)
        return (
            max(certificate.not_before, self.server.born.get(leaf, 0)),
            certificate.not_after,
        )

    # What happens to the board.

    def _touch(self, where):
        if self.cut_next is not None:
            self.cut_next -= 1
            if self.cut_next < 0:
                self.cut_next = None
                raise PowerCut(where)
        if self.cut_chance and self.random.random() < self.cut_chance:
            raise PowerCut(where)

    def change(self, name, payload):
        self._touch("before " + name)
        before, after = self.items(name), store.unpack(payload)
        if self.tell:
            state = after and after[0].get("state")
            self.tell("store", {"name": name, "state": state, "erased": not after})
        if payload is None:
            del self.records[name]
        else:
            self.records[name] = payload
        if name in ("order", "aside", "identity"):
            getattr(self, "_changed_" + name)(before, after)
        self._touch("after " + name)

    def _event(self, name, detail):
        self.counts[name] += 1
        self._events.append((name, detail))
        if self.tell:
            self.tell(name, detail)
        if name == "stranded":
            self._stranded(detail)
        if name == "failed" and detail["type"] not in _TYPES:
            self._broken(f"failures are typed: {detail}")

    def _alive(self, leaf):
        return self.server.now <= x509.Certificate(leaf).not_after

    def _doubtful(self):
        leaf = self.leaf
        return leaf and self._alive(leaf) and not self.server.current(leaf)

    def _seems_refused(self, leaf):
        # Three times in a row: then it is what the board must believe.
        return self._turned_away + (leaf in self.server.turned_away) >= 3

    # The rules.

    def _broken(self, text):
        # Not raised at once: the agent would catch it.
        self._found = self._found or text

    def _changed_order(self, before, after):
        if after and after[0]["state"] == "answered":
            self._error_then = self._wrong()
        if after and after[0]["state"] == "made" and (not before or before[2] != after[2]):
            if before:
                self._broken("one order at a time: another one replaces it")
            self.counts["orders"] += 1
            self._floor()
            self._early()
        elif before and not after:
            self._ended(before)
        elif (
            after
            and before[0]["kind"] == after[0]["kind"]
            and _STATES.index(after[0]["state"]) < _STATES.index(before[0]["state"])
        ):
            # A renewal whose certificate ended goes out anew as a first certificate.
            self._broken(f"an order moves only forward: {before[0]['state']} {after[0]['state']}")

    def _floor(self):
        # A renewal storm cannot happen.
        if self._finished is None or self._finished_for != self._wants():
            return
        # It is the board that tells when, by a clock that may be set meanwhile.
        jump = max(abs(self._wrong() - error) for error in self._errors)
        early = self._finished - self.server.now - jump
        if early > 2:
            self._broken(f"a renewal storm cannot happen: {early:.0f} s below the floor")

    def _wrong(self):
        # Seconds that the board believes it is later than it is.
        return self.clock.error() + self.agent.skew

    def _other_settings(self):
        found = self.items("identity")
        return found and found[0]["settings"] != self._wants()

    def _early(self):
        # The clock is a witness: where the server's Date can be had, it orders nothing too early.
        leaf = self.leaf
        if not self._other_settings() and self.works() and not self._seems_refused(leaf):
            start, end = self.life(leaf)
            share = self.items("identity")[0]["share"]
            early = start + (end - start) * share / 65536 - self.server.now
            if self.server.date == 0 and early > DAY:
                self._broken(f"the clock is a witness: an order {early / DAY:.1f} days too early")

    def _wants(self):
        return retry.asked(self.agent)

    def _finish(self, order, brought):
        # When the next order may be made.
        self._finished_for = order[0]["settings"]
        leaf = self.leaf
        now = self.server.now
        error = self._wrong()
        self._errors = [error]
        if brought:
            # Its life began when it came.
            self._errors.append(self._error_then)
            start, end = self.life(leaf)
            self._finished = start + self._counted(leaf) / 24
            return
        # The floor counts, denser as the end comes near.
        floors = [] if leaf else [300]
        if leaf:
            end = self.life(leaf)[1]
            for left in (end - now, end - now - error):
                if left > 0:
                    floors.append(max(min(self._counted(leaf) / 24, left / 8), 60))
                else:
                    floors.append(300)
        self._finished = now + min(floors)

    def _counted(self, leaf):
        # The life that the board counts: to it the second answer to a request is the issue.
        start, end = self.life(leaf)
        return end - max(start, self.items("identity")[0]["issued"])

    def _ended(self, before):
        # Nothing issued is thrown away, and no order is given up.
        certificates = self.server.certificates.get(before[2], ())
        again = self.leaf and before[0]["leaf"] == store.digest(self.leaf)
        if self.leaf in certificates and not again:
            self._finish(before, True)
            return
        works = self.works() and not self._seems_refused(self.leaf)
        if not works and before[0]["leaf"] and before[0]["state"] != "answered":
            self.counts["given up with its certificate"] += 1
            return
        status = self.server.statuses.get(before[2])
        final = status and status // 100 == 4 and status not in _NOT_FINAL
        other_server = self.agent.url != self.options["url"]  # while that is asked
        if other_server or before[0]["asked"] != self._asked(before):
            # Asked for a last time, and ended: the settings are others.
            self.counts["given up for other settings"] += 1
            return
        self._finish(before, False)
        aside = self.items("aside")
        if aside and aside[2] == before[2]:
            return
        if not certificates:
            if not final:
                self._broken(f"one order at a time: given up in {before[0]['state']}, {status}")
            return
        if not final and any(self._alive(one) for one in certificates if one != self.leaf):
            self._broken("nothing issued is thrown away: its order ended")
        self._to_report.append("order")
        self.counts["ended"] += 1

    def _asked(self, items):
        agent = self.agent
        leaf = agent.known.chain[0] if items[0]["leaf"] and agent.known.chain else None
        return retry.asked(agent, leaf)

    def _changed_aside(self, before, after):
        if not before or (after and after[2] == before[2]):
            self.counts["aside"] += bool(after and not before)
            return
        if after:
            self.counts["aside replaced"] += 1
            return
        certificates = self.server.certificates.get(before[2], ())
        leaf = self.leaf
        if leaf in certificates:
            self._finish(before, True)
            return
        if not any(self._alive(one) for one in certificates):
            return
        if leaf and all(
            x509.Certificate(one).not_after <= x509.Certificate(leaf).not_after
            for one in certificates
        ):
            return
        self._broken("nothing issued is thrown away: it was aside")

    def _changed_identity(self, before, after):
        if not after:
            return
        leaf = after[2]
        if keys.load(after[1]).spki() != x509.Certificate(leaf).spki:
            self._broken("key and certificate are not a pair")
        if before and before[2] == leaf:
            return
        self.counts["identities"] += 1
        self._proof(before, after)
        self._turned_away = 0

    def _proof(self, before, after):
        if not before:
            return
        leaf = after[2]
        if after[0]["generation"] != before[0]["generation"] + 1:
            self._broken("generations count the identities")
        old = before[2]
        start, end = self.life(old)
        now = self.server.now
        if now > end:
            self.counts["gap"] += now - end
            self.counts["gaps"] += 1
        if leaf in self.server.proofs:
            return
        # By the board's clock, as far as it may know.
        if now + max(self._wrong(), 0) >= end - (end - start) / 12:
            self.counts["unproven at the end"] += 1
        elif self.server.current(old) and not self._seems_refused(old):
            self._broken("proof before trust: a certificate that works is replaced unproven")

    def _stranded(self, detail):
        server = self.server
        leaf = self.leaf
        factory = self.options.get("factory")
        able = []
        # Without a Date nothing contradicts a clock by which it ended.
        ended = (
            server.date is None and leaf and self.agent.now() > x509.Certificate(leaf).not_after
        )
        if leaf and server.current(leaf) and not ended:
            able.append("the certificate")
        if factory and server.current(factory[0][0]):
            able.append("the factory's certificate")
        if self.options["credentials"] and server.takes_password() and not server.status:
            able.append("the password")
        # A refusal that is none deceives any board.
        if able and server.status is None and server.now - server.closed > 4 * LONGEST_WAIT:
            self._broken(f"stranded only where nothing can mend it, but {able} could: {detail}")

    def _reported(self):
        if self._to_report and not any(name == "failed" for name, _ in self._events):
            self._broken("nothing issued is thrown away: an ended order is not reported")
        self._to_report = []

    def _bounded(self, wait, connections):
        if not isinstance(wait, int) or wait < 0:
            self._broken(f"a step returns seconds, not {wait!r}")
        self._in_a_row = 0 if wait else self._in_a_row + 1
        if self._in_a_row > _MAX_IN_A_ROW:
            self._broken(f"no busy loop: {self._in_a_row} steps in a row, {self._events}")
        day = int(self.server.now) // DAY
        if day != self._day:
            self._day, self._steps, self._connections = day, 0, 0
        self._steps += 1
        self._connections += connections
        self.counts["connections"] += connections
        counts = self.counts
        counts["most steps a day"] = max(counts["most steps a day"], self._steps)
        counts["most connections a day"] = max(counts["most connections a day"], self._connections)
        if self._steps > _MAX_STEPS_A_DAY:
            self._broken(f"no busy loop: {self._steps} steps in a day")
        # More where lives are short.
        orders = 0
        if self.leaf:
            start, end = self.life(self.leaf)
            orders = DAY / max((end - start) / 24, 60)
        if self._connections > _MAX_CONNECTIONS_A_DAY + 4 * orders:
            self._broken(f"no busy loop: {self._connections} connections in a day")

    def _a_way_back(self):
        # In calm, what is due is done; what is lost comes back.
        now = self.server.now
        leaf = self.leaf
        if leaf:
            start, end = self.life(leaf)
            late = start + (end - start) * 2 / 3
            if not self.server.current(leaf):
                late = now if self._bad_since is None else self._bad_since
        else:
            late = now if self._bad_since is None else self._bad_since
        self._bad_since = late if not leaf or not self.server.current(leaf) else None
        if self.calm_since is None:
            return
        slack = self.patience
        if leaf and not self.server.current(leaf) and self._alive(leaf) and not self.prompt:
            slack += min(CHECK, max((end - start) / 6, HOUR))
        over = now - max(self.calm_since, late) - slack
        if over > 0:
            what = "a renewal" if self.works() else "an identity"
            self._broken(f"a way back: {what} is missing for {over:.0f} s too long")


_TYPES = {one.__name__ for one in vars(errors).values() if isinstance(one, type)}
_TYPES.add("CertificateRefused")
_NOT_FINAL = (401, 403, 408, 409, 429)
_STATES = ("made", "waiting", "answered")


class _Random:
    # In place of `os` in est.duty.
    def __init__(self, random):
        self.urandom = random.randbytes


_parse = x509.Certificate.__init__
# Certificates that were parsed: {DER: attributes}.
_known = {}


def _remember(certificate, data):
    # In place of x509.Certificate.__init__.
    data = bytes(data)
    found = _known.get(data)
    if not found:
        if len(_known) > 100:
            _known.clear()
        _parse(certificate, data)
        found = _known[data] = dict(certificate.__dict__)
    certificate.__dict__.update(found)


def _call(function, *arguments):
    return function(*arguments)


# OpenSSL's mathematics: {arguments: result}.
_mathematics = {}


def _private(curve, private):
    return openssl.derive_private_key(int.from_bytes(private, "big"), curve())


def _remembered(compute):
    def call(*arguments):
        arguments = (compute, *map(bytes, arguments[:3]))
        found = _mathematics.get(arguments)
        if found is None:
            found = _mathematics[arguments] = compute(*arguments[1:])
        return found

    return call


def _curve(curve):
    def public(private):
        numbers = _private(curve, private).public_key().public_numbers()
        size = len(private)
        return b"\4" + numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")

    def algorithm(digest, deterministic=False):
        kind = {32: hashes.SHA256, 48: hashes.SHA384, 64: hashes.SHA512}[len(digest)]
        return openssl.ECDSA(Prehashed(kind()), deterministic_signing=deterministic)

    def sign(private, digest):
        return _private(curve, private).sign(digest, algorithm(digest, True))

    def verify(public, digest, signature):
        try:
            key = openssl.EllipticCurvePublicKey.from_encoded_point(curve(), public)
            key.verify(signature, digest, algorithm(digest))
        except (InvalidSignature, ValueError):
            return False
        return True

    remembered = _remembered(sign)
    return {
        "public": _remembered(public),
        "sign": lambda private, digest, entropy=None, public=None: remembered(private, digest),
        "verify": _remembered(verify),
    }


_CURVES = ((ec.P256, _curve(openssl.SECP256R1)), (curves.P384, _curve(openssl.SECP384R1)))


@contextlib.contextmanager
def laboratory():
    """While it lasts the shipped code runs against a Server, in its time."""
    usual = clock.time, duty.os, machine.unique_id
    # All is loaded, and stays: to look for what is not takes most of the time.
    usual_aparts = {
        (module, name): getattr(est, name)
        for module in vars(est).values()
        for name in ("apart", "aparts")
        if module is not est and getattr(module, name, None) is getattr(est, name)
    }
    for module, name in usual_aparts:
        setattr(module, name, _call)
    # All that is loaded is nothing to collect, else that takes half of the time.
    gc.freeze()
    x509.Certificate.__init__ = _remember
    world.install(Server(), deterministic=True)
    # The shipped clock, which reads the simulated time.
    clock.now, clock.now_or_0 = world._original["now"], world._original["now_or_0"]
    ec.random = world.entropy.random = lambda count: world.Client.world.random(count)
    for curve, functions in _CURVES:
        for name, function in functions.items():
            setattr(curve, name, function)
    try:
        yield
    finally:
        for curve, functions in _CURVES:
            for name in functions:
                delattr(curve, name)
        for (module, name), function in usual_aparts.items():
            setattr(module, name, function)
        clock.time, duty.os, machine.unique_id = usual
        x509.Certificate.__init__ = _parse
        gc.unfreeze()
        world.uninstall()
        _mathematics.clear()
        _known.clear()


def subject(leaf):
    """DER of the Subject of a certificate."""
    return x509.Certificate(leaf).subject


def name(text):
    """DER of a Subject."""
    return csr.name(text)


def key_type(leaf):
    """Its name in est.key_types."""
    return key_types._type(x509.Certificate(leaf).spki)


def add(total, counts):
    """Add the counts of a Board to a Counter of totals."""
    for name, value in counts.items():
        total[name] = max(total[name], value) if name[:4] == "most" else total[name] + value
