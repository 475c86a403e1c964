"""Settings that are well-formed, and of no use on this system."""

import check
from estd import checks, config

_LEAST = {"url": "https://est.example", "subject": "CN=a", "anchors": "ca.pem"}


def made(**changes):
    settings, lines, _ = config.parse(dict(_LEAST, **changes))
    assert lines == []
    return settings


def test_names():
    assert checks.settings(made(san=["DNS:a.example", "IP:10.0.0.1", "IP:fe80::1"])) == []
    for changes, key in (
        ({"subject": "a"}, "subject: "),
        ({"subject": "CN=a,XX=b"}, "subject: "),
        ({"subject": "CN="}, "subject: "),
        ({"san": ["DNS:a.example", "IP:10.0.0"]}, "san: "),
        ({"san": ["DNS:ä.example"]}, "san: "),
    ):
        lines = checks.settings(made(**changes))
        assert len(lines) == 1 and lines[0].startswith(key), (changes, lines)


def test_owners():
    wanted = {"folder": "/a", "owner": "root", "group": "0"}
    assert checks.settings(made(export=wanted)) == []
    for key in ("owner", "group"):
        lines = checks.settings(made(export=dict(wanted, **{key: "nobody is called so"})))
        assert lines == ["export: %s: there is no nobody is called so here" % key]
    both = dict.fromkeys(("owner", "group"), "nobody is called so")
    assert len(checks.settings(made(export=dict(wanted, **both)))) == 2


def test_files_in_the_place_of_folders():
    folder = check.folder("checks")
    path = folder + "/file"
    with open(path, "wb"):
        pass
    good = made(state=folder + "/new/state", export={"folder": folder + "/a/b"})
    assert checks.disk(good) == []
    for state in (path, path + "/state"):
        assert checks.disk(made(state=state)) == [path + " is no folder"]
    for export in (path + "/", path + "/export"):
        settings = made(state=folder + "/state", export={"folder": export})
        assert checks.disk(settings) == [path + " is no folder"]
    check.clean(folder)
