"""Proof that a new certificate works, before it replaces one that does (est.agent)."""

from est import apart, clock
from est.errors import Closed, EstError, PeerError, Refused, UsageError
from est.tls import Context


class CertificateRefused(Refused):
    """The server does not accept a certificate of the board that it accepts others without."""


def possible(agent, candidate):
    """Whether a proof is to be had for `candidate`, (chain, key) of the order at hand.

    What TLS does not load leaves the chain, a list, but for the certificate itself.
    Raises CertificateRefused where it serves TLS less than the one in use.
    """
    chain, key = agent.known
    if not apart(_usable, candidate[0][0]):
        if chain and apart(_usable, chain[0]):
            raise CertificateRefused("the new certificate is not for TLS clients, the old one is")
        return False
    anchors = agent.anchors()
    candidate[0][1:] = apart(_presentable, agent, candidate[0][1:])
    try:
        Context(anchors, *candidate)
    except UsageError as error:
        try:
            Context(anchors, chain, key)
        except UsageError:
            return False  # such as in a secure element that this TLS cannot use
        raise CertificateRefused("TLS does not take the new certificate: %s" % error)
    return True


def proven(agent, candidate, error):
    """Whether `candidate` is proven to work; False if not until the old one is about to end.

    In steps, as all here that asks the server.

    Proof is a new connection that shows it, on which GET /cacerts brings 200 (a handshake alone
    proves nothing in TLS 1.3), and what the application's `prove` adds. error: what that
    connection, or `possible`, raised, or None. Raises CertificateRefused if it failed while the
    working identity, or none, passes: the order is then aside. Any other error is no verdict.
    """
    identity = agent.known
    try:
        if error:
            yield from _judge(agent, candidate, error)
        if agent.prove:
            _ask(agent, candidate)
        return True
    except CertificateRefused:
        from est import aside

        aside.put(agent)
        raise
    except (EstError, MemoryError):
        # By both, clock and server: the clock may have been set since.
        now = min(agent.now(), clock.now())
        if now < identity.not_after - identity.life(now)[1] // 12:
            raise
        return False


def _judge(agent, candidate, error):
    # Raises unless `error` was chance.
    if isinstance(error, CertificateRefused) or not isinstance(error, (Closed, Refused)):
        raise error
    if not ((yield from passes(agent, agent.known)) or (yield from passes(agent, None))):
        raise error
    if not (yield from passes(agent, candidate)):
        raise CertificateRefused("the server does not accept the new certificate: %s" % error)


def _ask(agent, candidate):
    try:
        agent.prove(Context(agent.anchors(), *candidate).ssl)
    except Exception as error:
        raise PeerError(
            "the application could not prove the new certificate: %s %s"
            % (type(error).__name__, error)
        )


def passes(agent, identity):
    """What /cacerts brings (bytes) with `identity`, or without any; None where it fails."""
    try:
        return (yield from agent.cacerts(identity))
    except EstError:
        return None


def refused(agent, error, shown):
    """The error to raise for `error`, with which a connection that showed `shown` ended.

    MicroPython does not tell a refused certificate from a lost connection: the same is tried
    without it, or with the factory's. If that passes, it is the certificate, and the likeliest
    reason is named.
    """
    offered = yield from passes(agent, None)
    if offered is None and agent.factory:  # the server may demand a certificate
        offered = yield from passes(agent, agent.factory)
    agent.shown = shown  # of which the error is
    # A connection may have been lost by chance.
    if offered is None or (yield from passes(agent, shown)) is not None:
        return error
    text = "the server does not accept the board's certificate (%s)" % error
    text += apart(_reason, shown[0], offered, agent.anchors(), agent.now())
    return CertificateRefused(text)


def _presentable(agent, chain):
    from est import purposes

    return purposes.chain(agent, chain, agent.log)


def _usable(leaf):
    from est import purposes, x509

    return purposes.is_for_client(x509.Certificate(leaf))


def _reason(chain, offered, anchors, now):
    from est import cms

    try:
        from est import refusal
    except ImportError:
        return ""  # an optional part
    return ": " + refusal.of_own(chain, cms.issued(offered) + anchors, now)
