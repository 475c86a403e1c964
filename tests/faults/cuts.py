"""Power cuts before every write: does the board come back, with one identity, and the right one?

Runs on MicroPython: `micropython cuts.py SCENARIO DISK [OPTION...]` prints one JSON object. A
scenario runs once uncut. Wherever it writes, erases, syncs, sends or receives, what the medium and
the server hold at that moment is kept: that is what a power cut there leaves. From each of these,
in each variant of disks.py, a board is started anew and runs until it is settled, against the
server as it was then. A second cut in a row is a cut of such a recovery.

Options: sample=N of the cuts, pairs=N of the second cuts ("all" or a number each), drawn by
seed=S; age=N writes other files N times before, so that littlefs has its next erase elsewhere;
mutant=NAME breaks the code under test on purpose; only=PATH runs one case, as `failures` names it,
and prints what happens.
"""

import hashlib
import json
import os
import sys
import time

import vfs

sys.path.insert(0, __file__.rsplit("/", 1)[0] if "/" in __file__ else ".")

import disks  # noqa: E402
import world  # noqa: E402

import est  # noqa: E402
from est import csr, der, fat, keys, revocation, serverkeygen, store, x509  # noqa: E402
from est.agent import Agent  # noqa: E402
from est.errors import EstError, RetryLater, StorageError  # noqa: E402
from est.store import Store  # noqa: E402

# Else est.apart would load them from source for each of thousands of runs.
for name in os.listdir(est.__path__):
    if name[-3:] == ".py" and name[0] != "_":
        try:
            __import__("est." + name[:-3])
        except (ImportError, SyntaxError, ValueError):
            pass  # not for this platform

DAY = world.DAY


class _Gc:
    """Stands for the module gc: here the heap holds thousands of disks, and is large enough."""

    collect = staticmethod(lambda: None)


est.gc = _Gc


def _files(path, found=store._files):
    # A board has no POSIX, on which this runs.
    found = found(path)
    return found if found and found.__name__ == "est.fat" else False


store._files = _files
PATH = "/cut"
# What stands beside the records, as on a board; all of it is lost only with the file system.
FILES = {"main.py": b"import est\n" * 300, "config.json": b'{"url": ""}'}
# What is being stored while FAT makes room: most of an enrolment's writes, and all alike.
ROOM = "room"
_ROOM_SHARE = 8
# What a board is given to settle in: days, after it said that it is stranded, and steps.
_MAX_DAYS = 25
_STRANDED_DAYS = 2
_MAX_STEPS = 400
# Failures named; the rest is counted.
_MAX_TOLD = 8


class Crash(Exception):
    """The agent raised what it may not."""


class Scenario:
    """Enrolment with a password that may be used again.

    policy: of the World. enrolled: whether the board has an identity before the cuts begin.
    may_strand: whether a board may be lost that has sent its password and keeps no answer.
    """

    policy = {}
    enrolled = False
    may_strand = False

    def prepare(self, server, agent):
        """What happened before the cuts begin, the enrolment if `enrolled` aside."""

    def agent(self, **options):
        return Agent(
            options.pop("store"),
            world.URL,
            "CN=board-1",
            trust=world.Client.world.fingerprint(),
            credentials=world.login(),
            **options,
        )

    def step(self, agent):
        """One turn of main.py's loop; the seconds to the next one."""
        return agent.step()

    def settled(self, board):
        """Whether the board has what it ordered, and nothing is left to do."""
        return board.newest() and not board.pending()

    def finish(self, board):
        """Whether, once the board is settled, what follows does: it can renew."""
        server = board.server
        before = board.identity()[0][0]
        server.now = x509.Certificate(before).not_after - server.lifetime // 4
        return board.settle(lambda: board.leaf() not in (None, before) and self.settled(board))

    def verdict(self, board):
        """What is wrong with a settled board, or None."""
        return None if board.newest() else "lost"


class OnceSame(Scenario):
    """Enrolment with a one-time password; the same request brings the same certificate."""

    policy = {"once": "same"}


class Once401(Scenario):
    """Enrolment with a one-time password; the same request brings 401."""

    policy = {"once": "401"}
    may_strand = True


