"""What needs root when a certificate was renewed: systemd's second unit (docs/linux.md).

Of the agent's user it takes certificates and key, and no command: files, owners and commands are
those of its settings, which nobody else may write. It runs on CPython, as the unit does.
"""

import os

from micropython import const

from est import keys, store, x509
from est.errors import EstError, StorageError, UsageError
from estd import config, exits, export, facts, hooks

# Of the store of this unit, without items: digest of what was deployed last.
_RECORD = const("deployed")
# A chain of CAs with long names takes less.
_MAX_FILE = const(1 << 17)
_WRITABLE_BY_OTHERS = const(0o022)

_RULES = {
    "from": config._absolute,
    "user": config._text,
    "state": config._absolute,
    "fullchain": config._file_name,
    "key": config._file_name,
    "anchors": config._file_name,
    "export": None,
    "hooks": None,
}
_DEFAULTS = {"user": "mpest", "fullchain": "fullchain.pem", "key": "key.pem", "anchors": None}


class _Pair:
    """A certificate with its key, as est.identity.Identity has them."""

    generation = 1

    def __init__(self, chain, key, anchors):
        self.chain = chain
        self.key = key
        self.anchors = anchors

    def digest(self, exports):
        how = repr([sorted(wanted.items(), key=str) for wanted in exports]).encode()
        return store.digest(b"".join([how, self.key] + self.chain + self.anchors))


def read(path):
    """(settings or None, lines that say what is wrong) of the file at `path`.

    settings: "from" (the folder of the agent's export), its files "fullchain", "key", "anchors";
    "user", the agent's; "state"; "export" and "hooks" as the agent's own.
    """
    import json

    try:
        _check_owner(path)
        with open(path, "rb") as file:
            settings = json.loads(file.read(_MAX_FILE).decode())
        if not isinstance(settings, dict):
            raise ValueError("must be an object: {...}")
    except (OSError, ValueError, UsageError) as error:
        return None, ["%s: %s" % (path, error)]
    lines = []
    for key, value in settings.items():
        if key not in _RULES:
            lines.append("%s is unknown: one of %s" % (key, " ".join(sorted(_RULES))))
        elif _RULES[key] and value is not None and _RULES[key](value):
            lines.append("%s %s" % (key, _RULES[key](value)))
    if settings.get("from") is None:
        lines.append("from is missing: the folder of the agent's export")
    exports = settings.get("export")
    exports = [] if exports is None else exports
    exports = exports if isinstance(exports, list) else [exports]
    for wanted in exports:
        lines += config._object("export", wanted, config._EXPORT)
        if isinstance(wanted, dict):
            lines += config._export_names("export", wanted)
    lines += config._object("hooks", settings.get("hooks") or {}, config._HOOKS)
    if lines:
        return None, ["%s: %s" % (path, line) for line in lines]
    for key, value in _DEFAULTS.items():
        settings.setdefault(key, value)
    settings["export"] = [config._with_defaults(wanted) for wanted in exports]
    settings["hooks"] = settings.get("hooks") or {}
    state = settings.get("state") or (os.getenv("STATE_DIRECTORY") or "").split(":")[0]
    if not state:
        return None, ["%s: state is missing" % path]
    settings["state"] = state
    return settings, []


def _check_owner(path):
    # Whoever writes the commands, or may replace their file, is root.
    path = os.path.abspath(path)
    while True:
        status = os.stat(path)
        if status.st_uid not in (0, os.geteuid()):
            raise UsageError("%s must belong to root" % path)
        sticky = os.path.isdir(path) and status.st_mode & 0o1000
        if status.st_mode & _WRITABLE_BY_OTHERS and not sticky:
            raise UsageError("others can write %s: chmod go-w %s" % (path, path))
        if path == "/":
            return
        path = os.path.dirname(path)


def run(path, tell):
    """Deploy what the agent exported last, and run the hooks that are due. Returns the exit code.

    Raises EstError, OSError.
    """
    settings, lines = read(path)
    for line in lines:
        tell("config", {"text": line})
    if lines:
        return exits.USAGE
    from estd.life import lock

    records = lock(settings["state"])
    user = _user(settings)
    for wanted in settings["export"]:
        _check_folder(wanted["folder"], user)
    pair = _taken(settings, user)
    if not pair:
        tell.note("%s holds no certificate yet" % settings["from"])
        return exits.DONE
    exports = settings["export"]
    changed = export.deploy(exports, pair.chain, pair.key, pair.anchors)
    digest = pair.digest(exports)
    if changed or store.unpack(records.load(_RECORD)) != [digest]:
        described = facts.of(pair)
        described["domains"] = " ".join(described["domains"])
        described["lineage"] = exports[0]["folder"] if exports else settings["from"]
        # Due before it counts as deployed: a cut between both has it all done again.
        hooks.due(settings["state"], hooks.RENEWED, described)
        records.save(_RECORD, store.pack(digest))
        tell("deployed", described)
    waiting = hooks.run_due(settings["state"], settings["hooks"], tell)
    return exits.DONE if waiting is None else exits.HOOK


def _user(settings):
    from estd import system

    try:
        return system.number(settings["user"], "passwd")
    except LookupError:
        raise UsageError("user: there is no %s here" % settings["user"])


def _check_folder(path, user):
    # In a folder of the agent's user a link could have root write anywhere.
    while path.strip("/"):
        if os.geteuid() != user and os.path.lexists(path) and os.lstat(path).st_uid == user:
            raise UsageError("export: %s is of the agent's user: choose another folder" % path)
        path = os.path.dirname(path.rstrip("/"))


def _taken(settings, user):
    # The pair that the agent exported, or None. Raises UsageError, StorageError.
    folder = settings["from"].rstrip("/") + "/"
    try:
        os.stat(folder + settings["fullchain"])
    except OSError:
        return None
    found = [
        name and _read(folder + name, user)
        for name in (settings["fullchain"], settings["key"], settings["anchors"])
    ]
    rules = config.board_rules()
    try:
        chain = rules.FILES["factory_certificate"](found[0])
        key = rules.FILES["factory_key"](found[1])
        anchors = rules.FILES["anchors"](found[2]) if found[2] else []
        matches = keys.load(key).spki() == bytes(x509.Certificate(chain[0]).spki)
    except (EstError, ValueError) as error:
        raise StorageError("what is in %s cannot be deployed: %s" % (folder, error))
    if not matches:
        # The agent replaced the files between the two reads: the next try has both.
        raise StorageError("%s: certificate and key do not match" % folder)
    return _Pair(chain, key, anchors)


def _read(path, user):
    # Whatever a link leads to: what is the agent's own, and nothing that root alone can read.
    with open(path, "rb", opener=_open) as file:
        if os.fstat(file.fileno()).st_uid != user:
            raise UsageError("%s is not of the agent's user" % path)
        return file.read(_MAX_FILE)


def _open(path, flags):
    # A pipe in the file's place would hold it up.
    return os.open(path, flags | os.O_NONBLOCK)
