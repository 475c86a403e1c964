"""The options: `micropython -m estd --config FILE`, or `mpest agent`, which is the same."""

import gc
import sys

# On MicroPython garbage is collected after so many bytes, where its heap would fill first: that
# saves more than a megabyte of resident memory.
_GARBAGE = 1 << 16
_HELP = """\
Usage: %s [run|status|renew|revoke|export|reset|deploy] --config FILE [OPTION...]

run               keep the certificate renewed, for ever (as without a word)
status            show certificate, next step, last failure, hooks that are due
renew             do what is due; with --now renew at once
revoke            have the certificate revoked, and forget it
export            write the files of other programs again
reset             forget all, such as before an image is made
deploy            as root, what another user's agent exported: FILE is of its own kind

--config FILE     the settings, JSON
--once            do what is due and end, for a timer
--dry-run         prove server, trust, credentials and exports; change nothing
--json            one JSON object per event on standard output
--now             renew though it is not due
--reason NAME     of revoke, such as keyCompromise
--cert FILE       an existing certificate to begin with, PEM
--key FILE        its key
"""
# In the place of standard files that were closed by the starter.
_standard = []
_ACTIONS = ("run", "status", "renew", "revoke", "export", "reset", "deploy")
_FLAGS = ("--once", "--dry-run", "--json", "--now")
_VALUES = ("--config", "--reason", "--cert", "--key")


def parse(arguments):
    """({option: value}, None), or (None, what is wrong)."""
    options = {"action": None}
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word in _FLAGS:
            options[word] = True
        elif name in _VALUES:
            if not equals:
                if not words:
                    return None, "%s needs a value" % name
                value = words.pop(0)
            options[name] = value
        elif word in _ACTIONS and not options["action"]:
            options["action"] = word
        else:
            return None, "what is %s? --help tells the options" % word
    if not options.get("--config"):
        return None, "--config FILE is missing"
    action = options["action"] = options["action"] or "run"
    for name, actions in (
        ("--once", ("run",)),
        ("--dry-run", ("run",)),
        ("--now", ("renew",)),
        ("--reason", ("revoke",)),
        ("--cert", ("run", "renew")),
        ("--key", ("run", "renew")),
    ):
        if name in options and action not in actions:
            return None, "%s is not for %s" % (name, action)
    if ("--cert" in options) != ("--key" in options):
        return None, "--cert and --key go together"
    return options, None


def _open_standard_files():
    # What is opened next would else be what standard output and error are written to.
    while True:
        file = open("/dev/null", "wb")
        if file.fileno() > 2:
            file.close()
            return
        _standard.append(file)


def main(arguments):
    """Returns the exit code."""
    _open_standard_files()
    if hasattr(gc, "threshold"):
        gc.threshold(_GARBAGE)
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(_HELP % "mpest agent")
        return 0
    from estd import events, exits

    options, wrong = parse(arguments)
    if wrong:
        events.tell("usage", {"text": wrong})
        return exits.USAGE
    from estd import command

    try:
        return command.run(options)
    except KeyboardInterrupt:
        return exits.INTERRUPTED


if __name__ == "__main__":
    if not sys.path[0].endswith("/..") and "estd" not in sys.modules:
        # Started as a file, what lies beside its folder is not on the path.
        folder = __file__.rpartition("/")[0]
        sys.path.insert(0, (folder or ".") + "/..")
    sys.exit(main(sys.argv[1:]))
