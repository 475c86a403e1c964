"""How it stands: identity, dates, the next step, the last failure, hooks that are due."""

from est import clock, store
from est.errors import StorageError
from est.identity import Identity
from estd import events, facts, hooks


def of(life):
    """Dict of the estd.life.Life that runs. Times in Unix seconds, None for what there is not."""
    agent = life.agent
    return _dict(agent.known, life.kept, life.state, life.settings, "running")


def stored(settings, agent="not running"):
    """The same of what is stored, while no agent answers. Raises StorageError."""
    records = store.Store(settings["state"])
    known = Identity(records)
    order = _unpacked(records, "order")
    if order and not order[0]["leaf"]:
        # As est.agent.Agent.identity: a first save that was cut is no damage.
        known.take(_unpacked(records, "identity"))
    else:
        known.take(store.unpack(records.load("identity", 0)))
    # Of a back-off, or of a server that said to wait.
    found = [(_unpacked(records, name) or [{}])[0] for name in ("retry", "order")]
    until = max([meta.get("until", 0) for meta in found])
    if until > clock.now_or_0():
        known.next = ("retry", until)
    kept = (_unpacked(records, "agent") or [{}])[0]
    return _dict(known, kept, settings["state"], settings, agent)


def _unpacked(records, name):
    try:
        return store.unpack(records.load(name))
    except StorageError:
        return []


def _dict(known, kept, state, settings, agent):
    next_step, next_at = known.next or (None, None)
    now = clock.now_or_0()
    if known.chain and not next_step:
        next_step, next_at = "renew", known.renew_at(now)
    if not events.at(next_at):
        next_at = None
    order = _unpacked(known.store, "order")
    return {
        "agent": agent,
        "url": settings["url"],
        "state": state,
        "certificate": facts.of(known) if known.chain else None,
        "renew_at": known.renew_at(now) if known.chain else None,
        "ended": bool(known.chain) and now > known.not_after,
        "order": order[0].get("state") if order else None,
        "next": next_step,
        "next_at": next_at,
        "failure": kept.get("failure"),
        "failure_type": kept.get("kind"),
        "failed_at": kept.get("failed_at"),
        "export": [wanted["folder"] for wanted in settings["export"]],
        "hooks": hooks.pending(state),
    }


def lines(status):
    """A status as lines for people."""
    out = ["agent:       %s (%s)" % (status["agent"], status["state"])]
    certificate = status["certificate"]
    if certificate:
        ended = ", has ENDED" if status["ended"] else ""
        out += [
            "certificate: %s, serial %s" % (certificate["subject"], certificate["serial"]),
            "names:       %s" % (", ".join(certificate["domains"]) or "none"),
            "issuer:      %s" % certificate["issuer"],
            "valid:       %s to %s%s"
            % (
                events.date(certificate["not_before"]),
                events.date(certificate["not_after"]),
                ended,
            ),
        ]
    else:
        out.append("certificate: none yet, from %s" % status["url"])
    if status["order"]:
        out.append("order:       %s" % status["order"])
    next_step = status["next"] or "enrol"
    out.append("next:        %s%s" % (next_step, events.at(status["next_at"])))
    if status["failure"]:
        out.append("failure:     %s" % " ".join(status["failure"].split()))
        if status["failed_at"]:
            out.append("             since %s" % events.date(status["failed_at"]))
    for folder in status["export"]:
        out.append("export:      %s" % folder)
    for hook in status["hooks"]:
        text = "%s, try %d" % (hook["kind"], hook["tries"])
        if hook["error"]:
            text += "; %s; again%s" % (hook["error"], events.at(hook["next"]))
        out.append("hook due:    %s" % text)
    return out
