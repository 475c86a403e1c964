"""The settings of a Linux board: all mistakes at once, and secrets from files."""

import json
import os

import check
from estd import __main__ as options
from estd import config

_LEAST = {"url": "https://est.example", "subject": "CN=a", "sha256": "00" * 32}
_WHOLE = {
    "state": "/var/lib/mpest/web",
    "proxy": "http://proxy.example:3128",
    "identity_certificate": "old.pem",
    "identity_key": "/etc/old.key",
    "export": [
        {
            "folder": "/etc/web/certs",
            "cert": None,
            "key_form": "traditional",
            "combined": "all.pem",
            "anchors": "ca.pem",
            "owner": "root",
            "group": "web",
            "mode": "640",
            "folder_mode": "0750",
            "readers": ["web"],
        },
        {"folder": "/etc/other"},
    ],
    "hooks": {
        "on_renewed": [["a", "b"], ["c"]],
        "on_failed": ["mail", "root"],
        "on_stranded": "logger stranded",
        "on_trust": None,
        "seconds": 60,
        "verify": "127.0.0.1:8883",
        "reload": [
            "systemctl reload web",
            {"signal": "HUP", "pid_file": "/run/web.pid"},
            {"touch": "/run/reload"},
        ],
        "log": "/var/log/hooks",
    },
}


def wrong(**changes):
    settings, lines, _ = config.parse(dict(_LEAST, **changes))
    assert (settings is None) == bool(lines)
    return lines


def test_all_keys():
    settings, lines, notes = config.parse(dict(_LEAST, **_WHOLE), "/etc/mpest")
    assert lines == [] and notes == []
    assert settings["identity_certificate"] == "/etc/mpest/old.pem"
    assert settings["identity_key"] == "/etc/old.key"
    first, second = settings["export"]
    assert first["cert"] is None and first["combined"] == "all.pem"
    assert second["cert"] == "cert.pem" and second["combined"] is None and second["mode"] == "640"
    assert set(first) == set(config._EXPORT)
    assert "on_trust" not in settings["hooks"]


def test_the_least():
    settings, lines, _ = config.parse(_LEAST)
    assert lines == []
    assert settings["state"] == (os.getenv("STATE_DIRECTORY") or "/var/lib/mpest")
    assert settings["export"] == [] and settings["hooks"] == {} and settings["proxy"] is None
    # null is as not there.
    nothing = dict.fromkeys(config._LINUX)
    assert config.parse(dict(_LEAST, **nothing))[0] == settings
    one, lines, _ = config.parse(dict(_LEAST, export={"folder": "/a"}))
    assert [wanted["folder"] for wanted in one["export"]] == ["/a"]


def test_every_mistake_is_told():
    lines = config.parse(
        {
            "url": "http://est.example",
            "subjct": "CN=a",
            "state": "here",
            "proxy": "https://proxy",
            "identity_key": "old.key",
            "export": [{"folder": "/a", "mode": 640, "kee": "k"}, {}],
            "hooks": {"seconds": 0, "on_renewed": [1], "reload": [{"signal": "HUP"}]},
        }
    )[1]
    text = "\n".join(lines)
    for words in (
        "url must be https://",
        "subjct is unknown: one of anchors",
        "subject is missing",
        "state must begin with /",
        "proxy must be http://HOST:PORT",
        "identity_certificate and identity_key go together",
        'export 1: mode must be an octal mode as text, such as "640"',
        "export 1: kee is unknown",
        "export 2: folder is missing",
        "hooks: seconds must be a whole number of seconds",
        "hooks: on_renewed must be a command",
        'hooks: reload must be "COMMAND..."',
    ):
        assert words in text, words
    for nothing in ([], "", 5, None, True):
        assert config.parse(nothing)[1] == ["must be an object: {...}"]


def test_wrong_values():
    for key, values in (
        ("state", ("", 5, "a", [])),
        ("proxy", ("http://a", "http://a:0", "http://u:p@a:1", "http://@a:1", "a:1", 1)),
        ("export", (5, [5], [], {"folder": "a"}, {"folder": "/a", "cert": "a/b"})),
        ("hooks", (5, [], {"seconds": True}, {"verify": "a"}, {"log": "a"}, {"x": 1})),
    ):
        for value in values:
            if value == [] and key == "export":
                continue  # none
            assert wrong(**{key: value}), (key, value)
    for value in ("..", ".a", "", "a/b", 1):
        assert wrong(export={"folder": "/a", "key": value}), value
    for value in ("9", "", 640, "06400", "u+r"):
        assert wrong(export={"folder": "/a", "mode": value}), value
    assert wrong(export={"folder": "/a", "cert": "x", "key": "x"}) == [
        "export: two files have the name x"
    ]
    assert wrong(export=[{"folder": "/a"}, {"folder": "/a"}]) == [
        "export: two of them have the same folder"
    ]
    for folder in ("/a", "/a/", "/a/b", "/a/b/"):
        line = "export: folder: %s holds the state: give it one of its own" % folder
        assert wrong(state="/a/b", export={"folder": folder}) == [line]
    assert not wrong(state="/a/b", export=[{"folder": "/a/b/c"}, {"folder": "/a/bc"}])
    for value in ("HOP", "65", "", "SIG", 1):
        reload = {"signal": value, "pid_file": "/run/a.pid"}
        assert "signal must be" in wrong(hooks={"reload": reload})[0], value
    for value in ("HUP", "SIGUSR1", "term", "1"):
        assert not wrong(hooks={"reload": {"signal": value, "pid_file": "/run/a.pid"}}), value
    for value in ([], [[]], [["a"], "b"], [""], {}, ""):
        assert wrong(hooks={"on_renewed": value}), value
    for value in ("", [""], [5], {"touch": 5}, {"touch": "/a", "signal": "HUP"}):
        assert wrong(hooks={"reload": value}), value


