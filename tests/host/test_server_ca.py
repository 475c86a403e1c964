"""The CA on disk: made once, reopened, and refused when damaged."""

import itertools
import stat
import threading
from datetime import UTC, datetime, timedelta

import click
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from odd_certificates import CA, as_v1, issue
from server_client import new_key, pem_of

from mpest.exits import CliError, Exit
from mpest.server import EstServer, ServerConfig, authority, ca, desk, running_server
from mpest.server.ca import common_name, key_usage
from mpest.server.inputs import read_cas

RSA_ROOT = {"chain_length": 2, "root_key": "RSA-4096"}


@pytest.mark.parametrize("settings", [{"chain_length": 2}, {"chain_length": 4}, RSA_ROOT])
def test_reopening_keeps_the_ca(tmp_path, settings):
    config = ServerConfig(directory=tmp_path / "deep" / "ca", **settings)
    with running_server(config) as server:
        before = server.ca_certificates, server.fingerprint
        server.new_identity("board-1")
    with running_server(config) as server:
        assert (server.ca_certificates, server.fingerprint) == before
        assert [row.subject for row in server.issued()] == ["CN=board-1"]
    root = x509.load_pem_x509_certificate(config.directory.joinpath("ca.pem").read_bytes())
    assert (root.not_valid_after_utc - root.not_valid_before_utc).days > 3650


