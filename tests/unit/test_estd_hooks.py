"""Commands that are run when something happened."""

import json
import os
import time

import check
from est.store import Store
from estd import hooks, programs, verify

FACTS = {
    "lineage": "/etc/est",
    "domains": "a.example b.example",
    "generation": 3,
    "sha256": "00",
    "text": "two\nlines",
    "nothing": None,
}
# A command that appends what it was given to a file.
NOTE = 'echo "$MPEST_EVENT $MPEST_NUMBER $MPEST_TRY $1" >>"$0"'


class Bench:
    """A state folder, and the commands of a configuration."""

    def __init__(self, **configured):
        self.state = check.folder("hooks")
        self.notes = self.state + "/notes"
        self.hooks = configured
        self.told = []

    def note(self, text=""):
        return ["sh", "-c", NOTE, self.notes, text]

    def failing(self):
        """A command that notes, and fails until `mend`."""
        return ["sh", "-c", NOTE + '; test -e "$2"', self.notes, "failing", self.state + "/well"]

    def mend(self):
        with open(self.state + "/well", "w"):
            pass

    def run(self):
        return hooks.run_due(self.state, self.hooks, lambda *event: self.told.append(event))

    def lines(self):
        try:
            with open(self.notes) as file:
                return file.read().splitlines()
        except OSError:
            return []

    def hasten(self):
        """The time of the next try has come."""
        records = Store(self.state)
        record = hooks._load(records)
        for event in record["due"].values():
            event["next"] = 0
        hooks._save(records, record)

    def clean(self):
        from est import posix

        posix.close(self.state)
        os.system("rm -rf " + self.state)


def test_nothing_is_due():
    bench = Bench()
    assert bench.run() is None
    assert hooks.run_due(bench.state, None) is None
    assert hooks.pending(bench.state) == []
    bench.clean()


def test_a_renewal():
    bench = Bench()
    bench.hooks = {"on_renewed": [bench.note("first"), bench.note("second")]}
    hooks.due(bench.state, "renewed", FACTS)
    shown = hooks.pending(bench.state)
    found = {"kind": "renewed", "number": 1, "tries": 0, "next": 0, "error": None, "cause": None}
    assert shown == [found]
    assert bench.run() is None
    assert bench.lines() == ["renewed 1 1 first", "renewed 1 1 second"]
    assert bench.told[-1][0] == "hook" and bench.told[-1][1]["text"] == "renewed: done"
    assert hooks.pending(bench.state) == []
    # Once, and another time for the next.
    assert bench.run() is None
    hooks.due(bench.state, "renewed", {"generation": 4})
    bench.run()
    assert bench.lines()[2:] == ["renewed 2 1 first", "renewed 2 1 second"]
    bench.clean()


def test_what_a_command_is_given():
    bench = Bench(on_renewed="env")
    os.putenv("SECRET_OF_OURS", "x")
    hooks.due(bench.state, "renewed", FACTS)
    assert bench.run() is None
    with open(bench.state + "/hooks.log") as file:
        head, lines = file.readline(), file.read().splitlines()
    assert head.endswith(" UTC renewed 1, try 1: env\n")
    assert system_mode(bench.state + "/hooks.log") == 0o600
    assert sorted([line for line in lines if line[:2] not in ("PW", "SH", "_=")]) == [
        "MPEST_DOMAINS=a.example b.example",
        "MPEST_EVENT=renewed",
        "MPEST_GENERATION=3",
        "MPEST_LINEAGE=/etc/est",
        "MPEST_NUMBER=1",
        "MPEST_SHA256=00",
        "MPEST_STATE=" + bench.state,
        "MPEST_TEXT=two lines",
        "MPEST_TRY=1",
        "PATH=" + hooks.PATH,
        "RENEWED_DOMAINS=a.example b.example",
        "RENEWED_LINEAGE=/etc/est",
    ]
    bench.clean()


def system_mode(path):
    return os.stat(path)[0] & 0o7777


def test_a_failure_is_tried_again():
    bench = Bench()
    bench.hooks = {"on_failed": [bench.note("first"), bench.failing(), bench.note("last")]}
    hooks.due(bench.state, "failed", {})
    waits = []
    for _ in range(3):
        waits.append(bench.run())
        bench.hasten()
    assert waits == [10, 20, 40], waits
    # What is done is not done again.
    assert bench.lines() == ["failed 1 1 first"] + ["failed 1 %d failing" % n for n in (1, 2, 3)]
    shown = hooks.pending(bench.state)[0]
    assert shown["tries"] == 3 and "sh ended with 1, see " in shown["error"]
    assert shown["cause"] == "exit"
    assert bench.told[-1][1]["text"].endswith(", again in 40 s")
    bench.mend()
    assert bench.run() is None
    assert bench.lines()[4:] == ["failed 1 4 failing", "failed 1 4 last"]
    bench.clean()