class ByCalls(OnceSame):
    """Enrolment by calls, as examples/enrol.py makes them."""

    def step(self, agent):
        try:
            if not agent.identity():
                agent.enroll()
            elif agent.due() <= 0:
                agent.reenroll()
        except RetryLater as error:
            return error.seconds
        except EstError:
            return 300
        return agent.step()


class Waiting(Scenario):
    """Enrolment that waits for an approval, with a one-time password."""

    policy = {"once": "same", "wait_polls": 3}


class Renewal(Scenario):
    """Renewal, with its proof."""

    enrolled = True

    def prepare(self, server, agent):
        server.now += 70 * DAY


class RenewalByCalls(Renewal):
    """Renewal by calls."""

    step = ByCalls.step


class RenewalWaiting(Renewal):
    """Renewal that waits for an approval."""

    def prepare(self, server, agent):
        super().prepare(server, agent)
        server.wait_polls = 3


class Rollover(Renewal):
    """Renewal while the CA goes over to another root, which alone counts in the end."""

    def prepare(self, server, agent):
        super().prepare(server, agent)
        server.roll_over()

    def finish(self, board):
        board.server.present(-1)
        return super().finish(board)


class ProofRefused(Renewal):
    """Renewal whose certificate TLS refuses, until the server is mended."""

    def prepare(self, server, agent):
        super().prepare(server, agent)
        server.refuse_new = True

    def settled(self, board):
        # What brought nothing is not to be repeated at once.
        return board.holds("aside") and not board.pending() and board.wait >= DAY

    def verdict(self, board):
        return None if board.identity() and board.holds("aside") else "lost"

    def finish(self, board):
        server = board.server
        server.refuse_new = False
        server.refuse = set()
        before = board.leaf()
        return board.settle(lambda: board.leaf() not in (None, before) and not board.pending())


class AsideUsed(Renewal):
    """A certificate that TLS refused is used after all, once the server is mended."""

    def prepare(self, server, agent):
        super().prepare(server, agent)
        server.refuse_new = True
        while not agent.load("aside"):
            server.now += max(agent.step(), 1)
        server.refuse_new = False
        server.refuse = set()
        self.expected = server.orders[-1].certificate
        # Past the floor.
        server.now += 10 * DAY

    def settled(self, board):
        # After a cut it may be there still when it is in use, until the next renewal.
        return (board.leaf() == self.expected or board.newest()) and not board.pending()

    def verdict(self, board):
        return None if board.identity() else "lost"

    def finish(self, board):
        server = board.server
        before = board.leaf()
        server.now = x509.Certificate(before).not_after - server.lifetime // 4
        return board.settle(
            lambda: (
                board.leaf() not in (None, before)
                and not board.pending()
                and not board.holds("aside")
            )
        )


class AsideByCalls(AsideUsed):
    """The same by calls."""

    step = ByCalls.step


class NoVerdict(Renewal):
    """Renewal whose proof gets no answer for a week."""

    def prepare(self, server, agent):
        super().prepare(server, agent)
        old = set(server.issued)
        end = server.now + 7 * DAY

        def fault(number, operation, peer):
            if peer and peer not in old and server.now < end:
                return "answer"

        server.fault = fault


class ServerKey(Scenario):
    """A key that the server makes."""

    policy = {"once": "same"}

    def agent(self, **options):
        return super().agent(orders=serverkeygen.orders(), **options)


class Upgrade(Renewal):
    """Records of layout 1, taken over while a renewal of theirs waits to be sent."""

    def prepare(self, server, agent):
        super().prepare(server, agent)
        chain, key = agent.identity()
        anchors = agent.anchors()
        agent.known.erase()
        agent.store.erase("anchors")
        for path, data in list(files(PATH)):
            if path.rsplit("/", 1)[0] != PATH:
                os.remove(path)
                os.rmdir(path.rsplit("/", 1)[0])
        leaf = x509.Certificate(chain[0])
        new = keys.P256Key()
        self.spki = new.spki()
        request = csr.build(new, leaf.subject)
        _old("identity", key, *chain)
        _old("anchors", server.fingerprint(), *anchors)
        _old("pending", bytes(32), b"", new.der(), request)

    def settled(self, board):
        return super().settled(board) and not [data for _, data in files(PATH) if b"EST1" in data]

    def verdict(self, board):
        leaf = board.leaf()
        if leaf and x509.Certificate(leaf).spki != self.spki:
            return "lost"
        return super().verdict(board)


