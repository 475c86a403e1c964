"""Commands to run when something happened: until they are done, and at least once.

What is due is a record of the heart's store, named `hooks`, written before anything counts on it:

    number: how many events there were.
    due: {kind: event}, the newest of each kind. An event holds `number`, `facts`, `tries`, `next`
    (Unix seconds), `done` (digests of the commands that are done), `failed` (of the one that
    failed or runs, with its time, or of `verify`), `error`, or null, and `cause`, absent without
    one: `exit` (a code or signal), `timeout`, `output` (too much), `start` (it cannot be run) or
    `verify`.
    running: estd.programs.mark of the command that runs, or null. One that is found there was left
    by an agent that was killed.

A command may run twice, such as when the power goes while it runs. Then MPEST_NUMBER is the same
and MPEST_TRY another. A newer event of a kind takes the place of the one before, whose commands
failed so far.
"""

import hashlib
import os
import time

from est.errors import EstError, StorageError
from est.store import Store, pack, unpack
from estd import programs, system, verify

RENEWED = "renewed"
FAILED = "failed"
STRANDED = "stranded"
TRUST = "trust"
KINDS = (RENEWED, FAILED, STRANDED, TRUST)

# Seconds until the next try after the first failure; doubled each time, to an hour.
_FIRST_WAIT = 10
_MAX_WAIT = 3600
# Of one command, unless the configuration says otherwise.
SECONDS = 300
# Of the log. The one before is kept beside it.
_MAX_LOG = 1 << 20
# Characters of each fact: all events go into one record of 32 KB.
_MAX_FACT = 1000
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Of exit codes, as env and shells have them.
_MEANING = {126: " (it cannot be executed)", 127: " (there is no such program)"}
# What certbot calls them.
_CERTBOT = {"lineage": "RENEWED_LINEAGE", "domains": "RENEWED_DOMAINS"}
# How often and how long after a reload the server is asked for its certificate.
_VERIFY_WAITS = (0, 1, 2, 4)

# The file may hold a line end and blanks, but -1 and 0 are all processes.
_SIGNAL = """\
read -r pid <"$1" || :
case $pid in ""|0|1|*[!0-9]*) echo "$1 holds no process: $pid"; exit 1;; esac
exec kill -s "$0" "$pid"
"""


try:
    # What MicroPython's repr() gives: a state may be used by either.
    text = ascii
except NameError:
    text = repr


def due(state, kind, facts):
    """Record that the commands for `kind` are to run, durably. Raises StorageError.

    facts: dict of short texts or numbers, which commands get as MPEST_NAME. `lineage` (the folder
    of an export) and `domains` are RENEWED_LINEAGE and RENEWED_DOMAINS too, as certbot's; `sha256`
    is what `verify` looks for, the certificate's digest in hex.
    """
    records = Store(state)
    record = _load(records)
    record["number"] += 1
    facts = {name: _line(value) for name, value in facts.items() if value is not None}
    record["due"][kind] = {
        "number": record["number"],
        "facts": facts,
        "tries": 0,
        "next": 0,
        "done": [],
        "error": None,
    }
    _save(records, record)


def pending(state):
    """The events whose commands are not done, the oldest first: dicts with `kind`, `number`,
    `tries`, `next`, `error` and `cause`."""
    found = []
    for kind, event in _events(_load(Store(state))):
        shown = {name: event[name] for name in ("number", "tries", "next", "error")}
        shown["kind"] = kind
        shown["cause"] = event.get("cause")
        found.append(shown)
    return found


