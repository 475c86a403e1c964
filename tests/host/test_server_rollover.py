"""Root rollover (RFC 4210 4.4, RFC 7030 4.1.3) as OpenSSL and cryptography see it."""

import resource
import stat
import subprocess
from datetime import timedelta

import click
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from server_client import certificates, connect, enroll, make_csr

from mpest.exits import Exit
from mpest.server import EstServer, ServerConfig, ca, running_server
from mpest.server.authority import Authority


def verify(folder, anchor, *chain):
    """Have OpenSSL verify the first certificate of `chain` to `anchor` by way of the others."""
    for name, found in (("anchor", [anchor]), ("leaf", chain[:1]), ("rest", chain)):
        pem = b"".join(one.public_bytes(Encoding.PEM) for one in found)
        (folder / f"{name}.pem").write_bytes(pem)
    command = ["openssl", "verify", "-CAfile", "anchor.pem", "-untrusted", "rest.pem", "leaf.pem"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode == 0


async def published(server):
    async with connect(server) as session, session.get("cacerts") as answer:
        return certificates(await answer.read())


@pytest.mark.parametrize("chain_length", [1, 2])
async def test_four_certificates(tmp_path, chain_length):
    config = ServerConfig(directory=tmp_path / "ca", chain_length=chain_length)
    async with EstServer(config) as server:
        old = server.ca_certificates[-1]
        before, _ = server.new_identity("before")
        server.rollover()
        new = server.ca_certificates[-1]
        found = await published(server)
        assert old in found
        assert new in found
        assert old.subject == new.subject
        assert old.public_key() != new.public_key()
        links = [one for one in found if one not in (old, *server.ca_certificates)]
        new_with_old = next(one for one in links if one.public_key() == new.public_key())
        old_with_new = next(one for one in links if one.public_key() == old.public_key())
        assert len(found) == chain_length + 3
        assert verify(tmp_path, old, new_with_old)
        assert verify(tmp_path, new, old_with_new)
        assert not verify(tmp_path, new, new_with_old)
        async with connect(server) as session:
            status, text, _ = await enroll(session, make_csr())
        assert status == 200
        (leaf,) = certificates(text)
        assert verify(tmp_path, new, leaf, *server.ca_certificates)
        assert verify(tmp_path, old, leaf, new_with_old, *server.ca_certificates[:-1])
        assert not verify(tmp_path, old, leaf, *server.ca_certificates)
        assert x509.load_pem_x509_certificate(before).issuer == server.ca_certificates[0].subject


def test_dates(tmp_path, monkeypatch):
    """Each link begins with the root whose key it is of, and ends with the old one."""
    config = ServerConfig(directory=tmp_path / "ca")
    with monkeypatch.context() as patch:
        long_ago = ca.now() - timedelta(days=1000)
        patch.setattr(ca, "now", lambda: long_ago)
        config.directory.mkdir()
        Authority.open(config.directory, 1)
    with running_server(config) as server:
        for _ in range(2):  # the second within a second
            old = server.ca_certificates[-1]
            server.rollover()
            new = server.ca_certificates[-1]
            rollover = Authority.open(config.directory, 1).rollover
            assert old.not_valid_before_utc < new.not_valid_before_utc < ca.now()
            for one, root in ((rollover.old_with_new, old), (rollover.new_with_old, new)):
                assert one.public_key() == root.public_key()
                assert one.not_valid_before_utc == root.not_valid_before_utc
                assert one.not_valid_after_utc == old.not_valid_after_utc


async def test_clients_of_the_old_root_stay_clients(tmp_path):
    async with EstServer(ServerConfig(directory=tmp_path / "ca")) as server:
        identity = server.new_identity("board-1")
        old = server.ca_pem.read_bytes()
        server.rollover()
        new = server.ca_pem.read_bytes()
        for trust in (old, new):
            server.ca_pem.write_bytes(trust)
            async with connect(server, identity) as session:
                status, _, _ = await enroll(session, make_csr(), "simplereenroll")
            assert status == 200


@pytest.mark.parametrize("chain_length", [1, 2])
def test_at_the_start_and_after_it(tmp_path, chain_length):
    directory = tmp_path / "ca"
    with running_server(ServerConfig(directory=directory, chain_length=chain_length)) as server:
        old = server.ca_certificates[-1]
    config = ServerConfig(directory=directory, chain_length=chain_length, rollover=True)
    with running_server(config) as server:
        new = server.ca_certificates
    assert new[-1] != old
    assert x509.load_pem_x509_certificate((directory / "old.pem").read_bytes()) == old
    assert stat.S_IMODE((directory / "old.key").stat().st_mode) == 0o600
    with running_server(ServerConfig(directory=directory, chain_length=chain_length)) as server:
        assert server.ca_certificates == new
        server.rollover()
    assert x509.load_pem_x509_certificate((directory / "old.pem").read_bytes()) == new[-1]


@pytest.mark.parametrize("name", ["old.pem", "old.key", "old-with-new.pem", "new-with-old.pem"])
def test_damage_is_named(tmp_path, name):
    config = ServerConfig(directory=tmp_path / "ca", rollover=True)
    with running_server(config):
        pass
    (config.directory / name).write_text("-----BEGIN")
    config = ServerConfig(directory=config.directory)
    with pytest.raises(click.ClickException, match=name) as caught, running_server(config):
        pass
    assert caught.value.exit_code == Exit.STORAGE


def test_a_rollover_cut_off_before_the_root_changed(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", rollover=True)
    with running_server(config) as server:
        new = server.ca_certificates
    for suffix in (".pem", ".key"):
        (config.directory / f"old{suffix}").write_bytes(
            (config.directory / f"ca{suffix}").read_bytes()
        )
    with running_server(ServerConfig(directory=config.directory)) as server:
        assert server.ca_certificates == new


def test_a_full_disk(tmp_path):
    """The old root stays, and the next try is not hindered."""
    config = ServerConfig(directory=tmp_path / "ca", chain_length=2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with running_server(config) as server:
        before = server.ca_certificates
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                server.rollover()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert server.ca_certificates == before
    with running_server(config) as server:
        assert server.ca_certificates == before
        server.rollover()
        assert server.ca_certificates != before
    assert not list(config.directory.glob(".*"))