class UpgradeFirst(Scenario):
    """A first request of layout 1, taken over while it waits to be sent."""

    def prepare(self, server, agent):
        subject = agent.wanted[0]
        new = keys.P256Key()
        self.spki = new.spki()
        _old("anchors", server.fingerprint(), *server.offered())
        _old("pending", bytes(32), b"", new.der(), csr.build(new, subject))

    settled = Upgrade.settled

    def verdict(self, board):
        if x509.Certificate(board.leaf()).spki != self.spki:
            return "lost"
        return super().verdict(board)


def _old(name, *items):
    # Store a record as est 0.1 did.
    payload = der.sequence(*[der.octets(item) for item in items])
    for slot, generation in ((0, 1), (1, 2)):
        data = b"EST1" + generation.to_bytes(4, "big") + len(payload).to_bytes(4, "big") + payload
        with open("%s/%s.%d" % (PATH, name, slot), "wb") as file:
            file.write(data + hashlib.sha256(data).digest())


class Revocation(Scenario):
    """Revocation, while a renewal waits."""

    enrolled = True

    def prepare(self, server, agent):
        server.now += 70 * DAY
        server.wait_polls = 1000
        agent.step()

    def step(self, agent):
        try:
            if agent.identity():
                revocation.revoke(agent)
        except StorageError:
            # Both copies are damaged, as erasing leaves them that was cut.
            revocation.forget(agent)
        except RetryLater as error:
            return error.seconds
        except EstError:
            return 300
        return 3600

    def settled(self, board):
        return not board.identity()

    def verdict(self, board):
        return None if board.server.revoked else "lost"

    def finish(self, board):
        return True


SCENARIOS = {
    "enrol": Scenario,
    "once same": OnceSame,
    "once 401": Once401,
    "by calls": ByCalls,
    "waiting": Waiting,
    "renewal": Renewal,
    "renewal by calls": RenewalByCalls,
    "renewal waiting": RenewalWaiting,
    "rollover": Rollover,
    "proof refused": ProofRefused,
    "aside used": AsideUsed,
    "aside by calls": AsideByCalls,
    "no verdict": NoVerdict,
    "server key": ServerKey,
    "upgrade": Upgrade,
    "upgrade first": UpgradeFirst,
    "revocation": Revocation,
}


class Watched(Store):
    """A Store whose `board` knows what it is storing."""

    def save(self, name, payload):
        self.board.saving = name
        if name == "order":
            self.board.saving += " " + store.unpack(payload)[0]["state"]
        super().save(name, payload)
        self.board.saving = ""


def _prepare(records, right=fat.prepare):
    records.board.saving = ROOM
    right(records)
    records.board.saving = ""


fat.prepare = _prepare


