"""Exports by an agent that is no root: what it may give to whom."""

import os
import stat
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpest.sim import cpython

cpython.install()

from est.errors import StorageError  # noqa: E402
from est.p256_key import P256Key  # noqa: E402
from estd import export  # noqa: E402

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="to be another user needs root")
USER, READERS, STRANGERS = 65534, 54321, 54322


def as_user(function: Callable[[], None]) -> None:
    """Run `function()` in a process of a user who is a member of READERS."""
    process = os.fork()
    if not process:
        try:
            os.setgroups([READERS])
            os.setgid(USER)
            os.setuid(USER)
            function()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(process, 0)[1] == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not in pytest's folder, which is for its own user alone.
    with tempfile.TemporaryDirectory(prefix="mpest-users-") as name:
        os.chown(name, USER, USER)
        yield Path(name)


def test_to_a_group_of_its_own(folder: Path) -> None:
    key = P256Key().der()
    wanted = {"folder": str(folder / "live"), "group": str(READERS)}
    export.deploy({"folder": str(folder / "loaded")}, [b"0\1x"], key)  # what it imports

    def deploy() -> None:
        assert export.deploy(wanted, [b"0\1x"], key)
        assert not export.deploy(wanted, [b"0\1x"], key)

    as_user(deploy)
    status = (folder / "live/key.pem").stat()
    assert (status.st_uid, status.st_gid) == (USER, READERS)
    assert stat.S_IMODE(status.st_mode) == 0o640


@pytest.mark.parametrize("wanted", [{"group": str(STRANGERS)}, {"owner": "0"}])
def test_what_only_root_may_give_is_told(folder: Path, wanted: dict[str, str]) -> None:
    key = P256Key().der()
    wanted = {"folder": str(folder / "live"), **wanted}
    export.deploy({"folder": str(folder / "loaded")}, [b"0\1x"], key)

    def deploy() -> None:
        for _ in range(2):
            with pytest.raises(StorageError, match="run as root, or as a member of the group"):
                export.deploy(wanted, [b"0\1x"], key)
        # No half of it is left.
        live = Path(wanted["folder"])
        assert not live.exists() or not [path for path in live.iterdir() if path.is_dir()]

    as_user(deploy)


def test_what_root_exported_before(folder: Path) -> None:
    """A set of root's, such as of an agent that it ran itself once, stops no renewal."""
    key = P256Key().der()
    wanted = {"folder": str(folder / "live")}

    def deploy() -> None:
        export.deploy(wanted, [b"0\1x"], key)

    as_user(deploy)
    assert export.deploy(wanted, [b"0\1y"], key)
    as_user(deploy)
    assert (folder / "live/cert.pem").stat().st_uid == USER
