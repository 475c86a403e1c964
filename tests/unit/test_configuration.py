"""What config.json may hold, on a board and on the host; and config.new.json whatever happens."""

import json
import os

import configuration
from check import clean, folder, raises
from est import auth, keys, pem
from est.agent import Agent
from est.errors import UsageError
from est.store import Store

_LEAST = {"url": "https://est.example", "subject": "CN=a", "sha256": "00" * 32}
_TEXTS = ("url", "label", "subject", "sha256", "anchors", "user", "secret", "token")
_TEXTS += ("enrolment_code", "factory_certificate", "factory_key", "ssid", "password")
_TEXTS += ("country", "ntp")
_WHOLE = {
    "url": "https://est.example:8443",
    "label": "factory",
    "subject": "CN=board-{id},O=Example",
    "sha256": "00:" * 31 + "FF",
    "anchors": "ca.pem",
    "user": "board",
    "secret": "",
    "enrolment_code": "1234",
    "factory_certificate": "factory.pem",
    "factory_key": "factory.key",
    "san": ["DNS:{id}.example", "IP:192.0.2.1", "URI:urn:x", "email:a@b.example"],
    "key": "P-384",
    "share": 50,
    "spread": 10,
    "ssid": "plant",
    "password": "geheim!!",
    "country": "CH",
    "ntp": "time.example",
    "app": "report",
}


def found(**changes):
    return configuration.problems(dict(_LEAST, **changes))


def test_good_settings():
    assert found() == []
    assert configuration.problems(_WHOLE) == []
    assert set(_WHOLE) | {"token"} == set(configuration._KEYS)
    # null is as not there; no time server, where there is one by default.
    assert found(**{key: None for key in _WHOLE if key not in _LEAST}) == []
    assert found(sha256=None, anchors="ca.der") == []
    assert found(spread=65) == [] and found(share=90, spread=89) == []


def test_what_is_missing():
    assert configuration.problems({}) == [
        "url is missing",
        "subject is missing",
        "sha256 is missing, or anchors",
    ]
    for nothing in ([], "", 5, None, True, 1.5, [{}]):
        assert configuration.problems(nothing) == ["must be an object: {...}"]


def test_wrong_types_are_told_key_by_key():
    for key in _TEXTS:
        for value in (5, True, [], {}, ["a"], 1.5):
            assert '%s must be text in "..."' % key in found(**{key: value})
    for key in _TEXTS:
        empty = '%s must be text in "..."' % key in found(**{key: ""})
        assert empty == (key not in ("secret", "password"))
        assert "%s must hold no control characters" % key in found(**{key: "a\nb"})
    for key in ("share", "spread"):
        for value in (True, "50", 95, -1, 33.3, [50]):
            assert len(found(**{key: value})) == 1
    assert len(found(url=1, sha256=[], san="DNS:a", key=256, app=True)) == 5


def test_wrong_values():
    for changes, words in (
        ({"url": "http://est.example"}, "url must be https://"),
        ({"label": "a/b"}, "label must be a part of the URL"),
        ({"label": "a b"}, "label must be a part of the URL"),
        ({"label": "\u00e9"}, "label must be a part of the URL"),
        ({"sha256": "zz"}, "sha256 must be 64 hexadecimal digits"),
        ({"sha256": "00" * 31 + "0g"}, "sha256 must be 64 hexadecimal digits"),
        ({"san": ["a.example"]}, "san must hold texts that begin with one of DNS:"),
        ({"san": [5]}, "san must hold texts"),
        ({"san": "DNS:a"}, "san must be a list"),
        ({"key": "P-521"}, "key must be one of P-256"),
        ({"key": []}, "key must be one of P-256"),
        ({"app": "ignore"}, "app must be one of restart report"),
        ({"country": "CHE"}, "country must be two letters"),
        ({"share": 5}, "share must be a whole number from 10 to 90, in per cent"),
        ({"spread": 66}, "spread must be less than share"),
        ({"share": 30, "spread": 30}, "spread must be less than share"),
        ({"user": "u"}, "user and secret go together"),
        ({"secret": "s", "user": None}, "user and secret go together"),
        ({"factory_key": "k"}, "factory_certificate and factory_key go together"),
        ({"user": "u", "secret": "s", "token": "t"}, "one of them is enough"),
        ({"ssid_": "x"}, "ssid_ is unknown: one of anchors app country"),
    ):
        lines = found(**changes)
        assert len(lines) == 1 and words in lines[0], lines


def test_no_secret_is_repeated():
    for key in ("secret", "token", "password", "enrolment_code", "user"):
        for value in (["geheim"], "geheim\n", {"geheim": 1}):
            assert not [line for line in found(**{key: value}) if "geheim" in line]
    config, lines = configuration.parse(b'{"secret": "geheim", geheim}')
    assert config is None and "geheim" not in lines[0]


