"""From nothing to a working identity and on, for ever. Every step is stored before the next.

`step` does the next thing and says when it wants to be called again; nothing it meets ends it.
`enroll` and `reenroll` do one thing now. This module stays in the heap while TLS runs, so it is
short: what needs no connection is done by est.duty (when, and with which credential), est.verdict
(is the answer any good) and est.request, which are there for a moment only (est.apart).
"""

import hashlib

from micropython import const

from est import clock, order, store
from est.apart import apart
from est.errors import (
    CertificateRefused,
    Closed,
    EstError,
    OtherLayout,
    Refused,
    RetryLater,
    StorageError,
    UsageError,
)
from est.identity import Identity
from est.url import parse

_DAY = const(86400)
# A first failure is tried again after a minute.
_FIRST_WAIT = const(60)
# So many refusals of the certificate in a row, each after a longer wait, and it works no more.
_REFUSALS = const(3)


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
    orders: makes the orders, see est.order.simple; est.fullcmc.orders, est.linking.orders and
        est.serverkeygen.orders(decryption) make others.
    on_event: called with the name and a dict for each event; docs/agent.md lists them.
    prove: called with the platform's TLS context, which holds a renewed certificate, before that
        is used; what it raises has it wait.
    known: the est.identity.Identity.
    """

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
        orders=order.simple,
        on_event=None,
        prove=None,
    ):
        parse(url)
        self.store = store
        self.url = url
        self.wanted = (subject, san, eku, extra)
        self.trust = trust
        # What vouches for anchors once they are stored: the fingerprint, or that of the list.
        self.voucher = trust
        if isinstance(trust, list):
            self.voucher = hashlib.sha256(b"".join(trust)).digest()
        self.credentials = credentials
        self.timeout = timeout
        self.factory = factory
        self.key = key
        self._authorize = authorize
        self.orders = orders
        self._on_event = on_event
        self.prove = prove
        self.log = log or (lambda text: None)
        self._open = None
        self.shown = None
        self.known = Identity(store)
        # See est.retry.
        self.failures = self.until = self.wait = self.refusals = 0
        # What to add to the clock for the server's time where they disagree; when they agreed.
        self.skew = self.agreed = self.told_ahead = 0
        self._started = False
        self._lost = None
        # Whether `step` runs, whether a connection was opened since, and what is being done.
        self.stepping = self.used = False
        self.doing = ""
        # (request, items) of an answer judged good. Whether an order ended and brought nothing.
        self.candidate = None
        self.fruitless = False
        # What est.duty remembers.
        self.contact = 0
        self.aside_tried = False
        self.stranded = None

    def tell(self, event, **detail):
        """Hand an event to the application, whatever it does with it."""
        try:
            if self._on_event:
                self._on_event(event, detail)
        except Exception as error:
            self.log("on_event raised %r" % error)

    def now(self):
        """Unix seconds by the clock, or by the server's where both disagree. Raises UsageError."""
        now = clock.now()
        known = self.known
        # The certificate in use has been valid, and once clock and server agreed.
        floor = max(known.not_before, known.meta.get("agreed", 0))
        if now + _DAY < floor:
            raise UsageError("the clock is %d s behind what it must be: set it" % (floor - now))
        return now + self.skew

    def identity(self):
        """est.identity.Identity, which unpacks as (chain of DER certificates, leaf first; DER
        key); or None before enrolling."""
        self._start()
        if self.known.chain:
            return self.known
        if self._lost:
            raise self._lost

    def due(self, expiry=False):
        """Seconds until the certificate should be renewed, or with `expiry` until it ends.

        0 or less: now, or none is there.
        """
        known = self.identity()
        if not known:
            return 0
        now = self.now()
        return (known.not_after if expiry else known.renew_at(now)) - now

    def _load(self, name, *least):
        items = store.unpack(self.store.load(name, *least))
        if self.store.damaged:
            self.log("a cut or damaged copy of %s is passed over" % name)
        return items

    def load(self, name):
        """Items of a record that can be had anew: damage is as good as none."""
        try:
            return self._load(name)
        except OtherLayout:
            raise
        except StorageError as error:
            self.log(str(error))
            return []

    def vouched(self, *least):
        """The stored anchors (DER) if what is trusted now vouches for them, else None."""
        stored = self._load("anchors", *least) if least else self.load("anchors")
        if stored and (not self.trust or stored[0].get("voucher") == store.to_hex(self.voucher)):
            return stored[1:]

    def anchors(self):
        """DER trust anchors, bootstrapped first where only a fingerprint is known."""
        self._start()
        found = self.vouched() if self.trust else self.vouched(0)
        if found:
            return found
        if isinstance(self.trust, bytes):
            self.doing = "bootstrap"
            found = apart(_bootstrap, self)
            self.tell("bootstrap", anchors=found)
            return found
        if not self.trust:
            raise UsageError("nothing to trust: give anchors or a fingerprint")
        return self.trust

    def adopt(self, offered):
        """Take over what a verified server `offered` in cacerts; returns the anchors (all DER)."""
        anchors = self.anchors()
        return self.part(_adopt, anchors, offered) or anchors

    def part(self, function, *arguments):
        """What `function` of an optional part gives, called with the agent; None without it."""
        try:
            return apart(function, self, *arguments)
        except ImportError:
            return None

    def client(self, identity=None):
        """A verified Client, kept open until `close` or another identity."""
        if self._open is None or identity is not self.shown:
            self.close()
            from est.client import Client

            client = Client(self.url, self.anchors(), identity, self.credentials, self.timeout)
            if self._authorize:
                self._authorize(client.context)
            self._open = client
            self.shown = identity
            self.used = True
        return self._open

    def close(self):
        if self._open:
            self._open.close()
            self._open = None

    def cacerts(self, identity):
        """What /cacerts brings with `identity` shown, CMS as it came. Closes the connection."""
        try:
            client = self.client(identity)
            found = client.run(client.est.answer("cacerts"))
            self.part(_check_clock, client.date)
            return found
        finally:
            self.close()

    def enroll(self):
        """simpleenroll; returns the certificate (DER) once it is verified, proven and stored."""
        self._start()
        return self._have(self.factory, None, self.key)

    def reenroll(self, rekey=True):
        """simplereenroll with Subject and alternative names kept. Returns as `enroll`.

        A new key of the same type, or the one of `key`, unless not `rekey`.
        """
        known = self.identity()
        if not known:
            raise UsageError("nothing to renew: enrol first")
        return self._have(known, known.chain[0], self.key if rekey else known.key)

    def _have(self, shown, leaf, key):
        # The certificate of the order at hand, or of a new one.
        current = self.resume()
        new = self.orders(leaf is not None)
        if current and (current.answer or not self.is_ours(current, leaf, key)):
            found = self.part(_leftover, current, leaf, key)
            if found:
                return found
            self.end()
            current = None
        if current:
            self.part(_hold_back, current)
        else:
            current = new
        others = self.send(current, shown, leaf, key)
        self.settle(current, apart(_judge, self, current, others))
        return self.known.chain[0]

    def step(self):
        """Do the next thing that is due, over at most one connection.

        Returns in how many seconds it wants to be called again, 0 or more. Raises no error: what
        fails is an event, and tried again. To tell a certificate that is refused from a connection
        that is lost, and to prove that an anchor is not needed any more, a second connection is
        opened after the first.
        """
        self.stepping = True
        self.used = False
        try:
            wait = self._step()
        except Exception as error:
            self.close()
            self.failures += 1
            wait = self.part(_failed, error)
            if wait is None:
                self.log("%s: %s" % (self.doing, error))
                wait = _FIRST_WAIT << min(self.failures - 1, 9)
                wait = max(wait, getattr(error, "seconds", 0))
        self.stepping = False
        self.close()
        return max(int(wait), 0)

    def _step(self):
        self._start()
        plan = self.part(_plan)
        if plan is None:
            plan = self._plan()
        if isinstance(plan, int):
            return plan
        current, shown, leaf, key = plan
        self.doing = current.kind
        others = None
        if not current.answer:
            self.part(_hold_back, current)
            others = self.send(current, shown, leaf, key)
        if not self.candidate or self.candidate[0] != current.request:
            self.candidate = (current.request, apart(_judge, self, current, others))
            if self.used and self.works():
                self.tell("candidate", generation=self.known.generation + 1)
                return 0
        self.settle(current, self.candidate[1])
        return 0

    def _plan(self):
        # Without est.duty: seconds, or what `send` takes.
        now = self.now()
        known = self.known
        alive = known.chain and now <= known.not_after
        current = self.resume()
        if current:
            return current, (known if current.meta["leaf"] else self.factory), None, None
        if not alive:
            return self.orders(False), self.factory, None, self.key
        left = known.renew_at(now) - now
        return left if left > 0 else (self.orders(True), known, known.chain[0], self.key)

    def _start(self):
        # Once: what an older version stored, and what was kept over a reset.
        if self._started:
            return
        self.part(_begin)
        try:
            self.known.take(self._load("identity"))
        except OtherLayout:
            raise
        except StorageError as error:
            self.log(str(error))  # what helps is to enrol as for the first time
            self._lost = error
        self._started = True

    # One order.

    def asked(self, leaf, key):
        """Digest that tells what is asked for: `leaf` (DER) renewed, or a first certificate."""
        return store.digest((self.url, self.wanted, leaf, key))

    def is_ours(self, current, leaf, key):
        """Whether order `current` is what `leaf` and `key` would make now."""
        new = self.orders(leaf is not None)
        meta = current.meta
        return meta["asked"] == "" or (
            meta["asked"] == self.asked(leaf, key) and meta["kind"] == new.kind + new.terms
        )

    def works(self):
        """Whether there is an identity that no certificate may replace unproven."""
        known = self.known
        return known.chain and self.now() <= known.not_after and self.refusals < _REFUSALS

    def resume(self):
        """The order at hand, or None."""
        self._start()
        items = self.load("order")
        return self.order(items) if items else None

    def order(self, items):
        """The order of a record's items."""
        meta = items[0]
        current = self.orders(bool(meta["leaf"]))
        kind = meta["kind"].partition(":")[0]
        if current.kind != kind:
            current = self.part(_of_kind, kind)
            if not current:
                raise UsageError("a stored %s needs a part of est that is not installed" % kind)
        current.restore(*items)
        return current

    def keep(self, current, state):
        """Store an order in the state it has reached."""
        current.meta["state"] = state
        current.meta["since"] = self.now()
        self.store.save("order", store.pack(*current.items()))

    def end(self):
        """Forget the order at hand."""
        self.store.erase("order")
        self.candidate = None

    def send(self, current, shown, leaf=None, key=None):
        """Over one connection: make the order unless it is made, send it, store the answer.

        Returns the server's CA certificates as they came, or None.
        """
        meta = current.meta
        self.doing = current.kind
        try:
            if not meta:
                self.store.prepare()
                attributes = self.part(_attributes, shown)
                if self.stepping and self._open:
                    self.part(_doubt_clock, self._open.date)
                apart(current.build, attributes, self.log, self.wanted, leaf, key)
                meta["kind"] = current.kind + current.terms
                meta["leaf"] = store.digest(leaf) if leaf else ""
                meta["asked"] = self.asked(leaf, key)
                meta["url"] = self.url
                # Of the settings, for a renewal those that the first certificate was asked by.
                settings = self.known.meta.get("settings", "")
                meta["settings"] = settings if leaf else self.asked(None, self.key)
                self.keep(current, "made")
                self.tell("ordered", operation=current.kind)
            client = self.client(shown)
            current.send(client)
        except Closed as error:
            self.close()
            raise shown and self.part(_refused, error, shown) or error
        except RetryLater as error:
            if meta:
                self.part(_postpone, current, error)
            raise
        except Refused as error:
            if meta and order.is_final(error.status):
                self.end()
                self.fruitless = True
            raise
        meta["date"] = self.part(_check_clock, client.date) or 0
        self.keep(current, "answered")
        self.tell("answered", operation=current.kind)
        try:
            return client.run(client.est.answer("cacerts"))
        except EstError as error:
            self.log("the CA certificates did not come: %s" % error)
        finally:
            # What TLS holds of the heap is worth more now than a connection kept.
            self.close()

    def settle(self, current, items):
        """Prove the identity of these items, unless there is none that works, and use it."""
        known = self.known
        proven = None
        if self.works() and known.chain[0] != items[1]:
            self.doing = "proof"
            try:
                proven = self.part(_prove, (items[1:], items[0]))
                if proven is None:
                    self.cacerts((items[1:], items[0]))
            except CertificateRefused:
                apart(_put_aside, self, current)
                raise
            except EstError:
                # No verdict: it waits for one until the old one is about to end.
                if self.now() < known.not_after - known.life(self.now())[1] // 12:
                    raise
                proven = False
        apart(_take, self, current, items, proven)