def test_waiting():
    bench = Bench()
    bench.hooks = {"on_failed": bench.failing()}
    hooks.due(bench.state, "failed", {})
    bench.run()
    assert 0 < bench.run() <= 10
    assert len(bench.lines()) == 1
    # A clock that was set back makes it wait no longer than the longest wait.
    record = hooks._load(Store(bench.state))
    record["due"]["failed"]["next"] = int(time.time()) + 10 * 365 * 86400
    hooks._save(Store(bench.state), record)
    bench.run()
    assert len(bench.lines()) == 2
    # After many failures it is an hour.
    record = hooks._load(Store(bench.state))
    record["due"]["failed"]["tries"] = 99
    hooks._save(Store(bench.state), record)
    bench.hasten()
    assert bench.run() == 3600
    bench.clean()


def test_kinds_wait_apart():
    bench = Bench()
    bench.hooks = {"on_failed": bench.failing(), "on_renewed": bench.note()}
    hooks.due(bench.state, "failed", {})
    hooks.due(bench.state, "renewed", {})
    # What has no commands is done.
    hooks.due(bench.state, "stranded", {})
    assert bench.run() == 10
    assert bench.lines() == ["failed 1 1 failing", "renewed 2 1 "]
    assert [event["kind"] for event in hooks.pending(bench.state)] == ["failed"]
    bench.clean()


def test_a_newer_event_takes_the_place():
    bench = Bench()
    bench.hooks = {"on_renewed": [bench.note("first"), bench.failing()]}
    hooks.due(bench.state, "renewed", {})
    bench.run()
    hooks.due(bench.state, "renewed", {})
    bench.mend()
    assert bench.run() is None
    assert bench.lines()[2:] == ["renewed 2 1 first", "renewed 2 1 failing"]
    bench.clean()


def test_told_apart_when_twice():
    """The power went while a command ran."""
    bench = Bench()
    bench.hooks = {"on_renewed": bench.note()}
    hooks.due(bench.state, "renewed", {})

    def cut(*arguments):
        raise KeyboardInterrupt

    run = programs.run
    programs.run = cut
    try:
        check.raises(KeyboardInterrupt, bench.run)
    finally:
        programs.run = run
    assert bench.run() is None
    assert bench.lines() == ["renewed 1 2 "]
    bench.clean()


def test_a_mended_command_waits_for_nothing():
    bench = Bench()
    bench.hooks = {"on_failed": [bench.note("first"), ["no-such-program"]]}
    hooks.due(bench.state, "failed", {})
    assert bench.run() == 10
    # Who looks before the time hears why.
    assert 0 < bench.run() <= 10
    kind, detail = bench.told[-1]
    assert kind == "hook" and detail["try"] == 1
    assert "no-such-program ended with 127 (there is no such program), see" in detail["text"], (
        detail
    )
    assert ", again in " in detail["text"]
    bench.hooks["on_failed"][0] = bench.note("changed")
    assert 0 < bench.run() <= 10
    bench.hooks["on_failed"][1] = bench.note("mended")
    assert bench.run() is None
    assert bench.lines()[1:] == ["failed 1 2 changed", "failed 1 2 mended"]
    assert bench.told[-1][1]["text"] == "failed: done"
    bench.clean()


def test_how_a_command_ended():
    # 124 is timeout(1)'s, which a hook may use.
    for end, words in (("exit 124", "ended with 124, see"), ("kill -9 $$", "ended by signal 9,")):
        bench = Bench(on_failed=["sh", "-c", end])
        hooks.due(bench.state, "failed", {})
        assert bench.run() == 10
        shown = hooks.pending(bench.state)[0]
        assert words in shown["error"] and shown["cause"] == "exit", shown
        bench.clean()


def test_too_long():
    bench = Bench(on_stranded=["sleep", "60"], seconds=1)
    hooks.due(bench.state, "stranded", {})
    assert bench.run() == 10
    shown = hooks.pending(bench.state)[0]
    assert "sleep took more than 1 s and was killed: give it more `seconds`" in shown["error"]
    assert shown["cause"] == "timeout"
    assert bench.run() <= 10 and hooks.pending(bench.state)[0]["tries"] == 1
    bench.hooks["seconds"] = 2
    assert bench.run() == 20
    bench.clean()


def test_a_program_that_is_not_there():
    bench = Bench(on_stranded=["no-such-program"])
    hooks.due(bench.state, "stranded", {})
    assert bench.run() == 10
    assert "no-such-program ended with 127" in hooks.pending(bench.state)[0]["error"]
    bench.hooks["log"] = bench.state + "/nowhere/log"
    bench.hasten()
    assert bench.run() == 20
    bench.clean()


