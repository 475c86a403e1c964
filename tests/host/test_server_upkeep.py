"""What a server that runs for long renews by itself: lists of revoked certificates, its own
certificate."""

import asyncio
import subprocess
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from server_client import connect, enroll, make_csr, new_key, pem_of, server_certificate

from mpest.server import EstServer, ServerConfig, ca, crl, runner, tls
from mpest.server.ca import Order
from mpest.server.database import Stored


def lists(server):
    """{issuer's key identifier: list} of crl.pem, in its order."""
    text = (server.config.directory / "crl.pem").read_bytes()
    end = b"-----END X509 CRL-----\n"
    found = [x509.load_pem_x509_crl(one + end) for one in text.split(end)[:-1]]
    kind = x509.AuthorityKeyIdentifier
    return {
        one.extensions.get_extension_for_class(kind).value.key_identifier: one for one in found
    }


def key_identifier(certificate):
    kind = x509.SubjectKeyIdentifier
    return certificate.extensions.get_extension_for_class(kind).value.digest


async def fetched(server):
    async with connect(server) as session, session.get(f"{server.origin}/crl") as answer:
        assert answer.status == 200
        return await answer.read()


def accepted(folder, server, pem, root, *chain):
    """Whether OpenSSL takes a certificate by the lists of all CAs on its way to `root`."""
    command = ["openssl", "verify", "-crl_check_all", "-CRLfile"]
    command += [server.config.directory / "crl.pem", "-CAfile", folder / "root"]
    (folder / "leaf").write_bytes(pem)
    (folder / "root").write_bytes(root.public_bytes(Encoding.PEM))
    if chain:
        pems = [one.public_bytes(Encoding.PEM) for one in chain]
        (folder / "chain").write_bytes(b"".join(pems))
        command += ["-untrusted", folder / "chain"]
    command.append(folder / "leaf")
    return subprocess.run(command, capture_output=True).returncode == 0


def later(monkeypatch, module, days):
    moment = ca.now() + timedelta(days=days)
    monkeypatch.setattr(module, "now", lambda: moment)


@pytest.mark.parametrize("chain_length", [1, 2, 4])
async def test_a_list_of_each_ca(tmp_path, chain_length):
    config = ServerConfig(directory=tmp_path / "ca", chain_length=chain_length)
    async with EstServer(config) as server:
        *between, root = server.ca_certificates
        good, _ = server.new_identity("good")
        bad, _ = server.new_identity("bad")
        serial = x509.load_pem_x509_certificate(bad).serial_number
        assert accepted(tmp_path, server, bad, root, *between)
        server.revoke(serial)
        found = lists(server)
        assert list(found) == [key_identifier(one) for one in server.ca_certificates]
        assert [[one.serial_number for one in each] for each in found.values()] == [
            [serial],
            *[[]] * len(between),
        ]
        assert accepted(tmp_path, server, good, root, *between)
        assert not accepted(tmp_path, server, bad, root, *between)
        # The first is what clients get.
        first = next(iter(found.values()))
        assert await fetched(server) == first.public_bytes(Encoding.DER)


@pytest.mark.parametrize("chain_length", [1, 2])
async def test_a_list_of_each_ca_before_a_rollover(tmp_path, chain_length):
    """Also after a start, and of no older ones."""
    config = ServerConfig(directory=tmp_path / "ca", chain_length=chain_length)
    async with EstServer(config) as server:
        server.rollover()
        before = server.ca_certificates
        good, _ = server.new_identity("good")
        bad, _ = server.new_identity("bad")
        server.rollover()
    async with EstServer(config) as server:
        server.revoke(x509.load_pem_x509_certificate(bad).serial_number)
        new, _ = server.new_identity("new")
        assert len(lists(server)) == 2 * chain_length
        *between, root = before
        assert accepted(tmp_path, server, good, root, *between)
        assert not accepted(tmp_path, server, bad, root, *between)
        *between, root = server.ca_certificates
        assert accepted(tmp_path, server, new, root, *between)
        # Boards of the old CA are still clients.
        assert before[0] in server._authority.anchors


async def test_lists_are_signed_when_something_changes(tmp_path):
    async with EstServer(ServerConfig(directory=tmp_path / "ca")) as server:
        before = await fetched(server)
        assert await fetched(server) == before
        server.revoke(x509.load_pem_x509_certificate(server.new_identity("x")[0]).serial_number)
        assert await fetched(server) != before


async def test_lists_are_renewed_in_time(tmp_path, monkeypatch):
    async with EstServer(ServerConfig(directory=tmp_path / "ca", chain_length=2)) as server:
        before = lists(server)
        later(monkeypatch, crl, 3)
        server.maintain()
        assert lists(server) == before
        later(monkeypatch, crl, 4)
        server.maintain()
        for key, one in lists(server).items():
            assert one.next_update_utc > before[key].next_update_utc
        # Nor does a client get one that has ended, whoever is late.
        later(monkeypatch, crl, 40)
        served = x509.load_der_x509_crl(await fetched(server))
        assert served.next_update_utc > crl.now()


