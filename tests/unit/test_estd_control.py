"""The agent that runs is asked, and wakes for it."""

import json
import os
import time

import check
from estd import control, programs, wake


def test_asking():
    state = check.folder("control")
    assert control.connect(state) is None
    listener = control.listen(state)
    client = control.connect(state)
    client.send(json.dumps({"action": "renew"}).encode() + b"\n")
    caller = control.accept(listener)
    assert caller.request == {"action": "renew"}
    caller.tell({"event": "ordered", "operation": "x" * 5000})
    caller.tell({"exit": 4})
    # What it sends once more is not looked at.
    answers = list(control.ask(client, {"action": "renew"}))
    assert [sorted(answer) for answer in answers] == [["event", "operation"], ["exit"]]
    caller.close()
    # One that ends before it answered.
    client = control.connect(state)
    listener.accept()[0].close()
    error = check.raises(OSError, list, control.ask(client, {"action": "renew"}))
    assert "ended before it answered" in str(error) or error.errno in (32, 104)
    listener.close()
    # What is left of an agent that was killed.
    assert control.connect(state) is None
    control.listen(state).close()
    check.clean(state)


def test_one_that_does_not_listen():
    """Whoever asks is told soon, and what was asked for is not done later."""
    kept = control.LISTENS_MS
    control.LISTENS_MS = 1000
    try:
        _ask_one_that_does_not_listen()
    finally:
        control.LISTENS_MS = kept


def _ask_one_that_does_not_listen():
    state = check.folder("control")
    listener = control.listen(state)
    client = control.connect(state)
    error = check.raises(control.Busy, list, control.ask(client, {"action": "renew"}))
    assert "is busy" in str(error)
    assert control.accept(listener).request is None
    assert control.runs(state)
    assert control.accept(listener).request is None
    # One that is stopped while it is asked how it stands.
    client = control.connect(state)
    sock = listener.accept()[0]
    sock.send(b"{}\n")
    check.raises(control.Busy, list, control.ask(client, {"action": "status"}))
    sock.close()
    # So many wait that no more can.
    waiting = []

    def one_more():
        for _ in range(64):
            waiting.append(control.connect(state))

    check.raises(control.Busy, one_more)
    assert control.runs(state)
    for sock in waiting + [listener]:
        sock.close()
    assert not control.runs(state)
    check.clean(state)


def test_what_cannot_be_understood():
    state = check.folder("control")
    listener = control.listen(state)
    for octets in (b"\n", b"{}x\n", b"[]\n", b"\xff\n", b"{" * 5000):
        client = control.connect(state)
        client.send(octets)
        caller = control.accept(listener)
        assert caller.request is None, octets
        client.close()
        # Nobody hears it.
        for _ in range(3):
            caller.tell({"exit": 2})
        caller.close()
    client = control.connect(state)
    client.close()
    assert control.accept(listener).request is None
    listener.close()
    check.clean(state)


def test_a_path_that_is_too_long():
    assert "too long" in str(check.raises(OSError, control.listen, "/" + "x" * 110))
    assert control.connect("/" + "x" * 110) is None


def test_sleeping():
    state = check.folder("control")
    listener = control.listen(state)
    bed = wake.Bed(listener)
    # By the clock of the day, or by what is awake.
    for alarm in (bed.alarm, None):
        bed.alarm = alarm
        before = time.time()
        assert bed.sleep(1) == ("time", None)
        assert time.time() - before >= (0 if alarm else 0.9)
        client = control.connect(state)
        client.send(b'{"action": "status"}\n')
        reason, caller = bed.sleep(60)
        assert reason == "caller" and caller.request == {"action": "status"}
        caller.close()
        client.close()
        if bed.hangup:
            # It waits for the agent, and not for what the agent starts.
            log = state + "/log"
            command = ["sh", "-c", "kill -HUP $$; echo goes on"]
            assert programs.run(command, {"PATH": "/usr/bin:/bin"}, log, 60) == -1
            os.system("kill -HUP $PPID")
            assert bed.sleep(60) == ("hangup", None)
        # With a network to be watched it sleeps as well.
        assert bed.sleep(1, True)[0] in ("time", "network")
        assert bed.sleep(1)[0] == "time"
    bed.close()
    check.clean(state)


class Jumped:
    """An alarm that goes off since the clock was set: what `sock` is sent makes it ready."""

    def __init__(self, sock):
        self.number = sock.fileno()

    def set(self, seconds):
        return True

    def read(self):
        return True


def test_a_clock_that_is_set():
    state = check.folder("control")
    listener = control.listen(state)
    client = control.connect(state)
    other = listener.accept()[0]
    bed = wake.Bed(listener)
    bed.alarm = Jumped(client)
    other.send(b"x")
    assert bed.sleep(60) == ("clock", None)
    bed.close()
    other.close()
    client.close()
    check.clean(state)


def test_an_alarm():
    try:
        alarm = wake.Alarm()
    except OSError:
        raise check.Skip("needs ffi")
    # Beyond 2038, on 32 bits too.
    for seconds in (1, 86400, 1 << 31, 1 << 33):
        assert alarm.set(seconds)
