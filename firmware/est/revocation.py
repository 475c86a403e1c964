"""Revocation of the board's own certificate (RFC 7030 4.3, RFC 5272 6.11)."""

from est import cmc, fullcmc, run, x509
from est.errors import EstError, NotTrusted, PeerError, Unsupported, UsageError


def revoke(*arguments, **options):
    """revoke(agent, reason, comment, since): as `revoking`, now. Returns the certificate (DER)."""
    return run(revoking(*arguments, **options))


def revoking(agent, *arguments, **options):
    """As `_revoking`, in turn with what else the agent does."""
    steps = agent.parts.in_turn(agent, _revoking) if agent.parts else _revoking
    return steps(agent, *arguments, **options)


def _revoking(agent, reason="unspecified", comment=None, since=None):
    """Have the CA revoke the certificate of est.agent.Agent `agent`, then forget it and its key.

    In steps, for est.steps.wait beside other tasks.
    reason: a name of est.cmc.REASONS. comment, since: as in est.cmc.revoke_request.
    Returns the certificate (DER). The identity goes only once the CA has confirmed; where the
    answer was lost, revoke again: for what is revoked already CAs answer alike. Raises UsageError
    without an identity, and what est.fullcmc.ask does.
    """
    identity = agent.identity()
    if not identity:
        raise UsageError("nothing to revoke: no identity is there")
    if agent.store.damaged:
        agent.log("a newer certificate was perhaps there: ask the CA to revoke it, too")
    leaf = x509.Certificate(identity[0][0])
    control = cmc.revoke_request(leaf.issuer, leaf.serial, reason, since, None, comment)
    try:
        yield from fullcmc.ask(agent, (control,), (), identity)
    except (PeerError, NotTrusted, Unsupported) as error:
        text = "%s. Where the request was sent, it may be revoked: revoke again"
        super(EstError, error).__init__(text % error)
        raise
    forget(agent)
    if agent.parts:
        agent.tell("revoked", subject=str(leaf))
    return leaf.der


def forget(agent):
    """Erase the identity, and what was to renew it, without asking anybody: such as one that every
    server refuses."""
    if not agent.busy:  # else the connection is another caller's, or closed
        agent.close()
    agent.known.erase()
    agent.failures = agent.refusals = 0
    agent.until = agent.floor = 0
