"""Boards that are made again: a new key under the same number, and what becomes of the old one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate
from documents import block
from line_of_boards import STATION, Line, Make, Run, board, server_of
from server_client import make_csr

from mpest.exits import CliError
from mpest.server import EstServer
from mpest.station import terminal
from mpest.station.authority import Authority
from mpest.station.ledger.ledger import Ledger

pytestmark = pytest.mark.timeout(120)


def _rework(line: Line) -> dict[str, Any]:
    """The event that tells what became of the old certificate."""
    with line.start("--rework", "came back") as run:
        told, _ = run.until_all(lambda event: event["event"] == "revoke", board("done"))
        run.end()
    return told


def _revoked(server: EstServer) -> list[bool]:
    """Of the units, in the order in which they were issued."""
    return [entry.revoked is not None for entry in server.issued() if "unit-" in entry.subject]


def test_by_a_password_the_old_one_is_told_and_listed(make: Make) -> None:
    """Both are linked in the ledger. Nothing but the station's certificate signs revocations."""
    line = make(1)
    line.plug()
    line.run()
    first = line.certificates()
    told = _rework(line)
    assert (told["outcome"], told["serial"], told["number"]) == ("left", "A001", first[0].number)
    both = line.certificates()
    assert [entry.current for entry in both] == [False, True]
    assert both[0].key_hash == first[0].key_hash != both[1].key_hash
    assert both[1].proven and both[0].revoking and not both[0].revoked
    with Ledger(str(line.ledger)) as ledger:
        history = ledger.history("A001")
        [rework] = [event for event in history if event.event == "rework"]
        assert (rework.outcome, rework.detail["key_hash"]) == ("came back", first[0].key_hash)
        finish = [event for event in history if event.event == "finish"][-1]
        assert finish.detail["replaces"] == [both[0].fingerprint]
    command = [sys.executable, "-m", "mpest", "ledger", "--ledger", str(line.ledger), "revoke"]
    command += ["--superseded", "--json"]
    done = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True)
    assert [json.loads(text)["number"] for text in done.stdout.splitlines()] == [both[0].number]
    subprocess.run([*command, "--ca-dir", str(line.folder / "ca")], check=True)
    assert _revoked(line.server) == [True, False]


def test_a_certificate_beside_the_password_revokes(make: Make) -> None:
    """As the message says: named in the job, and the board put in again."""
    line = make(2)
    line.boards[0].plug(line.port(0))  # without the other the line goes on
    line.run("--limit", "1")
    told = _rework(line)
    [old, _] = line.certificates()
    assert told["message"].startswith("revocations are signed, and the station has no certificate")
    shown = terminal.revocation(told)
    assert "--serial A001 --ca-dir FOLDER" in shown and f"revoke {old.number} at the CA" in shown
    login = ("--user", STATION, "--password-file", str(line.folder / "password"))
    trust = ("--url", line.server.url, "--trust", str(line.server.ca_pem))
    own = line.folder / "station"
    enroll = ("--state", str(own), *login, "--subject", f"CN={STATION}", "enroll")
    subprocess.run([sys.executable, "-m", "mpest", "simulate", *trust, *enroll], check=True)
    shown = block("docs/factory.md", 'certificate = "station/chain.pem"').splitlines()
    shows = [text for text in shown if text.split(" ")[0] in ("certificate", "key")]
    text = line.job.read_text()
    line.job.write_text(text.replace("user =", "\n".join([*shows, "user ="])))
    with line.start() as run:
        told = run.until(lambda event: event["event"] == "revoke")
        run.interrupt()
        run.end()
    assert told["outcome"] == "done", told
    assert _revoked(line.server) == [True, False]


def test_by_its_certificate_the_line_revokes_the_old_one(tmp_path: Path) -> None:
    with server_of(tmp_path, auth="mtls", users={}) as server:
        line = Line(server, tmp_path, 1)
        _show_certificate(line, server, STATION)
        line.plug()
        try:
            line.run()
            told = _rework(line)
        finally:
            line.unplug()
        assert told["outcome"] == "done", told
        assert _revoked(server) == [True, False]
        both = line.certificates()
        assert both[0].revoked and not both[1].revoked


def _show_certificate(line: Line, server: EstServer, name: str) -> None:
    """In the job, in place of its password."""
    _identity(server, line.folder, name)
    text = line.job.read_text().replace(f'user = "{STATION}"', f'certificate = "{name}.pem"')
    line.job.write_text(text.replace('password = {file = "password"}', f'key = "{name}.key"'))


