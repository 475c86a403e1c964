"""The agent's steps, the files and hooks that follow from each, and what a person asks for.

What must outlive a restart is the record "agent" of the store, without items:
    identity, trust: digests of what is exported, and of how. hardware: this board's number.
    failure, kind: text and type of the last failed step; absent once all is well. failed_at: when
    the first in a row was. told_at: when the hook on_failed was last due.
"""

import os

from micropython import const

from est import clock, run, store
from est.agent import Agent
from est.errors import EstError, StorageError, UsageError
from estd import addresses, config, control, exits, export, facts, hardware, hooks, system

_RECORD = const("agent")
# A step that wants another at once: bootstrap, order, proof, what was set aside.
_MAX_STEPS = const(16)
# When what failed outside of the agent is tried again; doubled each time, to an hour.
_RETRY = const(60)
# What is kept of a failure is forgotten.
_WELL = {"failure": None, "kind": None, "failed_at": None, "told_at": None}
# The hook on_failed runs for the first failure in a row, and then once a day.
_DAY = const(86400)


class Life:
    """An agent with its settings (estd.config) and what it tells (estd.events.Events).

    Raises UsageError for settings that no agent can be made of, StorageError, also where another
    process has the state.
    """

    def __init__(self, settings, tell):
        self.settings = settings
        self.tell = tell
        self.state = settings["state"]
        self.hooks = settings["hooks"]
        self.records = lock(self.state)
        self.place = _place(self.state)
        self.kept = self._load()
        self.failed = None
        # Exports in a row that failed.
        self.vain = 0
        number = hardware.number()
        self.agent = make_agent(settings, self.records, number, self.on_event, tell.note)
        self._check_hardware(number)
        # What is read at the first step; `status` and `deploy` want it before.
        self.agent.known.take(self.agent.load("identity"))

    # What is kept.

    def _load(self):
        try:
            return (store.unpack(self.records.load(_RECORD)) or [{}])[0]
        except StorageError as error:
            self.tell.note(str(error))
            return {}

    def keep(self, **values):
        """Keep these values, unless they are kept already; None to forget one."""
        kept = dict(self.kept)
        for name, value in values.items():
            kept.pop(name, None)
            if value is not None:
                kept[name] = value
        if kept != self.kept:
            self.kept = kept
            try:
                self.records.save(_RECORD, store.pack(kept))
            except EstError as error:
                self.tell.note(str(error))

    def _check_hardware(self, number):
        if number and self.kept.get("hardware", number) != number:
            text = (
                "this card, or its copy, was in board %s before, and is in %s now: "
                "`mpest agent reset` has this board enrol for itself"
            )
            self.tell("hardware", {"text": text % (self.kept["hardware"], number)})
        elif number:
            self.keep(hardware=number)

    def is_lost(self):
        """Whether the state was removed, or made anew by another process, under this one."""
        return _place(self.state) != self.place

    # Events of the agent.

    def on_event(self, event, detail):
        if event in ("renewed", "revoked"):
            self.failed = None
        elif event == "failed":
            self.failed = detail
            self._note_failure(detail)
        elif event == "stranded":
            self._try_due(hooks.STRANDED, {"text": detail["text"]})
        self.tell(event, detail)

    def _note_failure(self, detail):
        now = clock.now_or_0()
        first = "failure" not in self.kept
        told_at = self.kept.get("told_at", 0)
        due = first or not 0 <= now - told_at < _DAY
        self.keep(
            failure=detail["text"],
            kind=detail["type"],
            failed_at=now if first else self.kept.get("failed_at", now),
            told_at=now if due else told_at,
        )
        if due:
            self._try_due(hooks.FAILED, {"text": detail["text"], "type": detail["type"]})

    def due(self, kind, detail):
        """Have a hook run, with these facts and those of the identity. Raises StorageError."""
        if not self.hooks:
            return
        known = self.agent.known
        if known.chain:
            detail = dict(facts.of(known), **detail)
            detail["domains"] = " ".join(detail["domains"])
        folders = [wanted["folder"] for wanted in self.settings["export"]]
        detail["lineage"] = folders[0] if folders else ""
        hooks.due(self.state, kind, detail)

    def _try_due(self, kind, detail):
        try:
            self.due(kind, detail)
        except (EstError, OSError) as error:
            self.tell.note("the hook %s cannot be kept as due: %s" % (kind, error))

    # Steps.

    def steps(self):
        """Do what is due, and what follows from it. Returns the seconds until the next step."""
        for _ in range(_MAX_STEPS):
            wait = self.agent.step()
            if not self.agent.failures:
                self.failed = None
            if wait > 0:
                break
        wait = min(wait, self.follow())
        # One that another process met, whose back-off goes on, counts.
        if not (self.failed or self.agent.failures):
            self.keep(**_WELL)
        return max(wait, 1)

    def follow(self):
        """Export what is new and run hooks. Returns the seconds until the next try."""
        wait = _DAY
        try:
            self.deploy()
            self.vain = 0
        except Exception as error:  # whatever it is, renewals go on
            wait = _RETRY << min(self.vain, 6)
            self.vain += 1
            detail = {"type": type(error).__name__, "operation": "export", "status": None}
            text = str(error)
            detail.update(seconds=wait, text=text if text[:6] == "export" else "export: " + text)
            self.on_event("failed", detail)
        try:
            seconds = hooks.run_due(self.state, self.hooks, self.tell)
        except Exception as error:
            self.tell.note("hooks: %s: %s" % (type(error).__name__, error))
            seconds = _RETRY
        return wait if seconds is None else min(wait, seconds)

    def deploy(self):
        """Export the identity and its trust anchors; hooks are due where they are other ones.

        Raises EstError, OSError.
        """
        known = self.agent.known
        if not known.chain:
            return
        exports = self.settings["export"]
        how = hooks.text([sorted(wanted.items()) for wanted in exports]).encode()
        identity = store.digest(b"".join([how, known.key or b""] + known.chain))
        other_identity = identity != self.kept.get("identity")
        anchors = self._anchors()
        trust = store.digest(b"".join(anchors)) if anchors else self.kept.get("trust")
        if not (anchors or other_identity):
            return  # those that were exported are better than none
        changed = export.deploy(exports, known.chain, known.key, anchors)
        other_trust = trust != self.kept.get("trust", trust)
        # Due before it counts as exported: a cut between both has it all done again.
        if other_identity or (changed and not other_trust):
            self.due(hooks.RENEWED, {})
        if other_trust:
            self.due(hooks.TRUST, {})
        self.keep(identity=identity, trust=trust)

    def _anchors(self):
        # The trust anchors (DER); none while their record is damaged: the next renewal mends it.
        agent = self.agent
        try:
            anchors = store.unpack(self.records.load("anchors"))[1:]
        except StorageError:
            return []
        return anchors or (agent.trust if isinstance(agent.trust, list) else [])

    def code(self):
        """The exit code that tells how it stands."""
        if self.failed:
            if not clock.now_or_0():
                return exits.LATER
            return exits.of(self.failed["type"])
        if (self.agent.known.next or ("",))[0] == "retry":
            return exits.LATER
        return self._hook_code()

    def _hook_code(self):
        return exits.HOOK if hooks.pending(self.state) else exits.DONE

    # What a person asks for.

    def do(self, request):
        """What another process, or this one's command line, asks for. Returns the exit code."""
        action = request.get("action")
        try:
            if action == "renew":
                self._renew()
            elif action == "revoke":
                self._revoke(request.get("reason") or "unspecified")
            elif action == "export":
                if not self.agent.known.chain:
                    raise UsageError("there is no certificate to export yet")
                self.keep(identity=None)
            else:
                raise UsageError("no such action: %s" % action)
        except Exception as error:  # whatever it is, the agent that runs goes on
            kind = type(error).__name__
            text = str(error) if isinstance(error, EstError) else "%s: %s" % (kind, error)
            self.tell("error", {"text": text, "type": kind})
            return exits.of(kind)
        finally:
            self.agent.close()
        self.follow()
        if self.failed and self.failed["operation"] == "export":
            return exits.of(self.failed["type"])
        return self._hook_code()

    def _renew(self):
        agent = self.agent
        try:
            known = agent.identity()
        except StorageError:
            known = None  # damaged: what helps is to enrol
        agent.until = 0
        # As a renewal, unless the certificate cannot vouch for the board any more.
        run(agent.have(bool(known) and agent.works()))
        self.failed = None
        self.keep(**_WELL)

    def _revoke(self, reason):
        from est import revocation

        revocation.revoke(self.agent, reason)
        export.withdraw(self.settings["export"])
        self.keep(identity=None)