def run_due(state, hooks, tell=None):
    """Run what is due; returns the seconds until the next try, or None where nothing is left.

    hooks: as in the configuration (docs/linux.md), or None. tell(event, detail): called with
    "hook" and a dict with `kind`, `number`, `try` and `text`. Raises no EstError: where the state
    cannot be written nothing runs, and it is tried again.
    """
    hooks = hooks or {}
    records = Store(state)
    waits = []
    try:
        record = _load(records)
        if record.get("running"):
            if programs.end(record["running"]) and tell:
                tell("hook", {"text": "a command that an agent before this one left is ended"})
            _mark(records, record, None)
        for kind, event in _events(record):
            wait = event["next"] - int(time.time())
            # A clock that was set back makes none wait for longer, nor does a mended command.
            if not 0 < wait <= _MAX_WAIT or _is_mended(event, hooks, kind):
                wait = _try(state, records, record, kind, event, hooks, tell)
            elif tell:
                tell("hook", _detail(kind, event, wait))
            if wait:
                waits.append(wait)
    except EstError as error:
        if tell:
            tell("hook", {"text": str(error)})
        waits.append(_MAX_WAIT // 60)
    return min(waits) if waits else None


def commands(hooks, kind):
    """The commands for events of `kind`: a list of lists of words."""
    found = _listed(hooks.get("on_" + kind))
    if kind in (RENEWED, TRUST):
        listed = hooks.get("reload") or []
        found += [_reload(item) for item in (listed if isinstance(listed, list) else [listed])]
    return found


def _try(state, records, record, kind, event, hooks, tell):
    # Run an event's commands; returns the seconds until the next try, or None.
    listed = commands(hooks, kind)
    if listed or _verified(hooks, kind):
        event["tries"] += 1
        _save(records, record)
        cause, error = _run(state, records, record, kind, event, hooks, listed)
        if error:
            wait = min(_FIRST_WAIT << min(event["tries"] - 1, 20), _MAX_WAIT)
            event["next"] = int(time.time()) + wait
        event["error"] = error
        event["cause"] = cause
        if error:
            _save(records, record)
        if tell:
            tell("hook", _detail(kind, event, error and wait))
        if error:
            return wait
    del record["due"][kind]
    _save(records, record)


def _detail(kind, event, wait):
    # Of what is told: done, or what failed and is tried again in so many seconds.
    text = "%s, again in %d s" % (event["error"], wait) if wait else "done"
    detail = {"kind": kind, "number": event["number"], "try": event["tries"]}
    detail["text"] = "%s: %s" % (kind, text)
    return detail


def _is_mended(event, hooks, kind):
    # Whether what failed is not in the configuration any more, or has other time.
    seconds = _seconds(hooks)
    found = [_digest([words, seconds]) for words in commands(hooks, kind)]
    failed = event.get("failed")
    return failed and failed not in found + [_digest(hooks.get("verify"))]


def _digest(of):
    return hashlib.sha256(text(of).encode()).digest()[:8].hex()


def _seconds(hooks):
    return hooks.get("seconds") or SECONDS


def _run(state, records, record, kind, event, hooks, listed):
    # (Cause, what failed in words), or two None.
    seconds = _seconds(hooks)
    log = hooks.get("log") or state + "/hooks.log"
    environment = _environment(state, kind, event)
    for words in listed:
        digest = _digest(words)
        if digest in event["done"]:
            continue
        event["failed"] = _digest([words, seconds])  # unless it is done
        try:
            _begin(log, kind, event, words)
            code = programs.run(
                words,
                environment,
                log,
                seconds,
                lambda marked: _mark(records, record, marked),
            )
        except OSError as error:
            return "start", "%s: %s" % (words[0], error)
        finally:
            record["running"] = None  # saved with what became of it
        if code:
            cause = "exit"
            how = "ended with %d" % code if code > 0 else "was ended by signal %d" % -code
            how += _MEANING.get(code, "")
            if code == programs.TIMED_OUT:
                cause = "timeout"
                how = "took more than %d s and was killed: give it more `seconds`, " % seconds
                how += "or have it start what takes longer as a service"
            elif code == programs.TOO_MUCH:
                cause = "output"
                how = "wrote more than %d octets and was killed" % programs.MAX_OUTPUT
            return cause, "%s %s, see %s" % (words[0], how, log)
        event["done"].append(digest)
        event["failed"] = None
        _save(records, record)
    if _verified(hooks, kind):
        for wait in _VERIFY_WAITS:
            time.sleep(wait)
            error = verify.failure(hooks["verify"], event["facts"].get("sha256"))
            if not error:
                return None, None
        # The next try begins with the first command.
        event["done"] = []
        event["failed"] = _digest(hooks["verify"])
        return "verify", error
    return None, None


def _mark(records, record, marked):
    record["running"] = marked
    _save(records, record)


def _verified(hooks, kind):
    return kind == RENEWED and hooks.get("verify")


def _environment(state, kind, event):
    environment = {
        "PATH": PATH,
        "MPEST_EVENT": kind,
        "MPEST_NUMBER": "%d" % event["number"],
        "MPEST_TRY": "%d" % event["tries"],
        "MPEST_STATE": state,
    }
    for name, value in event["facts"].items():
        environment["MPEST_" + name.upper()] = value
        if name in _CERTBOT:
            environment[_CERTBOT[name]] = value
    return environment


def _line(value):
    return " ".join(str(value).replace("\0", " ").split())[:_MAX_FACT]


def _begin(log, kind, event, words):
    # One line ahead of a command's output.
    try:
        exists = os.stat(log)[6] <= _MAX_LOG
        if not exists:
            os.rename(log, log + ".1")
    except OSError:
        exists = False
    with open(log, "ab") as file:
        if not exists:
            system.chmod(log, 0o600)
        date = "%04d-%02d-%02d %02d:%02d:%02d" % tuple(time.gmtime()[:6])
        line = "%s UTC %s %d, try %d: %s\n"
        line %= (date, kind, event["number"], event["tries"], " ".join(words))
        file.write(line.encode())


def _listed(value):
    # One command or several: a list of lists of words.
    if not value:
        return []
    if isinstance(value, str):
        return [value.split()]
    return [list(value)] if isinstance(value[0], str) else [_words(item) for item in value]


def _words(item):
    return item.split() if isinstance(item, str) else list(item)


def _reload(item):
    if isinstance(item, dict):
        if "touch" in item:
            return ["touch", item["touch"]]
        name = item["signal"]
        name = name[3:] if name[:3] == "SIG" else name  # dash knows it by the rest alone
        return ["sh", "-c", _SIGNAL, name, item["pid_file"]]
    return _words(item)


def _events(record):
    return sorted(record["due"].items(), key=lambda item: item[1]["number"])


def _load(records):
    try:
        items = unpack(records.load("hooks"))
    except StorageError:
        items = None  # damaged; whoever told what is due does so again at the next renewal
    return items[0] if items else {"number": 0, "due": {}}


def _save(records, record):
    records.save("hooks", pack(record))