def test_keys_of_boards_alone():
    _, lines, notes = config.parse(dict(_LEAST, ssid="plant", ntp="time.example"))
    assert lines == []
    assert notes == ["of boards alone, and without meaning here: ssid ntp"]


def test_secrets_from_files():
    folder = check.folder("config")
    for name, octets in (
        ("good", b"\xef\xbb\xbfcorrect horse\r\nmore\n"),
        ("empty", b"\n"),
        ("odd", b"\xff\xfe\n"),
    ):
        with open(folder + "/" + name, "wb") as file:
            file.write(octets)
    login = dict(_LEAST, user="board")
    settings, lines, _ = config.parse(dict(login, secret_file="good"), folder)
    assert lines == [] and settings["secret"] == "correct horse"
    assert "secret_file" not in settings
    for name, words in (
        ("empty", "empty is empty"),
        ("odd", "odd is not text"),
        ("none", "none cannot be read"),
    ):
        lines = config.parse(dict(login, secret_file=name), folder)[1]
        assert len(lines) == 1 and words in lines[0], lines
    lines = config.parse(dict(login, secret="a", secret_file="good"), folder)[1]
    assert lines == ["secret and secret_file: one of them is enough"]
    proxy = {"proxy": "http://u@a:1", "proxy_password_file": "good"}
    settings, lines, _ = config.parse(dict(_LEAST, **proxy), folder)
    assert lines == [] and settings["proxy"][2].secret == "correct horse"
    for change, words in (
        ({"proxy_password_file": "none"}, "proxy_password_file: %s/none cannot be read" % folder),
        ({"proxy_password_file": None}, "go together"),
        ({"proxy": "http://a:1"}, "go together"),
        ({"proxy": None}, "go together"),
        ({"proxy": "http://u%@a:1"}, "begins no octet"),
        ({"proxy": "http://u:secret@a:1"}, "proxy holds a password"),
    ):
        lines = config.parse(dict(_LEAST, **dict(proxy, **change)), folder)[1]
        assert len(lines) == 1 and words in lines[0] and "secret@" not in lines[0], lines
    settings, lines, _ = config.parse(dict(_LEAST, token_file="good"), folder)
    assert settings["token"] == "correct horse"
    check.clean(folder)


def test_files():
    folder = check.folder("config")
    path = folder + "/config.json"
    assert "cannot be read" in config.read(path)[1][0]
    for text, words in (
        ("", "malformed"),
        ('{"url": ', "malformed"),
        ("{} x", "malformed"),
        (" " * 70000, "larger than"),
        ('{"url": "https://a"}', "subject is missing"),
    ):
        with open(path, "w") as file:
            file.write(text)
        settings, lines, _ = config.read(path)
        assert settings is None and words in lines[0], lines
        assert lines[0].startswith(path + ": ")
    with open(path, "w") as file:
        file.write("\ufeff" + json.dumps(dict(_LEAST, token="sesame", anchors="ca.pem")))
    settings, lines, notes = config.read(path)
    assert lines == [] and settings["anchors"] == folder + "/ca.pem"
    if os.stat(path)[0] & 0o007:
        assert "others can read token in" in notes[0]
    check.clean(folder)


def test_options():
    found, wrong = options.parse(["--config", "a"])
    assert found == {"action": "run", "--config": "a"} and wrong is None
    found, wrong = options.parse(["renew", "--now", "--config=b", "--json"])
    assert found == {"action": "renew", "--now": True, "--config": "b", "--json": True}
    for arguments, words in (
        ([], "--config FILE is missing"),
        (["--config"], "--config needs a value"),
        (["--config=a", "sing"], "what is sing?"),
        (["--config=a", "run", "renew"], "what is renew?"),
        (["--config=a", "--now"], "--now is not for run"),
        (["status", "--config=a", "--once"], "--once is not for status"),
        (["--config=a", "--cert", "a"], "--cert and --key go together"),
    ):
        found, wrong = options.parse(arguments)
        assert found is None and words in wrong, wrong