async def test_a_list_that_is_gone(tmp_path):
    async with EstServer(ServerConfig(directory=tmp_path / "ca")) as server:
        path = server.config.directory / "crl.pem"
        path.unlink()
        assert await fetched(server)
        path.write_text("nonsense")
        server.maintain()
        assert lists(server)


async def test_a_rollover_that_could_not_publish_its_list(tmp_path):
    async with EstServer(ServerConfig(directory=tmp_path / "ca")) as server:
        path = server.config.directory / "crl.pem"
        before = path.read_bytes()
        path.unlink()
        path.mkdir()
        with pytest.raises(OSError):
            server.rollover()
        path.rmdir()
        path.write_bytes(before)
        assert (await server_certificate(server)).issuer == server.ca_certificates[0].subject
        server.maintain()
        assert key_identifier(server.ca_certificates[0]) == next(iter(lists(server)))


async def test_own_certificate_is_renewed(tmp_path, monkeypatch):
    told = []
    config = ServerConfig(directory=tmp_path / "ca", mtls_probe=True)
    async with EstServer(config, told.append) as server:
        first = await server_certificate(server)
        async with connect(server) as session:
            async with session.get("cacerts") as answer:
                assert answer.status == 200
            later(monkeypatch, tls, 200)
            server.maintain()
            assert await server_certificate(server) == first
            later(monkeypatch, tls, 250)
            server.maintain()
            second = await server_certificate(server)
            assert second.not_valid_after_utc > first.not_valid_after_utc + timedelta(days=200)
            assert told[-1]["event"] == "certificate"
            # It is due once, and who is connected stays so.
            server.maintain()
            assert await server_certificate(server) == second
            async with session.get("cacerts") as answer:
                assert answer.status == 200


@pytest.mark.parametrize("what", ["addresses", "gethostname"])
async def test_own_certificate_holds_what_is_new(tmp_path, monkeypatch, what):
    told = []
    config = ServerConfig(directory=tmp_path / "ca", host="0.0.0.0", mtls_probe=True)
    async with EstServer(config, told.append) as server:
        first = await server_certificate(server)
        server.maintain()
        assert await server_certificate(server) == first
        if what == "addresses":
            before = tls.addresses(config.host)
            monkeypatch.setattr(tls, what, lambda _: [*before, "192.0.2.7"])
            new = "192.0.2.7"
        else:
            monkeypatch.setattr(tls.socket, what, lambda: "new.example")
            new = "new.example"
        server.maintain()
        found = await server_certificate(server)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert new in [str(name.value) for name in names]
        assert new in told[-1]["reason"]
        server.maintain()
        assert await server_certificate(server) == found


@pytest.mark.parametrize("what", ["addresses", "gethostname"])
async def test_nobody_gets_what_is_new(tmp_path, monkeypatch, what):
    """Before the server's own certificate has it, and after it lost it."""
    config = ServerConfig(directory=tmp_path / "ca", host="0.0.0.0")
    async with EstServer(config) as server:
        before = tls.addresses(config.host)
        async with connect(server) as session:
            for subject in ("CN=192.0.2.7", "CN=new.example"):
                assert (await enroll(session, make_csr(subject)))[0] == 200
            if what == "addresses":
                monkeypatch.setattr(tls, what, lambda _: [*before, "192.0.2.7"])
            else:
                monkeypatch.setattr(tls.socket, what, lambda: "new.example")
            new = "192.0.2.7" if what == "addresses" else "new.example"
            status, text, _ = await enroll(session, make_csr(f"CN={new}"))
            assert (status, text) == (
                403,
                f"{new} is a name of the server: ask for another\n",
            )
        key = new_key()
        order = Order(ca.common_name(new), key.public_key())
        held = server._authority.issuer.sign(order, ca.now() + timedelta(days=1))
        server._database.record(held, Stored())
        identity = held.public_bytes(Encoding.PEM), pem_of(key)
        async with connect(server, identity) as session:
            assert (await enroll(session, make_csr(f"CN={new}"), "simplereenroll"))[0] == 403


async def test_it_does_so_by_itself(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(runner, "_MAINTENANCE_SECONDS", 0.05)
    async with EstServer(ServerConfig(directory=tmp_path / "ca"), told.append) as server:
        first = await server_certificate(server)
        path = server.config.directory / "crl.pem"
        path.unlink()
        path.mkdir()  # it cannot be written: told, and tried again
        while not told:
            await asyncio.sleep(0.02)
        assert told[0]["event"] == "storage"
        path.rmdir()
        later(monkeypatch, tls, 300)
        while await server_certificate(server) == first:
            await asyncio.sleep(0.02)
        while not path.is_file():
            await asyncio.sleep(0.02)
        assert lists(server)


async def test_another_identity_stays(tmp_path, monkeypatch):
    async with EstServer(ServerConfig(directory=tmp_path / "ca")) as server:
        server.show(tls.own_identity(server._authority, "127.0.0.1", cmc_ra=True))
        shown = await server_certificate(server)
        later(monkeypatch, tls, 300)
        server.maintain()
        assert await server_certificate(server) == shown