class Board:
    """One start of a board: its disk mounted, an agent on it. `end` takes it away again.

    Raises OSError where the file system does not mount.
    """

    def __init__(self, scenario, server, disk, tell=None):
        self.scenario = scenario
        self.server = server
        self.disk = disk
        self.events = []
        self._tell = tell
        disk.mount(PATH)
        self._records = self._store()
        options = {"store": self._store()}
        options["on_event"] = self._event
        if tell:
            options["log"] = tell
        self.agent = scenario.agent(**options)

    def _store(self):
        records = Watched(PATH)
        records.board = self
        return records

    def _event(self, name, detail):
        self.events.append(name)
        if self._tell:
            words = ["%s=%s" % pair for pair in detail.items() if pair[0] != "anchors"]
            self._tell("  %s %s" % (name, " ".join(words)))

    def end(self):
        self.disk.watch = self.server.watch = None
        vfs.umount(PATH)

    def settle(self, settled=None, turn=None):
        """Run until it is settled; returns whether it is. Raises Crash."""
        server = self.server
        end = server.now + _MAX_DAYS * DAY
        for _ in range(_MAX_STEPS):
            try:
                wait = (turn or self.scenario.step)(self.agent)
            except Exception as error:
                if self._tell:
                    sys.print_exception(error)
                raise Crash("%s: %s" % (type(error).__name__, error))
            self.wait = wait
            if self._tell:
                self._tell("  at %d: %d s" % (server.now - world.START, wait))
            if settled() if settled else self.scenario.settled(self):
                return True
            if "stranded" in self.events:
                end = min(end, server.now + _STRANDED_DAYS * DAY)
            if server.now + wait > end:
                break
            server.now += max(wait, 0)
        return False

    def identity(self):
        """(chain, key), or None where none can be read."""
        try:
            return self.agent.identity()
        except StorageError:
            return None

    def server_now(self):
        """What the server would `load`; copied only when it has changed."""
        server = self.server
        state = server.now, server.requests, server.served, server._drawn
        if self._seen != state:
            self._seen = state
            self._saved = server.save()
        return self._saved

    _seen = None

    def leaf(self):
        found = self.identity()
        return bytes(found[0][0]) if found else None

    def newest(self):
        """Whether the identity is a certificate that was issued last, with its key."""
        issued = [one.certificate for one in self.server.orders[self.ordered :]]
        return self.leaf() in issued and self.leaf() is not None

    # How many orders the server had before the cuts began.
    ordered = 0
    # What the last step said.
    wait = 0
    # What is being stored, such as "order answered".
    saving = ""

    def holds(self, name):
        try:
            return bool(self._records.load(name))
        except StorageError:
            return False

    def pending(self):
        return self.holds("order")

    def mixed(self):
        found = self.identity()
        return self.server.mixed or (
            found and x509.Certificate(found[0][0]).spki != keys.load(found[1]).spki()
        )

    def leftovers(self):
        """Names of the files, other than the identity's, that hold a private key."""
        found = []
        for path, data in files(PATH):
            name = path[len(PATH) + 1 :].split(".")[0]
            if name == "identity" or (name == "aside" and self.holds("aside")):
                if self.identity():
                    continue
            for private in self.server.private:
                if private in data:
                    found.append(path)
                    break
        return found

    def whole(self):
        """Whether the files that are not ours are there; without them it is no longer a board."""
        found = {path[len(PATH) + 1 :]: data for path, data in files(PATH)}
        for name, data in FILES.items():
            if found.get(name) != data:
                return False
        return True


def files(folder):
    """(path, bytes) of all files that can be read."""
    try:
        names = list(os.ilistdir(folder))
    except (OSError, UnicodeError):
        return
    for entry in names:
        path = folder + "/" + entry[0]
        try:
            if entry[1] & 0x4000:
                yield from files(path)
            else:
                with open(path, "rb") as file:
                    yield path, file.read()
        except (OSError, UnicodeError):
            pass


class Random:
    """Numbers that follow from a text."""

    def __init__(self, label):
        self._read = world._Stream(label.encode()).read

    def __call__(self, below):
        return int.from_bytes(self._read(6), "big") % below


class Cut:
    """What the medium and the server hold before something happens.

    kind: "erase", "write", "sync", "send" or "answer"; and see disks.cut.
    """

    def __init__(self, board, kind, block=0, offset=0, data=b""):
        disk = board.disk
        self.where = (kind, block, offset, data)
        self.during = board.saving
        self.saved = disk.save()
        self.cache = disk.cache() if hasattr(disk, "cache") else None
        self.server = board.server_now()

    def variants(self, disk):
        return ("clean",) if self.where[0] in ("send", "answer") else disk.variants

    def blocks(self, variant, random):
        return disks.cut(variant, self.saved, self.cache, *(self.where + (random,)))