def _identity(server: EstServer, folder: Path, name: str) -> tuple[Path, Path]:
    """Files of a certificate and its key."""
    files = folder / f"{name}.pem", folder / f"{name}.key"
    for file, content in zip(files, server.new_identity(name), strict=True):
        file.write_bytes(content)
        file.chmod(0o600)
    return files


@pytest.fixture
def brought(tmp_path: Path) -> Iterator[tuple[EstServer, bytes]]:
    """A server, and a certificate of a unit that a station brought."""
    rules = [
        {"users": name, "role": "ra", "subject": subject, **more}
        for name, subject, more in (
            ("station", "CN=unit-*", {}),
            ("second", "CN=unit-*", {}),
            ("other", "CN=hub-*", {}),
            ("over", "CN=unit-*", {"until": "2001-01-01"}),
        )
    ]
    with server_of(tmp_path, auth="mtls", users={}, policy={"rule": rules}) as server:
        authority = _authority(server, tmp_path, "station")
        authority.enroll(make_csr("CN=unit-1").public_bytes(Encoding.DER))
        yield server, server.issued()[-1].der


def _authority(server: EstServer, folder: Path, name: str) -> Authority:
    certificate, key = _identity(server, folder, name)
    return Authority(server.url, str(server.ca_pem), certificate=certificate, key=key)


@pytest.mark.parametrize("name", ["station", "second"])
def test_a_station_revokes_what_it_may_bring(
    brought: tuple[EstServer, bytes], tmp_path: Path, name: str
) -> None:
    server, der = brought
    authority = _authority(server, tmp_path, name)
    authority.revoke(der)
    authority.revoke(der)  # the answer was lost
    assert _revoked(server) == [True]


@pytest.mark.parametrize("name", ["other", "over", "nobody"])
def test_others_revoke_nothing(
    brought: tuple[EstServer, bytes], tmp_path: Path, name: str
) -> None:
    server, der = brought
    with pytest.raises(CliError, match="only who owns"):
        _authority(server, tmp_path, name).revoke(der)
    # Nor what nobody brought, and not with a revoked certificate.
    other = server.new_identity("unit-7")[0]
    station = _authority(server, tmp_path, "station")
    with pytest.raises(CliError, match="only who owns"):
        station.revoke(load_pem_x509_certificate(other).public_bytes(Encoding.DER))
    own = server.issued()[-1]
    server.revoke(load_der_x509_certificate(own.der).serial_number)
    with pytest.raises(CliError, match="revoked"):
        station.revoke(der)
    assert _revoked(server)[0] is False


def test_a_stolen_station_is_revoked_while_another_goes_on(tmp_path: Path) -> None:
    """Both run: the stolen one brings nothing more, and what it brought is revoked."""
    rules = [
        {"users": name, "role": "ra", "subject": "CN=unit-*"}
        for name in ("station-1", "station-2")
    ]
    with server_of(tmp_path, auth="mtls", users={}, policy={"rule": rules}) as server:
        line = Line(server, tmp_path, 3)
        _show_certificate(line, server, "station-1")
        stolen_job = tmp_path / "job-2.toml"
        stolen_job.write_text(line.job.read_text().replace("station-1", "station-2"))
        _identity(server, tmp_path, "station-2")
        first, second, third = line.boards
        try:
            with (
                line.start(ports=1) as own,
                Run(stolen_job, ["--port", str(line.port(1))], ()) as stolen,
            ):
                first.plug(line.port(0))
                second.plug(line.port(1))
                brought = stolen.until(board("done"))["serial"]
                own.until(board("done"))
                _revoke_station(line, "station-2")
                second.unplug()
                stolen.until(lambda event: event.get("state") == "gone")
                third.plug(line.port(1))
                refused = stolen.until(board("refused"))
                assert "revoked" in refused["message"], refused
                third.unplug()
                first.unplug()
                third.plug(line.port(0))
                own.until(board("done"))
                own.end()
                stolen.end()
        finally:
            line.unplug()
        assert sorted(_revoked(server)) == [False, False, True]
        certificates = line.certificates()
        assert len({entry.serial for entry in certificates if entry.proven}) == 3
        [gone] = [entry for entry in certificates if entry.revoked]
        assert (gone.serial, gone.station) == (brought, "station-2")


def _revoke_station(line: Line, name: str) -> None:
    command = [sys.executable, "-m", "mpest", "ledger", "--ledger", str(line.ledger), "revoke"]
    command += ["--station", name, "--since", "2001-01-01T00:00", "--reason", "stolen"]
    command += [
        "--ca-dir",
        str(line.folder / "ca"),
        "--certificate",
        str(line.folder / f"{name}.pem"),
    ]
    subprocess.run(command, check=True)
