"""The loop over estd.life.Life: once, or for ever."""

from micropython import const

from est import clock
from est.errors import EstError
from estd import config, control, events, exits, notify

# A network that comes and goes brings no more tries than one in so many seconds.
_NETWORK_REST = const(60)


def once(life):
    """What is due now, for a timer. Returns the exit code."""
    life.steps()
    step, at = life.agent.known.next or (None, None)
    if step == "retry" and not life.failed:
        why = life.kept.get("failure")
        when = events.at(at) or " in its time"
        life.tell.note("not now: the next try is%s%s" % (when, ", after: " + why if why else ""))
    return life.code()


def forever(life, path):
    """The agent as a daemon. path: of the configuration, read again at SIGHUP."""
    from estd import restart, wake

    try:
        listener = control.listen(life.state)
    except OSError as error:
        life.tell.note("no control socket: %s" % error)
        listener = None
    bed = wake.Bed(listener)
    stamp = restart.package()
    notify.send("READY=1\nSTATUS=starts")
    # Whether the network returned since the last try, and when such a try was.
    returned = False
    forced = 0
    while True:
        now = clock.now_or_0()
        if returned and not 0 <= now - forced < _NETWORK_REST:
            life.agent.until = 0
            returned = False
            forced = now
        wait = max(life.steps(), 1)
        notify.send("STATUS=" + said(life))
        reason, caller = bed.sleep(
            min(wait, _NETWORK_REST) if returned else wait, _lost_network(life)
        )
        what = "est" if restart.package() != stamp else "the state" if life.is_lost() else None
        if what:
            if caller:
                text = "%s was replaced: ask again in a moment" % what
                caller.tell({"event": "note", "text": text})
                caller.tell({"exit": exits.LATER})
            life.tell.note("%s was replaced: the agent starts again" % what)
            restart.settle()
            again(life, bed)
        if reason == "caller":
            answer(life, caller)
        elif reason == "hangup":
            lines = wrong(life, path)
            for line in lines:
                life.tell("config", {"text": line})
            if not lines:
                life.tell.note("SIGHUP: the agent starts again")
                again(life, bed)
        elif reason == "network":
            returned = True
        elif reason == "clock" and life.agent.failures:
            life.agent.until = 0


def wrong(life, path):
    """Lines that say why an agent with the settings at `path` would end."""
    from estd import checks, hardware
    from estd.life import make_agent

    settings, lines, _ = config.read(path)
    if settings:
        lines += checks.settings(settings)
        try:
            make_agent(settings, life.records, hardware.number(), life.tell, life.tell.note)
        except EstError as error:
            lines.append(str(error))
    return lines


def again(life, bed):
    """Start again, without what is open."""
    from est import posix
    from estd import restart

    bed.close()
    posix.close(life.state)
    restart.restart()


def answer(life, caller):
    """Do what `caller` asks for, who hears what happens meanwhile."""
    request = caller.request
    if request and request.get("action") == "status":
        from estd import status

        caller.tell(dict(status.of(life), event="status"))
        caller.tell({"exit": exits.DONE})
    elif request:
        life.tell.listeners.append(caller.tell)
        try:
            code = life.do(request)
        finally:
            life.tell.listeners.remove(caller.tell)
        caller.tell({"exit": code})
    caller.close()


def said(life):
    """One line of how it stands."""
    known = life.agent.known
    text = "no certificate yet"
    if known.chain:
        text = "certificate until " + events.date(known.not_after)
    if life.failed:
        text += "; " + life.failed["text"]
    if known.next:
        text += "; %s%s" % (known.next[0], events.at(known.next[1]))
    return " ".join(text.split())


def _lost_network(life):
    # Whether a network that returns is worth a try before its time.
    return bool(life.failed and exits.of(life.failed["type"]) == exits.NETWORK)