class Bench:
    """A scenario on one kind of disk, and what came of its cuts."""

    def __init__(self, scenario, disk, seed, tell=None, age=0):
        self.scenario = scenario
        self.age = age
        self.disk = disk
        self.seed = seed
        self.tell = tell
        self.counts = {}
        self.failures = []
        self.server = world.World(**scenario.policy)
        world.install(self.server)
        board = self._prepared()
        self._start = board.disk.save()
        self.ordered = len(self.server.orders)
        self._begin = self.server.save()
        fault, outcome, self.cuts = self.run(self._start, self._begin, True)
        if fault or outcome != "ok":
            raise ValueError("uncut it is %s: %s" % (outcome, fault))
        # What it takes where nothing is cut.
        self.uncut = self._costs()

    def _prepared(self):
        disk = self.disk()
        disk.format()
        disk.mount(PATH)
        for name, data in FILES.items():
            with open(PATH + "/" + name, "wb") as file:
                file.write(data)
        for number in range(self.age):
            with open(PATH + "/log", "w") as file:
                file.write("%d\n" % number * (number % 9))
        vfs.umount(PATH)
        board = Board(self.scenario, self.server, disk)
        if self.scenario.enrolled and not board.settle(
            lambda: board.newest() and not board.pending(), lambda agent: agent.step()
        ):
            raise ValueError("the board does not enrol")
        self.scenario.prepare(self.server, board.agent)
        board.end()
        return board

    def run(self, blocks, server, collect=False, follow=False):
        """(what is wrong, outcome, [Cut]) of a board started on `blocks` against `server`."""
        self.server.load(server)
        disk = self._last = self.disk(blocks)
        cuts = []
        try:
            board = Board(self.scenario, self.server, disk, self.tell)
        except OSError as error:
            return str(error), "file system lost", cuts
        board.ordered = self.ordered
        if collect:
            disk.watch = lambda *where: cuts.append(Cut(board, *where))
            self.server.watch = lambda kind: cuts.append(Cut(board, kind))
        try:
            settled = board.settle()
            disk.watch = self.server.watch = None
            return self._judge(board, settled, follow) + (cuts,)
        except Crash as error:
            return str(error), "crashed", cuts
        finally:
            board.end()

    def _costs(self):
        disk = self._last
        return {
            "writes": disk.writes,
            "erases": disk.erases,
            "bytes": disk.bytes,
            "connections": self.server.connections - self._begin["connections"],
            "days": (self.server.now - self._begin["now"]) / DAY,
        }

    def _orders(self):
        return self.server.orders[self.ordered :]

    def _judge(self, board, settled, follow):
        if board.mixed():
            return "key and certificate are not a pair", "mixed"
        if not board.whole():
            return "the application is gone", "file system lost"
        asked = []
        for order in self._orders():
            if order.spki not in asked:
                asked.append(order.spki)
        if len(asked) > 1:
            return "%d keys were asked for" % len(asked), "second key"
        if not settled:
            if "stranded" in board.events:
                return "stranded", "stranded"
            return "not settled; identity: %s" % bool(board.identity()), "lost"
        if self.scenario.enrolled and [one for one in self._orders() if one.by != "certificate"]:
            return "the identity was had anew by the password", "lost"
        fault = self.scenario.verdict(board)
        if fault:
            return fault, "lost"
        found = board.leftovers()
        if found:
            return "a key is left in " + " ".join(found), "leftover"
        if follow:
            followed = self.scenario.finish(board)
            if board.mixed():
                return "later, key and certificate are not a pair", "mixed"
            if not followed:
                return "no renewal follows", "lost"
            found = board.leftovers()
            if found:
                return "later, a key is left in " + " ".join(found), "leftover"
        return None, "ok"

    def allowed(self, cut, blocks):
        """Whether this cut may strand: the password is spent, and the answer is not yet kept."""
        if not (self.scenario.may_strand and cut.server["_spent"]):
            return False
        if cut.where[0] != "answer" and cut.during != "order answered":
            return False
        disk = self.disk(blocks)
        disk.mount(PATH)
        try:
            records = Store(PATH)
            for name in ("identity", "order"):
                found = store.unpack(records.load(name))
                if found and (name == "identity" or found[0]["state"] == "answered"):
                    return False
        except StorageError:
            pass
        finally:
            vfs.umount(PATH)
        return True

    def case(self, cut, variant, path, collect=False, follow=False, may_strand=False):
        """[Cut] of the recovery from one cut, counted; None where the variant is the clean one."""
        blocks = self.blocks(cut, variant, path)
        if blocks is None:
            return None
        if self.tell:
            self.tell("%s: before %s of block %d at %d" % ((path,) + cut.where[:3]))
        fault, outcome, cuts = self.run(blocks, cut.server, collect, follow)
        if outcome == "stranded" and (may_strand or self.allowed(cut, blocks)):
            outcome = "stranded as allowed"
        kind = "second " + variant if "/" in path else variant
        counts = self.counts.setdefault(kind, {"cuts": 0})
        counts["cuts"] += 1
        counts[outcome] = counts.get(outcome, 0) + 1
        if outcome not in GOOD and len(self.failures) < _MAX_TOLD:
            self.failures.append("%s: %s: %s" % (path, outcome, fault))
        return cuts

    def blocks(self, cut, variant, path):
        return cut.blocks(variant, Random("%s %s" % (self.seed, path)))

    def all(self, sample, pairs):
        """Run `sample` of the cuts, and `pairs` of the second cuts; None for all."""
        chosen = self._drawn(self.cuts, 0)
        for _, at, variant in chosen[:sample]:
            self.case(self.cuts[at], variant, "%d:%s" % (at, variant), follow=True)
        # Of a first cut its recovery is cut everywhere, in each way, or at some places in one way.
        each = None if pairs is None else -(-pairs // len(chosen))
        for _, at, variant in chosen[: None if pairs is None else min(pairs, len(chosen))]:
            path = "%d:%s" % (at, variant)
            first = self.cuts[at]
            blocks = self.blocks(first, variant, path)
            if blocks is None:
                continue
            _, outcome, cuts = self.run(blocks, first.server, True)
            if not cuts or outcome == "file system lost":
                continue
            may_strand = outcome == "stranded" and self.allowed(first, blocks)
            for _, place, second in self._drawn(cuts, path)[:each]:
                name = "%s/%d:%s" % (path, place, second)
                self.case(cuts[place], second, name, may_strand=may_strand)

    def _drawn(self, cuts, of):
        # [(rank, place, variant)] of these cuts by rank, which the seed draws.
        found = []
        for place, cut in enumerate(cuts):
            share = _ROOM_SHARE if cut.during == ROOM else 1
            for variant in cut.variants(self.disk):
                text = "%s %s %d %s" % (self.seed, of, place, variant)
                rank = int.from_bytes(hashlib.sha256(text.encode()).digest()[:3], "big")
                found.append((rank * share, place, variant))
        return sorted(found)

    def only(self, path):
        """Run the one case that `path` names."""
        cuts = self.cuts
        done = ""
        steps = path.split("/")
        for number, name in enumerate(steps):
            done = done + "/" + name if done else name
            at, variant = name.split(":")
            last = number == len(steps) - 1
            cuts = self.case(cuts[int(at)], variant, done, not last, last and number == 0)


GOOD = ("ok", "stranded as allowed", "file system lost")


def main(scenario, disk, sample="all", pairs="0", seed="1", age="0", mutant=None, only=None):
    begun = time.ticks_ms()
    world.remember_mathematics()
    if mutant:
        MUTANTS[mutant]()
    tell = print if only else None
    bench = Bench(SCENARIOS[scenario](), disks.DISKS[disk], seed, tell, int(age))
    if only:
        bench.only(only)
    else:
        bench.all(*[None if text == "all" else int(text) for text in (sample, pairs)])
    result = {
        "scenario": scenario,
        "disk": disk,
        "mutant": mutant,
        "age": int(age),
        "seed": seed,
        "uncut": bench.uncut,
        "places": len(bench.cuts),
        "counts": bench.counts,
        "failures": bench.failures,
        "seconds": time.ticks_diff(time.ticks_ms(), begun) / 1000,
    }
    print(json.dumps(result))


# The code under test, broken on purpose: the harness must notice.


def _one_slot():
    right = Store._file
    Store._file = lambda self, name, slot: right(self, name, 0)
    Store._generations = lambda self, name: [0, 0, 0]


def _erase_before_save():
    right = Store.save

    def save(self, name, payload):
        self.erase(name)
        right(self, name, payload)

    Store.save = save


def _no_checksum():
    class Sums:
        def __init__(self, data=b""):
            pass

        def update(self, data):
            pass

        def digest(self):
            return bytes(32)

    class Hashlib:
        sha256 = Sums

    store.hashlib = Hashlib


def _no_answer():
    right = Store.save

    def save(self, name, payload):
        if name != "order" or store.unpack(payload)[0]["state"] != "answered":
            right(self, name, payload)

    Store.save = save


MUTANTS = {
    "one slot": _one_slot,
    "erase before save": _erase_before_save,
    "no checksum": _no_checksum,
    "no answer record": _no_answer,
}

if __name__ == "__main__":
    given = [argument.split("=") for argument in sys.argv[3:]]
    main(sys.argv[1], sys.argv[2], **dict(given))