def make_agent(settings, records, number, on_event, note):
    """The est.agent.Agent of these settings. Raises UsageError."""
    rules = config.board_rules()
    if not number and "{id}" in "".join([settings["subject"]] + (settings.get("san") or [])):
        raise UsageError("{id}: nothing here tells this board's number; write the name itself")
    agent = rules.agent(Agent, settings, records, number, on_event=on_event, log=note)
    if agent.factory:
        _check_pair("factory", *agent.factory)
    # Without an identity of its own, and while none is on its way.
    if settings.get("identity_key") and not (agent.load("identity") or agent.load("order")):
        agent.given = [
            rules.read_der(settings, key) for key in ("identity_certificate", "identity_key")
        ]
        _check_pair("identity", *agent.given)
    agent.Client = addresses.client_class(settings["proxy"])
    return agent


def _check_pair(name, chain, key):
    # Raises UsageError where the key (DER) is not that of the first certificate (DER).
    from est import keys, x509

    try:
        leaf = x509.Certificate(chain[0])
    except EstError as error:
        raise UsageError("%s_certificate: %s" % (name, error))
    if keys.load(key).spki() != bytes(leaf.spki):
        raise UsageError("%s_key is not that of %s_certificate" % (name, name))


def lock(state):
    """The est.store.Store of folder `state`, made if need be, for this process alone.

    Raises StorageError, UsageError.
    """
    from est import posix

    try:
        if not export.folder_exists(state):
            _make_folders(state)
            system.chmod(state, 0o700)
        owner = os.stat(state)[4]
        if owner and system.user() == 0:
            # What root writes there could not be read by the agent that usually runs.
            text = "%s is the user %s's: `runuser -u %s -- mpest agent ...` is to do it"
            owner = system.name(owner)
            raise UsageError(text % (state, owner, owner))
        if control.runs(state):
            raise StorageError("an agent runs in %s already: it is the one to ask" % state)
        posix.lock(state)
    except OSError as error:
        raise StorageError("cannot use the folder %s: %s" % (state, error))
    return store.Store(state)


def _place(state):
    # What tells the locked file of a state from another in its place.
    try:
        found = os.stat(state + "/est.lock")
    except OSError:
        return None
    return found[1], found[9]


def _make_folders(path):
    parent = path.rpartition("/")[0]
    if parent and not export.folder_exists(parent):
        _make_folders(parent)
    os.mkdir(path)