def test_reload():
    bench = Bench()
    pid_file = bench.state + "/pid"
    touched = bench.state + "/touched"
    bench.hooks = {
        "reload": [
            "touch %s/by-command" % bench.state,
            {"touch": touched},
            {"signal": "SIGTERM", "pid_file": pid_file},
        ]
    }
    for text in ("", "-1", "0", "1", "7 8", "$(reboot)"):
        with open(pid_file, "w") as file:
            file.write(text)
        hooks.due(bench.state, "renewed", {})
        assert bench.run() == 10, text
        with open(bench.state + "/hooks.log") as file:
            assert file.read().endswith("pid holds no process: %s\n" % text)
    names = os.listdir(bench.state)
    assert "by-command" in names and "touched" in names
    log = bench.state + "/log"
    command = ["sh", "-c", "sleep 30 & echo $! >" + pid_file]
    programs.run(command, {"PATH": "/bin:/usr/bin"}, log, 9)
    bench.hasten()
    assert bench.run() is None
    with open(pid_file) as file:
        pid = int(file.read())
    assert os.system("kill -0 %d 2>/dev/null" % pid) or gone(pid)
    # Trust that changed is reloaded too, what failed is not.
    bench.hooks = {"reload": {"touch": bench.state + "/again"}}
    for kind in ("failed", "stranded"):
        hooks.due(bench.state, kind, {})
        assert bench.run() is None
    assert "again" not in os.listdir(bench.state)
    hooks.due(bench.state, "trust", {})
    assert bench.run() is None
    assert "again" in os.listdir(bench.state)
    bench.clean()


def gone(pid):
    with open("/proc/%d/stat" % pid) as file:
        return file.read().rsplit(")", 1)[1].split()[0] == "Z"


def test_verify():
    bench = Bench(verify="broker.example:8883")
    bench.hooks["on_renewed"] = bench.note()
    answers = ["it does not"] * 5
    asked = []

    def failure(address, sha256):
        asked.append((address, sha256))
        return answers.pop() if answers else None

    kept = verify.failure
    verify.failure = failure
    waits = hooks._VERIFY_WAITS
    hooks._VERIFY_WAITS = (0, 0, 0, 0)
    try:
        hooks.due(bench.state, "renewed", {"sha256": "ab"})
        assert bench.run() == 10
        assert asked == [("broker.example:8883", "ab")] * 4
        shown = hooks.pending(bench.state)[0]
        assert (shown["cause"], shown["error"]) == ("verify", "it does not")
        assert 0 < bench.run() <= 10 and len(asked) == 4
        # Another address waits for nothing.
        bench.hooks["verify"] = "broker.example:8884"
        # The commands run again, for the server may have missed them.
        assert bench.run() is None
        assert bench.lines() == ["renewed 1 1 ", "renewed 1 2 "]
        hooks.due(bench.state, "failed", {})
        bench.run()
        assert len(asked) == 6
    finally:
        verify.failure = kept
        hooks._VERIFY_WAITS = waits
    bench.clean()


def test_the_log_is_bounded():
    bench = Bench(on_failed="true")
    log = bench.state + "/hooks.log"
    with open(log, "wb") as file:
        file.write(bytes((1 << 20) + 1))
    hooks.due(bench.state, "failed", {})
    bench.run()
    assert os.stat(log)[6] < 100
    assert os.stat(log + ".1")[6] > 1 << 20
    assert system_mode(log) == 0o600
    bench.clean()


def test_one_that_writes_without_end():
    bench = Bench(on_failed="yes")
    hooks.due(bench.state, "failed", {})
    assert bench.run() == 10
    shown = hooks.pending(bench.state)[0]
    assert "yes wrote more than 1048576 octets and was killed, see " in shown["error"]
    assert shown["cause"] == "output"
    with open(bench.state + "/hooks.log", "rb") as file:
        log = file.read()
    assert len(log) < (1 << 20) + 100
    assert log.split(b"\n", 2)[0].endswith(b" UTC failed 1, try 1: yes")
    bench.clean()


def test_a_state_that_cannot_be_written():
    bench = Bench()
    bench.hooks = {"on_failed": bench.note()}
    hooks.due(bench.state, "failed", {})
    save = hooks._save

    def full(records, record):
        from est.errors import StorageError

        raise StorageError("no space")

    hooks._save = full
    try:
        assert bench.run() == 60
    finally:
        hooks._save = save
    assert bench.lines() == []
    assert bench.told[-1] == ("hook", {"text": "no space"})
    assert bench.run() is None
    bench.clean()


def test_a_damaged_record():
    bench = Bench()
    hooks.due(bench.state, "renewed", {"generation": 3})
    for slot in (0, 1):
        with open(bench.state + "/hooks.%d" % slot, "wb") as file:
            file.write(b"EST2" + bytes(60))
    assert bench.run() is None
    hooks.due(bench.state, "renewed", {"generation": 3})
    assert len(hooks.pending(bench.state)) == 1
    bench.clean()


def test_facts_are_bounded():
    bench = Bench()
    for kind in hooks.KINDS:
        facts = {"text": "x" * 5000, "lineage": "y" * 5000}
        hooks.due(bench.state, kind, facts)
    assert len(hooks.pending(bench.state)) == 4
    assert json.dumps(hooks.pending(bench.state))
    bench.clean()


def test_text_is_the_same_on_each_runtime():
    assert hooks.text([("ä€", None, "a'b")]) == "[('\\xe4\\u20ac', None, \"a'b\")]"