def test_modes(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", chain_length=2)
    with running_server(config):
        assert stat.S_IMODE(config.directory.stat().st_mode) == 0o700
        for name in ("ca.key", "issuing.key", "est.db"):
            assert stat.S_IMODE((config.directory / name).stat().st_mode) == 0o600


def test_a_chain_of_four(tmp_path):
    with running_server(ServerConfig(directory=tmp_path / "ca", chain_length=4)) as server:
        path = server.ca_certificates
        pem, _ = server.new_identity("board-1")
    leaf = x509.load_pem_x509_certificate(pem)
    leaf.verify_directly_issued_by(path[0])
    for below, (issued, issuer) in enumerate(itertools.pairwise(path)):
        issued.verify_directly_issued_by(issuer)
        limit = issued.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        assert limit == below


@pytest.mark.parametrize("length", [2, 4])
def test_a_folder_keeps_its_chain(tmp_path, length):
    """Started with less, the server would not know the devices that it has."""
    directory = tmp_path / "ca"
    with running_server(ServerConfig(directory=directory, chain_length=length)) as server:
        path = server.ca_certificates
    for rollover in (False, True):
        config = ServerConfig(directory=directory, rollover=rollover)
        with running_server(config) as server:
            assert len(server.ca_certificates) == length
            assert (server.ca_certificates == path) is not rollover


def test_rsa_root(tmp_path):
    with running_server(ServerConfig(directory=tmp_path / "ca", **RSA_ROOT)) as server:
        issuing, root = server.ca_certificates
    assert root.public_key().key_size == 4096
    issuing.verify_directly_issued_by(root)


def _cut(path):
    path.write_bytes(path.read_bytes()[:100])


def _other_key(path):
    path.write_bytes(pem_of(new_key()))


def _leaf(path):
    with running_server(ServerConfig(directory=path.parent)) as server:
        path.write_bytes(server.new_identity("board-1")[0])


def _another(path, *extensions):
    """The root with other extensions."""
    key = load_pem_private_key((path.parent / "ca.key").read_bytes(), None)
    root = x509.load_pem_x509_certificate(path.read_bytes())
    certificate = issue(root.subject, key, root.subject, key, extensions)
    path.write_bytes(certificate.public_bytes(Encoding.PEM))


def _without_signing(path):
    _another(path, x509.BasicConstraints(True, None), key_usage("crl_sign"))


def _without_constraints(path):
    _another(path, key_usage("key_cert_sign"))


def _no_ca(path):
    _another(path, x509.BasicConstraints(False, None))


def _both(path):
    for one in (path, path.with_suffix(".key")):
        one.unlink()


@pytest.mark.parametrize(
    ("name", "damage", "word"),
    [
        ("ca.pem", _cut, "ca.pem is not a CA certificate"),
        ("ca.pem", lambda path: path.unlink(), "ca.pem is missing"),
        ("ca.pem", _leaf, "ca.pem is not a CA certificate"),
        ("ca.pem", _without_signing, "ca.pem is no CA's certificate: its keyUsage lacks keyCert"),
        ("ca.pem", _without_constraints, "ca.pem is no CA's certificate: it has no basicConstr"),
        ("ca.pem", _no_ca, "ca.pem is no CA's certificate: its basicConstraints say so"),
        ("ca.key", _cut, "ca.key is not an unencrypted private key"),
        ("ca.key", lambda path: path.unlink(), "ca.key is missing"),
        ("ca.key", _other_key, "ca.key does not belong to ca.pem"),
        ("est.db", _other_key, "est.db is not a database"),
        ("est.db", lambda path: path.unlink(), r"est.db is missing .* restore it"),
        ("est.db", lambda path: path.write_bytes(b""), r"est.db is empty .* restore it"),
        ("issuing.pem", lambda path: path.unlink(), "issuing.pem is missing"),
        ("issuing.key", lambda path: path.unlink(), "issuing.key is missing"),
        ("issuing.pem", _both, "ca lacks the files of CN=mpest test issuing CA, whose list is in"),
    ],
)
def test_damage_is_named(tmp_path, name, damage, word):
    directory = tmp_path / "ca"
    length = 2 if name.startswith("issuing") else 1
    with running_server(ServerConfig(directory=directory, chain_length=length)):
        pass
    damage(directory / name)
    kept = directory.joinpath("crl.pem").read_bytes()
    config = ServerConfig(directory=directory)
    with pytest.raises(click.ClickException, match=word) as caught, running_server(config):
        pass
    assert caught.value.exit_code == Exit.STORAGE
    assert directory.joinpath("crl.pem").read_bytes() == kept


NAME, KEY = common_name("factory"), new_key()
ROOT = issue(NAME, KEY, NAME, KEY, CA)


@pytest.mark.parametrize(
    ("certificate", "objection"),
    [
        (ROOT, None),
        (issue(NAME, KEY, NAME, KEY, CA[:1]), None),
        (issue(common_name("issuing"), KEY, NAME, KEY, CA), None),
        (issue(NAME, KEY, NAME, KEY), "it has no basicConstraints"),
        (as_v1(ROOT, KEY), "it has no basicConstraints"),
        (issue(NAME, KEY, NAME, KEY, CA[1:]), "it has no basicConstraints"),
        (
            issue(NAME, KEY, NAME, KEY, [x509.BasicConstraints(False, None)]),
            "its basicConstraints say so",
        ),
        (
            issue(NAME, KEY, NAME, KEY, [CA[0], key_usage("digital_signature")]),
            "its keyUsage lacks keyCertSign",
        ),
        (
            issue(NAME, KEY, NAME, KEY, [x509.UnrecognizedExtension(CA[0].oid, b"\x30\1")]),
            "its extensions can't be read",
        ),
    ],
)
def test_what_is_no_ca_of_a_factory(tmp_path, certificate, objection):
    path = tmp_path / "factory.pem"
    path.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in (ROOT, certificate)))
    if objection is None:
        assert read_cas(path) == path.read_text().strip()
        assert ServerConfig(directory=tmp_path, factory_ca=path.read_text())
        return
    line = f"holds the certificate of 'CN=factory', which is no CA: {objection}"
    with pytest.raises(CliError) as caught:
        read_cas(path)
    assert caught.value.message == f"{path} {line}"
    with pytest.raises(ValueError, match=line):
        ServerConfig(directory=tmp_path, factory_ca=path.read_text())


