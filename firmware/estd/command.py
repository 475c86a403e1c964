"""One command: what `__main__` was given, done."""

import json
import sys

from est.errors import EstError, UsageError
from estd import config, control, events, exits, programs, status


def run(options):
    """Do what the options (estd.__main__) say. Returns the exit code."""
    as_json = "--json" in options
    tell = events.Events(as_json)
    programs.end_by_sigterm()
    path = options["--config"]
    if options["action"] == "deploy":
        return _deploy(path, tell)
    settings, lines, notes = config.read(path)
    for line in lines:
        tell("config", {"text": line})
    if lines:
        return exits.USAGE
    for name, key in (("--cert", "identity_certificate"), ("--key", "identity_key")):
        if name in options:
            settings[key] = options[name]
    action = options["action"]
    try:
        if action == "status":
            return _status(settings, tell)
        for note in notes:
            tell.note(note)
        if action in ("run", "renew", "export"):
            code = _checked(settings, tell)
            if code:
                return code
        if "--dry-run" in options:
            from estd import dry

            return dry.prove(settings, tell)
        if action == "run":
            return _run(settings, tell, path, "--once" in options)
        return _act(settings, tell, action, options)
    except (EstError, OSError) as error:
        return _failed(error, tell)


def _checked(settings, tell):
    from estd import checks

    lines = checks.settings(settings)
    for line in lines:
        tell("config", {"text": line})
    if lines:
        return exits.USAGE
    lines = checks.disk(settings)
    for line in lines:
        tell("error", {"text": line, "type": "StorageError"})
    return exits.STORAGE if lines else exits.DONE


def _deploy(path, tell):
    from estd import deploy

    try:
        return deploy.run(path, tell)
    except (EstError, OSError) as error:
        return _failed(error, tell)


def _failed(error, tell):
    kind = type(error).__name__
    tell("error", {"text": str(error), "type": kind})
    return exits.STORAGE if isinstance(error, OSError) else exits.of(kind)


def _status(settings, tell):
    agent = "not running"
    found = None
    try:
        asked = control.connect(settings["state"])
        for answer in control.ask(asked, {"action": "status"}) if asked else ():
            if answer.get("event") == "status":
                found = answer
    except control.Busy as error:
        agent = "busy"
        events.tell("note", {"text": "%s: this is what is stored" % error})
    except OSError as error:
        events.tell("note", {"text": "the agent that runs cannot be asked: %s" % error})
    if not found:
        found = dict(status.stored(settings, agent), event="status")
    if tell.as_json:
        events.write(sys.stdout, json.dumps(found))
    else:
        for line in status.lines(found):
            events.write(sys.stdout, line)
    if found["failure"]:
        return exits.of(found["failure_type"])
    if not found["certificate"]:
        return exits.USAGE
    if found["ended"]:
        return exits.LATER
    return exits.HOOK if [hook for hook in found["hooks"] if hook["error"]] else exits.DONE


def _run(settings, tell, path, once):
    from estd import life, run

    if not once:
        programs.end_by_sigterm(exits.DONE)
    try:
        alive = life.Life(settings, tell)
    except UsageError as error:
        # Nobody looks at a daemon's exit code.
        tell("failed", {"type": "UsageError", "operation": "start", "text": str(error)})
        return exits.USAGE
    if once:
        return run.once(alive)
    return run.forever(alive, path)


def _act(settings, tell, action, options):
    if action == "renew" and "--now" not in options:
        return _run(settings, tell, None, True)
    request = {"action": action, "reason": options.get("--reason")}
    if action == "reset":
        if control.runs(settings["state"]):
            raise UsageError("an agent runs in %s: stop it first" % settings["state"])
        from estd import life, reset

        reset.all_of(settings, life.lock(settings["state"]))
        tell("reset", {"text": "forgotten: the next start enrols anew"})
        return exits.DONE
    try:
        asked = control.connect(settings["state"])
        for answer in control.ask(asked, request) if asked else ():
            code = answer.get("exit")
            if code is not None:
                return code
            tell(answer.pop("event", "note"), answer)
    except control.Busy as error:
        tell("error", {"text": "%s: ask again later" % error, "type": "RetryLater"})
        return exits.LATER
    from estd import life

    return life.Life(settings, tell).do(request)
