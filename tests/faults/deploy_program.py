"""What follows a new certificate, of an agent that gets them from its standard input.

Reads one JSON object: state, export and hooks as in the configuration; chain and key (hex DER) of
an identity to store first, and its generation; flaw, which breaks the code on purpose. Runs what
estd.life.Life does then, and prints what is pending.
"""

import json
import sys
from binascii import unhexlify

from est import posix, store
from est.identity import Identity
from estd import events, hooks, life, system


class Agent:
    """Has what est.agent.Agent would have."""

    def __init__(self, records):
        self.trust = [b"an anchor"]
        self.store = records
        self.known = Identity(records)
        self.known.take(self.load("identity"))

    def load(self, name):
        return store.unpack(self.store.load(name))


class Life(life.Life):
    """Without a server."""

    def __init__(self, settings):
        self.settings = settings
        self.state = settings["state"]
        self.hooks = settings["hooks"]
        self.tell = events.Events()
        self.records = store.Store(self.state)
        self.kept = self._load()
        self.failed = None
        self.vain = 0
        if settings.get("chain"):
            chain = [unhexlify(one) for one in settings["chain"]]
            meta = {"generation": settings["generation"]}
            self.records.save("identity", store.pack(meta, unhexlify(settings["key"]), *chain))
        self.agent = Agent(self.records)


def unsynced(path, data, mode, user, group):
    """As system.write, but that it stays in memory."""
    with open(path, "wb") as file:
        file.write(data)
    system.chmod(path, mode)


def main():
    settings = json.loads(sys.stdin.readline())
    flaw = settings.get("flaw")
    if flaw == "unsynced":
        system.write = unsynced
    life = Life(settings)
    if flaw == "early":
        # It counts as exported before the hook is due.
        due, deploy = life.due, life.deploy
        later = []
        life.due = lambda *arguments: later.append(arguments)

        def early():
            deploy()
            for arguments in later:
                due(*arguments)

        life.deploy = early
    life.follow()
    print(json.dumps(hooks.pending(life.state)))
    posix.close(life.state)


main()
