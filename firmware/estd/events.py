"""What the agent tells: lines on standard error, and with --json objects on standard output."""

import json
import sys
import time

from micropython import const

# No point in time that is told is before 2001; seconds since the start of a board without a clock
# are.
_FIRST = const(1000000000)


class Events:
    """Called with an event's name and a dict, as est.agent.Agent's `on_event` is.

    as_json: whether objects are wanted. listeners: functions that get each object too, such as
    those of another process that asked for something (estd.control).
    """

    def __init__(self, as_json=False):
        self.as_json = as_json
        self.listeners = []

    def __call__(self, event, detail):
        tell(event, detail, self.as_json)
        for listener in list(self.listeners):
            listener(dict(detail, event=event))

    def note(self, text):
        """What is not as asked and yet no error."""
        self("note", {"text": text})


def tell(event, detail, as_json=False):
    """One line, and one object if it is wanted. A reader that is gone stops nothing."""
    try:
        write(sys.stderr, "%s: %s" % (event, words(detail)))
        if as_json:
            write(sys.stdout, json.dumps(dict(detail, event=event)))
    except OSError:
        pass


def words(detail):
    """An event's detail in words: its text, or the rest as NAME=VALUE."""
    text = detail.get("text")
    if text is not None:
        return " ".join(text.split())
    return " ".join(["%s=%s" % (name, _value(name, detail[name])) for name in sorted(detail)])


def _value(name, value):
    if name in ("not_before", "not_after", "next_at", "renew_at", "since") and value:
        return date(value)
    if isinstance(value, (list, tuple)):
        return " ".join([str(item) for item in value])
    return value


def date(seconds):
    """Unix seconds as text in UTC; "never" for 0."""
    if not seconds:
        return "never"
    return "%04d-%02d-%02dT%02d:%02d:%02dZ" % tuple(time.gmtime(seconds)[:6])


def at(seconds):
    """The words " at DATE" of a point in time; none of one by a clock that was not set."""
    return " at " + date(seconds) if seconds and seconds >= _FIRST else ""


def write(stream, line):
    """A line to a stream, at once: another program reads it as it comes, or has ended."""
    if not stream:
        return  # what CPython has for one that its starter closed
    try:
        stream.write(line + "\n")
        if hasattr(stream, "flush"):
            stream.flush()
    except OSError as error:
        if error.errno != 32:  # EPIPE
            raise