def test_parse():
    data = json.dumps(_LEAST).encode()
    assert configuration.parse(data) == (_LEAST, [])
    assert configuration.parse(b"\xef\xbb\xbf" + data) == (_LEAST, [])
    for bad in (b"", b"nonsense", data[:-1], b"\xff" + data, b"\xff\xfe{\0}\0", data + b"x"):
        config, lines = configuration.parse(bad)
        assert config is None and len(lines) == 1 and "is malformed" in lines[0], bad


class Folder:
    """A new working folder."""

    def __enter__(self):
        self.before = os.getcwd()
        self.path = folder("configuration")
        os.chdir(self.path)
        return self.path

    def __exit__(self, *_):
        os.chdir(self.before)
        clean(self.path)


def write(name, data):
    with open(name, "wb") as file:
        file.write(data)


def test_read():
    with Folder():
        config, lines = configuration.read(configuration.FILE)
        assert config is None and "config.json is missing" in lines[0]
        write(configuration.FILE, b" " * 9000)
        config, lines = configuration.read(configuration.FILE)
        assert config is None and "config.json is larger than" in lines[0]
        write(configuration.FILE, json.dumps(dict(_LEAST, x=1, y=2)).encode())
        config, lines = configuration.read(configuration.FILE)
        assert config is None and len(lines) == 2
        assert all(line.startswith("config.json: ") for line in lines)


def test_new_settings_take_the_place_or_are_put_aside():
    with Folder():
        write(configuration.FILE, b"old")
        assert configuration.NEW not in os.listdir()
        write(configuration.NEW, b"new")
        assert configuration.NEW in os.listdir()
        configuration.adopt()
        assert configuration.NEW not in os.listdir()
        assert open(configuration.FILE, "rb").read() == b"new"
        for text in (b"bad", b"worse"):
            write(configuration.NEW, text)
            configuration.put_aside()
            assert configuration.NEW not in os.listdir()
            assert open(configuration.BAD, "rb").read() == text
        assert open(configuration.FILE, "rb").read() == b"new"


def agent(**changes):
    return configuration.agent(Agent, dict(_LEAST, **changes), Store("."), "e661")


def test_the_least_agent():
    with Folder():
        made = agent()
        assert (made.url, made.wanted) == ("https://est.example", ("CN=a", [], (), ()))
        assert (made.trust, made.ca) == (bytes(32), None)
        assert made.credentials is made.factory is made.key is made.share is made.spread is None


def test_labels():
    with Folder():
        for url in ("https://a:1", "https://a:1/", "https://a:1/.well-known/est/"):
            assert agent(url=url, label="x:1").url == "https://a:1/.well-known/est/x:1"
        assert agent(url="https://a/").url == "https://a"


def test_the_agent_of_all_settings():
    private = keys.P256Key().der()
    armour = pem.encode("CERTIFICATE", b"0\x01a") + pem.encode("CERTIFICATE", b"0\x01b")
    with Folder():
        write("ca.pem", armour.encode())
        write("factory.pem", armour.encode())
        for data in (private, pem.encode("EC PRIVATE KEY", private).encode()):
            write("factory.key", data)
            made = configuration.agent(Agent, _WHOLE, Store("."), "e661", log=print)
            assert made.factory == ([b"0\x01a", b"0\x01b"], private)
        assert made.url == "https://est.example:8443/.well-known/est/factory"
        assert made.wanted[0] == "CN=board-e661,O=Example"
        assert made.wanted[1][0] == "DNS:e661.example" and len(made.wanted[1]) == 4
        assert made.wanted[3][0][1].endswith(b"1234")
        assert made.trust == [b"0\x01a", b"0\x01b"]
        assert made.ca == bytes(31) + b"\xff"
        assert (made.key, made.share, made.spread) == ("P-384", 32768, 6553)
        assert (made.credentials.user, made.credentials.secret) == ("board", "")
        write("ca.der", b"0\x01a")
        made = agent(sha256=None, anchors="ca.der", token="\ufefft")
        assert (made.trust, made.ca) == ([b"0\x01a"], None)
        assert isinstance(made.credentials, auth.Token) and made.credentials.secret == "t"


def test_files_that_are_of_no_use():
    with Folder():
        assert "anchors: none.pem: " in str(raises(UsageError, lambda: agent(anchors="none.pem")))
        for data in (b"", b"-----BEGIN RUBBISH-----", b"-----BEGIN \xff", b"nonsense"):
            write("a.pem", data)
            error = raises(UsageError, lambda: agent(anchors="a.pem"))
            assert str(error).startswith("anchors: a.pem: "), error
        write("c.der", b"0\x01a")
        for data in (b"", b"\xff", b"-----BEGIN RUBBISH-----", b"-----BEGIN \xff"):
            write("key", data)
            error = raises(
                UsageError, lambda: agent(factory_certificate="c.der", factory_key="key")
            )
            assert str(error).startswith("factory_key: key: "), error
