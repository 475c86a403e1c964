"""From nothing to a working identity and on, for ever. Every step is stored before the next.

`step` does the next thing and says when it wants to be called again; nothing it meets ends it.
`enroll` and `reenroll` do one thing now. This module stays in the heap while TLS runs, so it is
short. Judging an answer is est.verdict's. What makes a life of it, such as another way to trust or
other credentials, is optional: est.parts has it, and what stands here is what remains without.
"""

import gc
import hashlib

from micropython import const

from est import apart, aparts, clock, order, run, store
from est.errors import EstError, OtherLayout, PeerError, Refused, StorageError, UsageError
from est.identity import Identity

_DAY = const(86400)
# Without est.duty a first failure is tried again after twice this.
_FIRST_WAIT = const(30)
# So many refusals of the certificate in a row, each after a longer wait, and it works no more.
_REFUSALS = const(6)
# What TLS takes in one piece.
_TLS = const(17408)


class Agent:
    """One board's identity at one EST server.

    store: est.store.Store. url: see est.url.parse. credentials: see est.auth.
    trust: list of DER anchors, or the SHA-256 (32 bytes) of the CA certificate that /cacerts must
        hold (RFC 7030 4.1.1) or of the certificate that the server shows in TLS; None for what
        was stored before. It counts until it verified a server: from then on what est.rollover
        makes of that server's /cacerts does, until another trust is given.
    subject: text as for est.csr.name; or the caller's own CertificationRequest (DER), sent as it
        is, with `key`. san, eku: as in est.extensions.requested; the server's proposals
        win over them, and on renewal they stay as they were.
    extra: more attributes for each request, as in est.csr.build, such as
        [est.extensions.challenge(enrolment code)].
    key: the type of key to make, as in est.key_types; or DER of the one to take, such as
        est.element gives. By default the type that the server asks for, or P-256.
    factory: (chain of DER certificates, DER key) to show when enrolling, such as a board
        leaves its factory with (RFC 7030 2.2).
    authorize: called with each est.tls.Context before it connects to a verified server, such as
        est.cmcra.required.
    log: called with a line of text where something is not as asked and yet no error.
    orders: makes the orders, see est.order.SIMPLE; est.fullcmc.ORDERS, est.linking.ORDERS and
        est.serverkeygen.orders(decryption) make others.
    on_event: called with the name and a dict for each event; docs/agent.md lists them.
    identity: (chain of DER certificates, leaf first; DER key) to begin with where none is stored,
        such as another program's; est.parts stores it.
    ca: SHA-256 (32 bytes) of the CA certificate that /cacerts must hold where `trust` is a list
        that verifies a server whose certificate is of another CA. Without it the server's word
        counts.
    prove: called with the platform's TLS context, which holds a renewed certificate, before that
        is used; what it raises has it wait.
    known: the est.identity.Identity, an est.parts.Known where that is installed.
    run: as est.task.run without its first argument, where est.parts is installed.
    share, spread: latest and spread of est.schedule.share, if the caller sets them.
    """

    # What to add to the clock for the server's time, where they disagree.
    skew = 0
    # In a row: errors that ended a step, and refusals of the certificate.
    failures = refusals = 0
    # In place of est.client.Client, such as est.aclient's.
    Client = None
    # Of `step`: whether a connection was opened, what is being done, (request, items) judged.
    used = False
    doing = "start"
    candidate = None
    # Keeps room for the TLS connection of the proof, or what stays would come to lie there.
    room = None
    connection = None
    _started = False

    def __init__(
        self,
        store,
        url,
        subject="",
        san=(),
        eku=(),
        trust=None,
        credentials=None,
        timeout=30,
        log=None,
        factory=None,
        extra=(),
        key=None,
        authorize=None,
        orders=order.SIMPLE,
        on_event=None,
        prove=None,
        ca=None,
        identity=None,
    ):
        self.store = store
        self.url = url
        self.wanted = (subject, san, eku, extra)
        self.trust = trust
        self.ca = None
        self.given = identity
        # What vouches for anchors once they are stored: the fingerprint, or that of the list.
        self.voucher = trust
        if isinstance(trust, list):
            self.ca = ca
            self.voucher = hashlib.sha256(b"".join(trust)).digest()
        self.credentials = credentials
        self.timeout = timeout
        self.factory = factory
        self.key = key
        self.authorize = authorize
        self.orders = orders
        self.on_event = on_event
        self.prove = prove
        self.log = log or (lambda text: None)
        try:
            from est import parts
        except ImportError:
            parts = None
            self.known = Identity(store)
            if self.ca:
                raise UsageError("ca: needs est.parts")
        else:
            parts.attach(self)
        self.parts = parts

    def now(self):
        """Unix seconds by the clock, or by the server's where both disagree. Raises UsageError."""
        return clock.now() + self.skew

    def identity(self):
        """est.identity.Identity, which unpacks as (chain of DER certificates, leaf first; DER
        key); or None before enrolling."""
        self._start()
        if self.known.chain:
            return self.known
        order = self.load("order")
        # The order outlives the first save: a cut there left no identity, and no damage.
        if not order or order[0]["leaf"]:
            self.load("identity", True)  # raises where there was one

    def due(self, expiry=False):
        """Seconds until the certificate should be renewed, or with `expiry` until it ends.

        0 or less: now, or none is there.
        """
        identity = self.identity()
        if not identity:
            return 0
        now = self.now()
        return (identity.not_after if expiry else identity.renew_at(now)) - now

    def load(self, name, needed=False):
        """Items of a record. Damage is as good as none, unless it is `needed`: StorageError."""
        try:
            record = store.unpack(self.store.load(name, 0 if needed else -1))
        except StorageError as error:
            if needed or isinstance(error, OtherLayout):
                raise
            self.log(str(error))
            return []
        if self.store.damaged:
            self.log("a damaged copy of %s is passed over" % name)
        return record

    def vouched(self):
        """The stored anchors (DER) if what is trusted now vouches for them, else []."""
        stored = self.load("anchors", not self.trust)
        if stored and self.trust and stored[0].get("voucher") != self.voucher.hex():
            return []
        return stored[1:]

    def anchors(self):
        """DER trust anchors, bootstrapped first where only a fingerprint is known."""
        self._start()
        trust = self.vouched()
        if not trust:
            trust = self.trust
            if not trust:
                raise UsageError("nothing to trust: give anchors or a fingerprint")
            if isinstance(trust, bytes):
                trust = run(self.bootstrap())
        return trust

    def bootstrap(self):
        """The anchors that the fingerprint stands for, in steps."""
        self.doing = "bootstrap"
        return aparts(bootstrap, self)

    def adopt(self, offered):
        """Take over what a verified server `offered` in cacerts; returns the anchors (all DER).

        In steps.
        """
        adopt = self.parts and self.parts.adopt
        return (adopt and (yield from adopt(self, self.anchors(), offered))) or self.judges()

    def judges(self):
        """The anchors (DER) that judge what is issued; [] where /cacerts must name them first.

        They are other than those of TLS where its server is of another CA.
        """
        return self.parts.judges(self) if self.parts else self.anchors()

    def connect(self, anchors, identity=None, credentials=None, bootstrap=False):
        """A Client of the agent's server."""
        from est.client import Client

        client_class = self.Client or Client
        return client_class(self.url, anchors, identity, credentials, self.timeout, bootstrap)

    def client(self, identity=None):
        """A verified Client, kept open until `close` or another identity."""
        if self.connection is None or identity is not self.shown:
            self.close()
            client = self.connect(self.anchors(), identity, self.credentials)
            if self.authorize:
                self.authorize(client.context)
            client.room = self.room
            self.room = None
            self.connection = client
            self.shown = identity
            self.used = True
        return self.connection

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def cacerts(self, identity):
        """What /cacerts brings with `identity` shown, CMS as it came, in steps.

        Closes the connection.
        """
        try:
            cacerts, date = yield from aparts(_exchange, self, None, identity)
        finally:
            self.close()
        if self.parts:
            self.parts.check_clock(self, date)
        return cacerts

    def enroll(self):
        """simpleenroll; returns the certificate (DER) once it is verified, proven and stored."""
        return run(self.have())

    def reenroll(self, rekey=True):
        """simplereenroll with Subject and alternative names kept. Returns as `enroll`.

        A new key of the same type, or the one of `key`, unless not `rekey`.
        """
        return run(self.have(True, rekey))

    def have(self, renew=False, rekey=True):
        """As `enroll`, or with `renew` as `reenroll`, in steps."""
        self._start()
        shown = self.factory
        leaf = None
        key = self.key
        if renew:
            shown = self.identity()
            if not shown:
                raise UsageError("nothing to renew: enrol first")
            leaf = shown.chain[0]
            if not rekey:
                key = shown.key
        if not self.vouched() and isinstance(self.trust, bytes):
            yield from self.bootstrap()
        # The certificate of the order at hand, or of a new one.
        current = self.resume()
        if self.parts and (current or self.load("aside")):
            certificate = yield from self.parts.leftover(self, current, leaf, key)
            if certificate:
                return certificate
            current = self.resume()
        current = current or self.orders[leaf is not None]()
        yield from self._advance(current, shown, leaf, key, True)
        return self.known.chain[0]

    def step(self):
        """Do the next thing that is due, over at most one connection.

        Returns in how many seconds it wants to be called again, 0 or more. Raises no error but
        UsageError, where a task of asyncio has the agent: what fails is an event, and tried again.
        To tell a certificate that is refused, or csrattrs that are not there, from a connection
        that is lost, to follow links to a new root, and to prove that an anchor is not needed any
        more, a second connection is opened after the first.
        """
        return run(self.steps())

    def steps(self):
        """As `step`, in steps."""
        self.used = False
        try:
            self._start()
            plan = (yield from self.parts.plan(self)) if self.parts else self._plan()
            wait = plan if isinstance(plan, int) else (yield from self._advance(*plan))
        except Exception as error:
            self.close()
            self.failures += 1
            if self.parts:
                wait = self.parts.failed(self, error)
            else:
                self.log("%s: %s" % (self.doing, repr(error)))
                wait = getattr(error, "seconds", _FIRST_WAIT << min(self.failures, 8))
        self.close()
        return wait

    def _plan(self):
        # What is due, without est.duty: seconds, or what `_advance` takes.
        now = self.now()
        identity = self.known
        current = self.resume()
        if current:
            return current, identity if current.meta["leaf"] else self.factory, None, None
        if now > identity.not_after:
            return self.orders[0](), self.factory, None, self.key
        left = identity.renew_at(now) - now
        return left if left > 0 else (self.orders[1](), identity, identity.chain[0], self.key)

    def _advance(self, current, shown, leaf, key, finish=False):
        # An order as far as one connection brings it, or to the end.
        self.doing = current.kind
        cacerts = None
        if not current.answer:
            cacerts = yield from self.send(current, shown, leaf, key)
        if not self.candidate or self.candidate[0] != current.request:
            key_and_chain = yield from aparts(judge, self, current, cacerts)
            self.candidate = current.request, key_and_chain
            if self.used and not finish and self.works():
                return 0
        yield from self.settle(current, self.candidate[1])
        return 0

    def _start(self):
        # Once.
        if not self._started:
            if self.parts:
                self.parts.begin(self)
            # If it is damaged, what helps is to enrol as for the first time.
            self.known.take(self.load("identity"))
            self._started = True

    # One order.

    def works(self):
        """Whether there is an identity that no certificate may replace unproven."""
        identity = self.known
        return identity.chain and self.now() <= identity.not_after and self.refusals < _REFUSALS

    def resume(self):
        """The order at hand, or None."""
        self._start()
        record = self.load("order")
        return self.order(record) if record else None

    def order(self, items):
        """The order of a record's items."""
        current = self.orders[items[0]["leaf"] > ""]()
        kind = items[0]["kind"]
        if self.parts and kind != current.kind:
            current = self.parts.of_kind(kind)
        current.restore(items)
        return current

    def keep(self, current, state):
        """Store an order in the state it has reached."""
        current.meta["state"] = state
        current.meta["since"] = self.now()
        self.store.save("order", store.pack(*current.items()))

    def end(self):
        """Forget the order at hand."""
        # What a cut left of a first save, one copy, is damage without its order.
        if not (self.known.chain or self.load("identity") or self.store.damaged > 2):
            self.store.erase("identity")
        self.store.erase("order")
        self.candidate = None

    def send(self, current, shown, leaf=None, key=None):
        """Over one connection: make the order unless it is made, send it, store the answer.

        In steps. Returns a list of the server's CA certificates as they came, or of None.
        """
        parts = self.parts
        meta = current.meta
        try:
            if not meta:
                fetch = parts and parts.prepare(self, shown)
                yield from aparts(current.build, fetch, self.log, self.wanted, leaf, key)
                meta["kind"] = current.kind
                meta["leaf"] = store.digest(leaf) if leaf else ""
                if parts:
                    parts.ordered(self, current, leaf, key)
                self.keep(current, "made")
            cacerts, date = yield from aparts(_exchange, self, current, shown)
        except EstError as error:
            status = getattr(error, "status", 0)
            # By these the same request may yet succeed.
            final = status // 100 == 4 and status not in (401, 403, 408, 409, 429)
            if parts:
                error = yield from parts.interrupted(self, current, shown, error, final)
            if meta and final:
                self.end()
            raise error
        finally:
            # What TLS holds of the heap is worth more now than a connection kept.
            self.close()
        meta["date"] = parts.answered(self, current, date) if parts else 0
        self.keep(current, "answered")
        if self.works():
            gc.collect()
            try:
                self.room = bytearray(_TLS)
            except MemoryError:
                pass
        return [cacerts]

    def settle(self, current, items):
        """Prove the identity of these items, unless there is none that works, and use it.

        In steps.
        """
        proven = None
        if self.works() and self.known.chain[0] != items[1]:
            self.doing = "proof"
            # The answer is stored, and copies come to lie together: TLS wants one piece.
            current.request = current.answer = self.candidate = None
            gc.collect()
            items[:] = list(map(bytes, map(memoryview, items)))
            candidate = items[1:], items[0]
            if self.parts:
                proven = yield from self.parts.prove(self, candidate)
            else:
                yield from self.cacerts(candidate)
        if self.parts:
            self.parts.take(self, current, items, proven)
        else:
            apart(take, self, current, items)


# What follows is run by est.apart. It is named as what it calls, since MicroPython keeps each
# name for good.


def _exchange(agent, current, shown):
    # What /cacerts brings, CMS as it came, and the answer's Date; with `current` its answer, too.
    client = agent.client(shown)
    cacerts = None
    try:
        cacerts = yield from client.steps(client.est.answer("cacerts"))
    except (PeerError, Refused, MemoryError) as error:
        if not current or client.date is None:
            raise
        agent.log("cacerts: %s" % error)
    if current:
        client.context.leaf = None  # the server is verified
        yield from current.send(client)
    return cacerts, client.date


def bootstrap(agent):
    from est import bootstrap

    return bootstrap.anchors(agent)


def judge(agent, current, others):
    from est import verdict

    return verdict.judge(agent, current, others)


def take(agent, current, items):
    from est import verdict

    agent.client()  # the clock, the anchors or the heap: then the order stays
    try:
        agent.client((items[1:], items[0]))  # what TLS does not load is of no use
        agent.close()
        verdict.take(agent, current, items, {})
    except (PeerError, UsageError):
        agent.end()
        raise
