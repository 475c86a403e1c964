"""The identity as files of other programs."""

import os

import check
from est import pem as armour
from est.ec_key import EcKey
from est.errors import StorageError, UsageError
from est.p256_key import P256Key
from estd import export, pem, system

LEAF, ISSUER, ROOT = b"0\1l", b"0\1i", b"0\1r"


class Folder:
    """An export in a folder of its own."""

    def __init__(self, **wanted):
        self.parent = check.folder("export")
        self.wanted = {"folder": self.parent + "/a/b"}
        self.wanted.update(wanted)
        self.key = P256Key()

    def deploy(self, chain=(LEAF, ISSUER), anchors=()):
        return export.deploy(self.wanted, list(chain), self.key.der(), anchors)

    def names(self, inner=""):
        return sorted(os.listdir(self.wanted["folder"] + inner))

    def path(self, name):
        return self.wanted["folder"] + "/" + name

    def text(self, name):
        with open(self.path(name)) as file:
            return file.read()

    def certificates(self, name):
        return armour.decode(self.text(name), "CERTIFICATE")

    def clean(self):
        os.system("rm -rf " + self.parent)


def mode(path):
    return os.stat(path)[0] & 0o7777


def test_the_usual_files():
    folder = Folder()
    assert folder.deploy()
    names = ["cert.pem", "chain.pem", "fullchain.pem", "key.pem"]
    assert folder.names() == [".live", ".set.1"] + names
    assert folder.certificates("cert.pem") == [LEAF]
    assert folder.certificates("chain.pem") == [ISSUER]
    assert folder.certificates("fullchain.pem") == [LEAF, ISSUER]
    assert folder.text("key.pem") == pem.key(folder.key.der())
    for name in names:
        assert mode(folder.path(name)) == 0o640
        assert system.leads(folder.path(name), ".live/" + name)
    for name in ("", ".set.1", ".."):
        assert mode(folder.path(name)) == 0o750
    assert not folder.deploy()
    assert folder.names() == [".live", ".set.1"] + names
    folder.clean()


def test_a_renewal_replaces_all_at_once():
    folder = Folder()
    folder.deploy()
    folder.key = P256Key()
    assert folder.deploy([ROOT, ISSUER])
    assert system.leads(folder.path(".live"), ".set.2")
    assert folder.certificates("cert.pem") == [ROOT]
    # Whoever has opened one file of the set before finds the others.
    assert folder.names("/.set.1") == folder.names("/.set.2")
    assert not folder.deploy([ROOT, ISSUER])
    assert ".set.1" not in folder.names()
    folder.clean()


def test_names_modes_and_forms():
    folder = Folder(
        chain=None, cert="c", key="k", combined="all", anchors="ca", key_form="traditional"
    )
    folder.wanted["mode"] = "600"
    folder.wanted["folder_mode"] = "711"
    folder.key = EcKey(b"\x2b\x81\x04\x00\x22")
    assert folder.deploy(anchors=[ROOT, ISSUER])
    assert folder.names("/.live") == ["all", "c", "ca", "fullchain.pem", "k"]
    key = folder.text("k")
    assert key == armour.encode("EC PRIVATE KEY", folder.key.der())
    assert folder.text("all") == folder.text("fullchain.pem") + key
    assert folder.certificates("ca") == [ROOT, ISSUER]
    assert mode(folder.path("k")) == 0o600
    assert mode(folder.path(".live")) == mode(folder.path("")) == 0o711
    # New anchors alone are a new set.
    assert folder.deploy(anchors=[ROOT])
    # Other names: those before lead nowhere, and go.
    folder.wanted["key"] = "other"
    assert folder.deploy(anchors=[ROOT])
    assert "k" not in folder.names() and folder.text("other") == key
    # Other modes, with the same contents.
    folder.wanted["mode"] = "640"
    assert folder.deploy(anchors=[ROOT])
    assert mode(folder.path("other")) == 0o640
    folder.clean()


def test_a_ca_that_issues_directly_leaves_no_chain():
    folder = Folder(anchors="ca.pem")
    assert folder.deploy([LEAF])
    assert folder.names("/.live") == ["cert.pem", "fullchain.pem", "key.pem"]
    folder.clean()


def test_owner_and_group():
    folder = Folder(owner="12345", group="54321")
    if os.stat(folder.parent)[4]:
        raise check.Skip("needs root")
    assert folder.deploy()
    assert tuple(os.stat(folder.path("key.pem"))[4:6]) == (12345, 54321)
    # Nobody but us may make files there.
    assert tuple(os.stat(folder.path(".live"))[4:6]) == (0, 54321)
    assert tuple(os.stat(folder.path(""))[4:6]) == (0, 54321)
    assert not folder.deploy()
    folder.wanted["group"] = "7"
    assert folder.deploy()
    assert os.stat(folder.path("key.pem"))[5] == 7
    folder.wanted["group"] = "no such group"
    error = check.raises(UsageError, folder.deploy)
    assert "no such group" in str(error)
    folder.clean()


