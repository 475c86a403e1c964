"""--dry-run: what would be done, proven as far as the request, and nothing changed.

The server is asked as ever, over the same code. The store keeps what it is given in memory.
"""

from est import errors, run, store
from est.errors import EstError, Refused, RetryLater, StorageError
from estd import events, exits, export, facts, hardware, hooks, readers
from estd.life import make_agent

# A request that no CA can issue for: an empty SEQUENCE.
_EMPTY = b"\x30\x00"


class Memory(store.Store):
    """A store whose changes are forgotten."""

    def __init__(self, path):
        super().__init__(path)
        self.changes = {}

    def load(self, name, least=-1):
        if name in self.changes:
            self.damaged = 0
            return self.changes[name]
        return super().load(name, least)

    def save(self, name, payload):
        self.changes[name] = payload

    def erase(self, name):
        self.changes[name] = None


def prove(settings, tell):
    """Prove what can be proven. Returns the exit code of the first thing that fails."""
    state = settings["state"]
    code = exits.DONE
    records = Memory(state)
    if not export.folder_exists(state):
        tell.note("%s does not exist yet: it is made" % state)
        # Nothing is read there.
        records.path = "/nowhere"
    agent = make_agent(settings, records, hardware.number(), tell, tell.note)
    try:
        for agent.doing, part in (("server", _server), ("login", _login), ("request", _request)):
            tell("dry-run", {"text": part(agent)})
    except RetryLater as error:
        tell("failed", _detail(agent, error))
        code = exits.LATER
    except EstError as error:
        tell("failed", _detail(agent, error))
        code = exits.of(error)
    finally:
        agent.close()
    wrong = readers.unwritable([state] + [wanted["folder"] for wanted in settings["export"]])
    for wanted in settings["export"]:
        wrong += readers.ungivable(wanted) + readers.refused(wanted, tell)
    wrong += _missing(settings["hooks"])
    for text in wrong:
        tell("failed", {"type": "StorageError", "operation": "export", "text": text})
    return code or (exits.STORAGE if wrong else exits.DONE)


def _missing(configured):
    # The programs of hooks that are not there: a list of lines.
    lines = []
    for kind in hooks.KINDS:
        for words in hooks.commands(configured, kind):
            name = words[0]
            folders = [""] if "/" in name else [path + "/" for path in hooks.PATH.split(":")]
            if not [path for path in folders if readers.exists(path + name)]:
                lines.append("hooks: there is no program %s" % name)
    return lines


def _detail(agent, error):
    return {"type": type(error).__name__, "operation": agent.doing, "text": str(error)}


def _shown(agent):
    # (What TLS shows, the certificate to renew or None), as est.duty chooses at first.
    try:
        known = agent.identity()
    except StorageError:
        known = None  # damaged: as at first
    if known and agent.works():
        return known, known.chain[0]
    return agent.factory, None


def _server(agent):
    shown, _ = _shown(agent)
    anchors = agent.anchors()
    agent.client(shown).cacerts()
    words = "the server is trusted (%d trust anchors)" % len(anchors)
    if shown:
        which = "its certificate" if shown is agent.known else "the factory's certificate"
        words += " and takes %s, as far as TLS shows" % which
    return words


def _login(agent):
    credentials = agent.credentials
    if not credentials:
        return "no password or token is configured"
    client = agent.client(_shown(agent)[0])
    try:
        client.run(client.est.post("simpleenroll", _EMPTY))
    except Refused as error:
        sent = credentials.header("POST", "/")
        if error.status in (401, 403):
            raise
        if sent:
            return "the server takes the login; an empty request was refused, as it should be"
        return "the server did not ask for the login before it refused an empty request"
    except errors.PeerError as error:
        return "the login is not proven: an empty request brings %s" % error
    return "the login is not proven: the server took an empty request"


def _request(agent):
    shown, leaf = _shown(agent)
    order = agent.orders[leaf is not None]()
    fetch = lambda needed=False: agent.parts.attributes(agent, shown, needed)  # noqa: E731
    run(order.build(fetch, agent.log, agent.wanted, leaf, agent.key))
    if leaf:
        renew_at = events.date(agent.known.renew_at(agent.now()))
        subject = facts.of(agent.known)["subject"]
        return "%s would be renewed by %s at %s" % (subject, order.kind, renew_at)
    return "%s would be asked for by %s now" % (agent.wanted[0], order.kind)