def test_lost_root_is_not_replaced(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca")
    with running_server(config):
        pass
    for name in ("ca.pem", "ca.key"):
        (config.directory / name).unlink()
    with pytest.raises(click.ClickException, match=r"ca\.pem is missing"), running_server(config):
        pass


def test_a_lost_database_is_told_to_who_looks_into_it(tmp_path):
    """It must not be made anew either, or the next start would take that."""
    directory = tmp_path / "ca"
    with running_server(ServerConfig(directory=directory)):
        pass
    directory.joinpath("est.db").write_bytes(b"")
    with pytest.raises(CliError, match=r"est\.db is empty"), desk.opened(directory):
        pass
    assert directory.joinpath("est.db").stat().st_size == 0


def test_the_ca_without_its_record_goes_on(tmp_path):
    """As in a first start that was cut between the two, or for who copies the CA alone."""
    directory = tmp_path / "ca"
    with running_server(ServerConfig(directory=directory)) as server:
        before = server.fingerprint
    for name in ("est.db", "crl.pem"):
        directory.joinpath(name).unlink()
    directory.joinpath("est.db").touch()
    with running_server(ServerConfig(directory=directory)) as server:
        assert server.fingerprint == before


def test_directory_that_is_a_file(tmp_path):
    (tmp_path / "ca").write_text("")
    config = ServerConfig(directory=tmp_path / "ca")
    with pytest.raises(click.ClickException, match="can't use"), running_server(config):
        pass


@pytest.mark.parametrize("name", ["crl.pem", ".ready", ".new"])
def test_a_folder_for_a_file_and_the_other_way_round(tmp_path, name):
    config = ServerConfig(directory=tmp_path / "ca")
    config.directory.mkdir()
    if name == "crl.pem":
        (config.directory / name).mkdir()
    else:
        (config.directory / name).touch()
    with pytest.raises(click.ClickException, match="can't use") as caught, running_server(config):
        pass
    assert caught.value.exit_code == Exit.STORAGE


async def test_port_taken(tmp_path):
    async with EstServer(ServerConfig(directory=tmp_path / "one")) as server:
        config = ServerConfig(directory=tmp_path / "two", port=server.port)
        with pytest.raises(click.ClickException, match="in use") as caught:
            async with EstServer(config):
                pass
        assert caught.value.exit_code == Exit.NETWORK


async def test_one_server_in_a_directory(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca")
    async with EstServer(config) as server:
        before = server.fingerprint
        with pytest.raises(click.ClickException, match="another server uses") as caught:
            async with EstServer(config):
                pass
        assert caught.value.exit_code == Exit.STORAGE
        # Nor does one that failed to start stay in the way of the next.
        other = ServerConfig(directory=tmp_path / "other", port=server.port)
        for _ in range(2):
            with pytest.raises(click.ClickException, match="in use"):
                async with EstServer(other):
                    pass
    async with EstServer(config) as server:
        assert server.fingerprint == before


def test_nothing_is_left_running(tmp_path):
    with running_server(ServerConfig(directory=tmp_path / "ca")):
        assert any(thread.name == "est-server" for thread in threading.enumerate())
    assert not any(thread.name == "est-server" for thread in threading.enumerate())


def test_serials_differ_and_are_positive(tmp_path):
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        for number in range(5):
            server.new_identity(f"board-{number}")
        serials = {int(row.serial, 16) for row in server.issued()}
    assert len(serials) == 5
    assert all(0 < serial < 1 << 159 for serial in serials)


@pytest.mark.parametrize("name", ["old-issuing", "old", "issuing"])
@pytest.mark.parametrize("again", [1, 2])
def test_a_ca_that_a_rollover_left_is_missed_too(tmp_path, name, again):
    """Nor is another made in its place."""
    directory = tmp_path / "ca"
    with running_server(ServerConfig(directory=directory, chain_length=2)) as server:
        server.rollover()
    with running_server(ServerConfig(directory=directory)):
        pass
    for kind in ("pem", "key"):
        (directory / f"{name}.{kind}").unlink()
    before = sorted(directory.glob("*.pem"))
    for length in (again, again):
        config = ServerConfig(directory=directory, chain_length=length)
        words = pytest.raises(click.ClickException, match="lacks the files of")
        with words as caught, running_server(config):
            pass
        assert caught.value.exit_code == Exit.STORAGE
    assert sorted(directory.glob("*.pem")) == before


def test_a_chain_that_grows(tmp_path):
    directory = tmp_path / "ca"
    for length in (1, 2):
        with running_server(ServerConfig(directory=directory, chain_length=length)) as server:
            assert len(server.ca_certificates) == length


def test_an_old_root_that_has_expired_is_not_missed(tmp_path, monkeypatch):
    directory = tmp_path / "ca"
    with running_server(ServerConfig(directory=directory, chain_length=2)) as server:
        before = server.fingerprint
        monkeypatch.setattr(ca, "_CA_LIFETIME", timedelta(days=9000))
        server.rollover()
    later = datetime.now(UTC) + timedelta(days=8000)
    monkeypatch.setattr(authority, "now", lambda: later)
    opened = authority.Authority.open(directory, 1)
    assert opened.rollover is None
    assert opened.root.certificate.fingerprint(hashes.SHA256()).hex() != before