def test_what_is_there_is_not_replaced():
    folder = Folder()
    os.mkdir(folder.parent + "/a")
    os.mkdir(folder.parent + "/a/b")
    os.system("chmod 755 " + folder.path(""))
    with open(folder.path("key.pem"), "w") as file:
        file.write("mine")
    error = check.raises(UsageError, folder.deploy)
    assert "key.pem is not a file of mpest" in str(error)
    assert folder.names() == ["key.pem"] and folder.text("key.pem") == "mine"
    os.remove(folder.path("key.pem"))
    with open(folder.path("other"), "w") as file:
        file.write("mine")
    assert folder.deploy()
    # A folder that was there keeps its mode.
    assert mode(folder.path("")) == 0o755
    assert folder.text("other") == "mine"
    folder.clean()


def test_what_a_cut_left_is_mended():
    folder = Folder()
    folder.deploy()
    old = folder.text("key.pem")
    # Half a set, a link that was to be renamed, a name that was not made yet.
    os.mkdir(folder.path(".set.2"))
    with open(folder.path(".set.2/cert.pem"), "w") as file:
        file.write("half")
    system.symlink(".set.2", folder.path(".new"))
    os.remove(folder.path("chain.pem"))
    assert not folder.deploy()
    assert folder.text("key.pem") == old
    assert folder.certificates("chain.pem") == [ISSUER]
    assert ".set.2" not in folder.names()
    # A set that lost a file is made anew.
    os.remove(folder.path(".set.1/key.pem"))
    assert folder.deploy()
    assert folder.text("key.pem") == old
    folder.clean()


def test_a_folder_has_its_mode_from_the_first_moment_on():
    folder = Folder()
    export.system = Failing(1)
    try:
        check.raises(StorageError, folder.deploy)
    finally:
        export.system = system
    assert os.listdir(folder.parent) == ["a.new"]
    assert folder.deploy()
    assert mode(folder.path("")) == 0o750
    assert os.listdir(folder.parent + "/a") == ["b"]
    folder.clean()


class Failing:
    """Stands for est.system: the call with that number fails."""

    def __init__(self, at):
        self.at = at
        self.calls = 0

    def __getattr__(self, name):
        function = getattr(system, name)

        def call(*arguments):
            self.calls += 1
            if self.calls == self.at:
                raise OSError(28, "no space")
            return function(*arguments)

        return call


def test_a_full_disk_leaves_the_old_set():
    folder = Folder()
    folder.deploy()
    old = folder.key
    at = 0
    while True:
        at += 1
        folder.key = P256Key()
        export.system = Failing(at)
        try:
            folder.deploy([LEAF])
            break
        except StorageError as error:
            assert "no space" in str(error)
        finally:
            export.system = system
        # The pair of before, or, once it has taken over, the new one.
        shown = folder.text("key.pem")
        assert shown in (pem.key(old.der()), pem.key(folder.key.der()))
        assert (shown == pem.key(old.der())) == (len(folder.certificates("fullchain.pem")) == 2)
        if shown != pem.key(old.der()):
            # Undo what came to be.
            folder.key = old
            folder.deploy()
        half = [
            name
            for name in folder.names()
            if name[:5] == ".set." and len(folder.names("/" + name)) < 3
        ]
        assert not half
    assert at > 10
    folder.clean()


def test_several_exports():
    first, second = Folder(), Folder()
    broken = {"folder": first.parent + "/file/folder"}
    with open(first.parent + "/file", "w") as file:
        file.write("")
    exports = [broken, first.wanted, second.wanted]
    error = check.raises(StorageError, export.deploy, exports, [LEAF], first.key.der())
    assert "/file/folder" in str(error)
    # The others have it all the same.
    assert first.certificates("cert.pem") == second.certificates("cert.pem") == [LEAF]
    assert not export.deploy(exports[1:], [LEAF], first.key.der())
    first.clean()
    second.clean()


def test_withdrawn():
    folder = Folder()
    folder.deploy()
    with open(folder.path("other"), "w") as file:
        file.write("mine")
    for _ in range(2):
        export.withdraw([folder.wanted])
        assert folder.names() == ["other"]
    assert folder.deploy()
    os.mkdir(folder.path(".set.1/mine"))
    error = check.raises(StorageError, export.withdraw, folder.wanted)
    assert ".set.1 is still there" in str(error)
    folder.clean()
    export.withdraw(folder.wanted)


def test_bad_names():
    for wanted in ({"cert": "a/b"}, {"cert": ".live"}, {"cert": "x", "key": "x"}):
        folder = Folder(**wanted)
        error = check.raises(UsageError, folder.deploy)
        assert "must be a file name of its own" in str(error)
        folder.clean()
    error = check.raises(UsageError, export.deploy, {"folder": "x"}, [LEAF], P256Key().der())
    assert "must begin with /" in str(error)


def test_a_key_in_a_secure_element_stays_there():
    from est.element import ElementKey

    key = P256Key()
    kept = ElementKey(b"slot 1", key.public, None)
    for form in (pem.PKCS8, pem.TRADITIONAL):
        error = check.raises(UsageError, pem.key, kept.der(), form)
        assert "secure element" in str(error)