# What follows is run by est.apart: modules that are needed for a moment. All but est.verdict are
# optional parts.


def _begin(agent):
    from est import duty

    duty.begin(agent)


def _plan(agent):
    from est import duty

    return duty.plan(agent)


def _failed(agent, error):
    from est import duty

    return duty.failed(agent, error)


def _leftover(agent, current, leaf, key):
    from est import duty

    return duty.leftover(agent, current, leaf, key)


def _of_kind(agent, kind):
    from est import duty

    return duty.of_kind(kind)


def _hold_back(agent, current):
    from est import waiting

    waiting.hold_back(agent, current)


def _postpone(agent, current, error):
    from est import waiting

    waiting.postpone(agent, current, error)


def _bootstrap(agent):
    from est import bootstrap

    return bootstrap.anchors(agent)


def _adopt(agent, anchors, offered):
    from est import rollover

    return rollover.adopt(agent, anchors, offered)


def _attributes(agent, shown):
    from est import csrattrs

    # Loaded before TLS has its share of the heap.
    _ = csrattrs.parse
    return agent.client(shown).csrattrs()


def _doubt_clock(agent, date):
    from est import witness

    witness.hold_back(agent, date)


def _check_clock(agent, date):
    from est import witness

    return witness.check(agent, date)


def _judge(agent, current, others):
    from est import verdict

    return verdict.judge(agent, current, others)


def _take(agent, current, items, proven):
    from est import verdict

    verdict.take(agent, current, items, proven)


def _put_aside(agent, current):
    from est import verdict

    verdict.put_aside(agent, current)


def _prove(agent, candidate):
    from est import proof

    return proof.prove(agent, candidate)


def _refused(agent, error, shown):
    from est import proof

    return proof.refused(agent, error, shown)
