"""Which board gets which unit, and what a worker may write, on SQLite and PostgreSQL."""

import datetime
from collections.abc import Iterator

import pytest
from ledger_boards import ANN, BOB, Authority, board, make, units

from mpest.exits import CliError, Exit
from mpest.station.ledger.ledger import INTENT, Ledger
from mpest.station.ledger.units import (
    BlankIdentifier,
    Duplicate,
    KeyChanged,
    Leased,
    LeaseLost,
    NewUnit,
    NotBegun,
    NothingOpen,
    OtherBatch,
    OtherSerial,
    Provisioned,
    QuantityReached,
    ReaderWrong,
    ScanNeeded,
    Scrapped,
    SetAside,
    Who,
    WrongCertificate,
)

AT_ONCE = datetime.timedelta(0)
NEXT_PORT = Who(ANN.station, "1-1.9", "ann")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    with Ledger(ledger_url) as ledger:
        ledger.open_batch("one", "digest", None, units(5), {"board": "RPI_PICO_W"}, ANN)
        yield ledger


def test_one_board_through_the_line(ledger: Ledger, authority: Authority) -> None:
    one = board("e66118c4e3")
    unit = make(ledger, "one", one, authority)
    assert (unit.serial, unit.state, unit.lease, unit.failures) == ("A0001", "done", None, 0)
    assert (unit.unique_id, unit.key_hash, unit.csr) == (one.unique_id, one.key_hash, one.csr)
    assert unit.metadata == {"colour": "red"}
    assert ledger.unit("A0001") == unit
    events = [(event.event, event.step, event.outcome) for event in ledger.history("A0001")]
    assert events == [
        ("claim", "", ""),
        ("step", "identify", "done"),
        ("request", "", ""),
        ("certificate", "", ""),
        ("step", "install", "done"),
        ("finish", "", "done"),
    ]
    counts = ledger.counts("one")
    assert (counts.open, counts.done, counts.first_pass, counts.made) == (4, 1, 1, 1)
    (certificate,) = ledger.certificates(batch="one")
    assert certificate.serial == "A0001" and certificate.current and certificate.proven
    assert ledger.latest() == ledger.history()[-1].at
    assert ledger.batches()[0].details == {"board": "RPI_PICO_W"}


def test_a_batch_goes_on_under_the_same_digest_alone(ledger: Ledger) -> None:
    ledger.open_batch("one", "digest", None, units(9), {})
    assert len(ledger.units("one")) == 5
    with pytest.raises(CliError, match="batch one was begun by another job file") as caught:
        ledger.open_batch("one", "other", None, units(5), {})
    assert caught.value.exit_code == Exit.USAGE
    with pytest.raises(CliError, match="serial number A0005 is already in batch one"):
        ledger.open_batch("two", "digest", None, units(5, start=5), {})
    assert len(ledger.batches()) == 1
    with pytest.raises(CliError, match="A0007 stands more than once"):
        ledger.open_batch("two", "digest", None, units(1, start=7) * 2, {})
    with pytest.raises(CliError, match="the ledger has no batch three"):
        ledger.claim("three", ANN, "ab")


@pytest.mark.parametrize("blank", ["", "00", "0000000000000000", "FFFFFFFF", "ff:ff:ff", "--"])
def test_blank_identifiers(ledger: Ledger, blank: str) -> None:
    with pytest.raises(BlankIdentifier):
        ledger.claim("one", ANN, blank)
    if blank:
        with pytest.raises(BlankIdentifier):
            ledger.claim("one", ANN, "ab", mac=blank)
    assert ledger.counts("one").open == 5


def test_leases(ledger: Ledger) -> None:
    unit = ledger.claim("one", ANN, "AB:01")
    assert unit.unique_id == "ab01"
    with pytest.raises(Leased, match=r"A0001 is being made at station-1, port 1-1\.1") as caught:
        ledger.claim("one", BOB, "ab01")
    assert caught.value.unit.serial == "A0001" and caught.value.exit_code == Exit.LATER
    assert caught.value.until == unit.lease_until
    assert ledger.claim("one", BOB, "cd").serial == "A0002"
    # The same port of the same station: its worker was started anew.
    again = ledger.claim("one", ANN, "ab01", lease=AT_ONCE)
    assert again.serial == "A0001"
    with pytest.raises(LeaseLost):
        ledger.step(unit, ANN, "key", "done", 1.0)
    ledger.step(again, ANN, "key", "done", 1.0)  # over, but nobody else wants it
    taken = ledger.claim("one", BOB, "ab01")
    assert taken.serial == "A0001"
    for write in (
        lambda: ledger.renew(again, ANN),
        lambda: ledger.record_request(again, ANN, "00", b""),
        lambda: ledger.fail(again, ANN, "key", "no"),
        lambda: ledger.release(again, ANN),
    ):
        with pytest.raises(LeaseLost, match=r"station-2, port 1-1\.2, had it last"):
            write()
    renewed = ledger.renew(taken, BOB, datetime.timedelta(hours=2))
    assert renewed.lease_until and taken.lease_until and renewed.lease_until > taken.lease_until
    ledger.release(taken, BOB)
    assert ledger.claim("one", ANN, "ab01").serial == "A0001"


def test_a_failed_board_goes_on_with_its_key(ledger: Ledger, authority: Authority) -> None:
    one = board("ab")
    unit = ledger.claim("one", ANN, one.unique_id)
    ledger.record_request(unit, ANN, one.key_hash, one.csr)
    failed = ledger.fail(unit, ANN, "enrol", "server away")
    assert (failed.state, failed.failures, failed.lease) == ("failed", 1, None)
    unit = ledger.claim("one", BOB, one.unique_id)
    assert (unit.key_hash, unit.csr, unit.chain) == (one.key_hash, one.csr, [])
    unit = ledger.record_request(unit, BOB, one.key_hash, one.csr)
    chain = authority.issue(one.csr)
    unit = ledger.record_certificate(unit, BOB, chain)
    ledger.release(unit, BOB)
    unit = ledger.claim("one", ANN, one.unique_id)
    assert unit.chain == chain
    ledger.record_certificate(unit, ANN, chain)
    ledger.finish(unit, ANN, chain)
    assert len(ledger.certificates(serial=unit.serial)) == 1
    counts = ledger.counts("one")
    assert (counts.done, counts.first_pass) == (1, 0)
    with pytest.raises(Provisioned, match="has its certificate") as caught:
        ledger.claim("one", ANN, one.unique_id)
    assert caught.value.unit.state == "done"


def test_keys_and_certificates_that_do_not_fit(ledger: Ledger, authority: Authority) -> None:
    one, other, stranger = board("ab"), board("cd"), board("ef")
    unit = ledger.claim("one", ANN, one.unique_id)
    with pytest.raises(WrongCertificate, match="for another key"):  # no request yet
        ledger.record_certificate(unit, ANN, authority.issue(one.csr))
    ledger.record_request(unit, ANN, one.key_hash, one.csr)
    with pytest.raises(KeyChanged, match="A0001 asked for its certificate with another key"):
        ledger.record_request(unit, ANN, stranger.key_hash, stranger.csr)
    second = ledger.claim("one", BOB, other.unique_id)
    with pytest.raises(Duplicate, match="the board's key is that of A0001"):
        ledger.record_request(second, BOB, one.key_hash, one.csr)
    for chain in (authority.issue(stranger.csr), authority.issue(stranger.csr)[1:]):
        with pytest.raises(WrongCertificate, match="for another key"):
            ledger.record_certificate(unit, ANN, chain)
    for chain in ([], [b""], [b"x" * 100], [*authority.issue(one.csr)[:1], b"x"]):
        with pytest.raises(WrongCertificate, match="is no certificate"):
            ledger.record_certificate(unit, ANN, chain)
    assert not ledger.certificates()
    unit = ledger.record_certificate(unit, ANN, authority.issue(one.csr))
    with pytest.raises(WrongCertificate, match="is no chain of certificates"):
        ledger.finish(unit, ANN, [b"x"])
    for chain in ([], authority.issue(one.csr)):
        with pytest.raises(WrongCertificate, match="the ledger doesn't have for it"):
            ledger.finish(unit, ANN, chain)
    assert ledger.unit("A0001").state == "working"
    ledger.finish(unit, ANN, unit.chain)


def test_scanned_serials(ledger: Ledger) -> None:
    assert ledger.claim("one", ANN, "ab", serial="A0003").serial == "A0003"
    with pytest.raises(OtherSerial, match="the scan says A0004, but the board is A0003"):
        ledger.claim("one", ANN, "ab", serial="A0004")
    with pytest.raises(Duplicate, match="A0003 is another board's serial number") as caught:
        ledger.claim("one", BOB, "cd", serial="A0003")
    assert caught.value.unit.unique_id == "ab"
    with pytest.raises(OtherSerial, match="B1 is no serial number of batch one"):
        ledger.claim("one", BOB, "cd", serial="B1")
    ledger.open_batch("two", "digest", None, [NewUnit("B1", {})], {})
    with pytest.raises(OtherBatch, match="B1 of batch two"):
        ledger.claim("one", BOB, "cd", serial="B1")
    with pytest.raises(OtherBatch, match="A0003 of batch one, which did not finish it"):
        ledger.claim("two", ANN, "ab")
    assert ledger.claim("one", BOB, "cd").serial == "A0001"


def test_boards_that_the_job_lists(ledger_url: str) -> None:
    listed = [
        NewUnit("B1", {}, unique_id="AA01"),
        NewUnit("B2", {}, mac="28:CD:C1:00:00:02"),
        NewUnit("B3", {}, unique_id="aa03", mac="28cdc1000003"),
    ]
    with Ledger(ledger_url) as ledger:
        ledger.open_batch("two", "digest", 2, listed, {})
        with pytest.raises(NothingOpen, match="no serial number left for a board that it"):
            ledger.claim("two", ANN, "bb")
        with pytest.raises(OtherSerial, match="the board has 28cdc1000009: correct the list"):
            ledger.claim("two", ANN, "aa03", mac="28cdc1000009")
        with pytest.raises(Duplicate, match="B2 is another board's"):
            ledger.claim("two", ANN, "bb", serial="B2")
        assert ledger.claim("two", ANN, "aa01").serial == "B1"
        assert ledger.claim("two", BOB, "aa02", mac="28-cd-c1-00-00-02").serial == "B2"
        with pytest.raises(Duplicate, match="MAC address 28cdc1000002 is that of B2"):
            ledger.claim("two", BOB, "aa07", mac="28cdc1000002")
        with pytest.raises(QuantityReached):  # listed, but one too many
            ledger.claim("two", ANN, "aa03")
        for double in ("aa01", "28cdc1000002"):
            with pytest.raises(CliError, match=f"{double} is already in batch two"):
                one = NewUnit("C1", {}, **{"mac" if "cd" in double else "unique_id": double})
                ledger.open_batch("three", "digest", None, [one], {})


def test_a_board_begins_by_its_label(ledger: Ledger) -> None:
    """Once it has its unit, no label is needed; a done one is told so."""
    with pytest.raises(ScanNeeded):
        ledger.claim("one", ANN, "0a", scan=True)
    for wrong in ("B0001", ""):
        with pytest.raises((OtherSerial, ScanNeeded)):
            ledger.claim("one", ANN, "0a", serial=wrong, scan=True)
    assert ledger.counts("one").open == 5
    unit = ledger.claim("one", ANN, "0a", serial="A0004", scan=True)
    assert unit.serial == "A0004"
    assert ledger.claim("one", ANN, "0a", scan=True).serial == "A0004"
    with pytest.raises(Duplicate, match="scan the right label"):
        ledger.claim("one", NEXT_PORT, "0b", serial="A0004", scan=True)


def test_failed_boards_alone(ledger: Ledger) -> None:
    unit = ledger.claim("one", ANN, "0a")
    ledger.fail(unit, ANN, "accept", "dark")
    assert ledger.claim("one", ANN, "0a", only_failed=True).serial == unit.serial
    with pytest.raises(NotBegun):
        ledger.claim("one", NEXT_PORT, "0b", only_failed=True)
    assert ledger.counts("one").open == 4


def test_labels_that_were_not_scanned(ledger: Ledger, authority: Authority) -> None:
    make(ledger, "one", board("0a"), authority)
    make(ledger, "one", board("0b"), authority)
    ledger.label("A0001", ANN, "printed")
    ledger.label("A0002", ANN, "scanned")
    ledger.label("A0003", ANN, "printed")
    assert ledger.counts("one").labels == 1


def test_boards_without_a_list(ledger_url: str) -> None:
    with Ledger(ledger_url) as ledger:
        ledger.open_batch("two", "digest", 2, [], {})
        assert ledger.claim("two", ANN, "AB01").serial == "ab01"
        assert ledger.claim("two", BOB, "cd01", serial="S7").serial == "S7"
        with pytest.raises(QuantityReached, match="batch two has its 2 boards: stop") as caught:
            ledger.claim("two", ANN, "ef01")
        assert caught.value.exit_code == Exit.REFUSED
        assert ledger.claim("two", ANN, "ab01").serial == "ab01"
        ledger.scrap("ab01", ANN, "broken")
        assert ledger.claim("two", ANN, "ef01", serial="S8").serial == "S8"
        with pytest.raises(Duplicate):
            ledger.claim("two", ANN, "ee", serial="S8")


def test_twins_are_set_aside_and_three_stop_the_job(ledger: Ledger, authority: Authority) -> None:
    unit = ledger.claim("one", ANN, "ab", mac="28cdc1000001")
    with pytest.raises(Duplicate, match="two boards say unique id ab") as caught:
        ledger.claim("one", BOB, "ab", mac="28cdc1000002")
    assert caught.value.unit.state == "aside"
    with pytest.raises(SetAside, match="A0001 was set aside"):  # the worker that has it
        ledger.record_request(unit, ANN, "00", b"")
    for mac in ("28cdc1000001", "28cdc1000002", ""):
        with pytest.raises(SetAside):
            ledger.claim("one", NEXT_PORT, "ab", mac=mac)
    with pytest.raises(ReaderWrong, match="3 boards say unique id ab: what reads it is wrong"):
        ledger.claim("one", ANN, "ab", mac="28cdc1000003")
    assert ledger.counts("one").aside == 1
    # A person found out which one it is.
    ledger.rework("A0001", ANN, "the other one was scrapped")
    assert ledger.claim("one", ANN, "ab", mac="28cdc1000001").serial == "A0001"


def test_twins_that_one_station_sees(ledger: Ledger) -> None:
    with pytest.raises(Duplicate):  # before any of them has a unit
        ledger.claim("one", ANN, "ab", others=[("1-1.2", "")])
    for who in (ANN, NEXT_PORT, BOB):  # moved from port to port they are still two
        with pytest.raises(SetAside):
            ledger.claim("one", who, "ab")
    with pytest.raises(SetAside):
        ledger.claim("one", NEXT_PORT, "ab", others=[("1-1.7", "")])
    with pytest.raises(ReaderWrong):
        ledger.claim("one", ANN, "ab", others=[("1-1.2", ""), ("1-1.3", "")])
    with pytest.raises(ReaderWrong):
        ledger.claim("one", ANN, "cd", others=[("1-1.2", ""), ("1-1.3", "")])
    assert ledger.counts("one").open == 5


def test_rework_and_scrap(ledger: Ledger, authority: Authority) -> None:
    old = board("ab")
    make(ledger, "one", old, authority)
    with pytest.raises(CliError, match="no board has A0002 yet"):
        ledger.rework("A0002", ANN, "why")
    with pytest.raises(CliError, match="say why"):
        ledger.rework("A0001", ANN, " ")
    ledger.rework("A0001", ANN, "returned")
    assert not ledger.superseded("A0001")  # the board still has it
    unit = ledger.claim("one", ANN, "ab")
    assert (unit.generation, unit.key_hash, unit.chain) == (2, "", [])
    with pytest.raises(Leased):
        ledger.rework("A0001", ANN, "again")
    with pytest.raises(KeyChanged):  # the old key again is no new one
        ledger.record_request(unit, ANN, old.key_hash, old.csr)
    new = board("ab")
    unit = ledger.record_request(unit, ANN, new.key_hash, new.csr)
    unit = ledger.record_certificate(unit, ANN, authority.issue(new.csr))
    assert not ledger.superseded("A0001")
    ledger.finish(unit, ANN, unit.chain)
    (replaced,) = ledger.superseded("A0001")
    assert replaced.key_hash == old.key_hash
    ledger.revoking([replaced.fingerprint], ANN, "replaced")
    assert ledger.superseded("A0001")[0].revoking
    ledger.revoked([replaced.fingerprint], ANN)
    assert not ledger.superseded("A0001")
    counts = ledger.counts("one")
    assert (counts.done, counts.first_pass) == (1, 0)
    ledger.scrap("A0001", ANN, "burnt")
    (last,) = ledger.superseded("A0001")
    assert last.key_hash == new.key_hash
    for refused in (
        lambda: ledger.claim("one", ANN, "ab"),
        lambda: ledger.rework("A0001", ANN, "why not"),
    ):
        with pytest.raises(Scrapped):
            refused()
    with pytest.raises(CliError, match="no certificate 00"):
        ledger.revoked(["00"], ANN)
    with pytest.raises(CliError, match="the ledger has no board B1"):
        ledger.scrap("B1", ANN, "why")


def test_a_board_that_fails_before_it_has_a_unit(ledger: Ledger) -> None:
    ledger.failed("one", ANN, "identify", "no answer", unique_id="")
    (event,) = [event for event in ledger.history(batch="one") if event.event == "fail"]
    assert (event.serial, event.step, event.outcome) == ("", "identify", "no answer")
    assert ledger.counts("one").failed == 0


def test_steps_that_cannot_be_undone(ledger: Ledger) -> None:
    unit = ledger.claim("one", ANN, "ab")
    ledger.step(unit, ANN, "fuses", INTENT, 0.0)
    assert ledger.interrupted("A0001") == ["fuses"]
    ledger.step(unit, ANN, "fuses", "done", 2.0, voltage=3.3)
    assert ledger.interrupted("A0001") == []
    assert ledger.history("A0001")[-1].detail == {"voltage": 3.3}
    ledger.label("A0001", ANN, "printed")
    ledger.label("A0001", ANN, "scanned")
    assert ledger.unit("A0001").label == "scanned"


@pytest.mark.parametrize(
    "unit",
    [
        NewUnit("A\n1", {}),
        NewUnit("A" * 65, {}),
        NewUnit("A1", {"note": "a\0b"}),
        NewUnit("A1", {"note": "x" * 3000}),
        NewUnit("A1", {"no\tte": "x"}),
        NewUnit("A1", {"note": "\ud800"}),
        NewUnit("A1", {}, unique_id="xyz"),
        NewUnit("A1", {}, unique_id="0000"),
        NewUnit("A1", {}, mac="28cdc10000"),
    ],
)
def test_units_that_cannot_be(tmp_path, unit: NewUnit) -> None:
    with Ledger(str(tmp_path / "ledger")) as ledger:
        with pytest.raises(CliError) as caught:
            ledger.open_batch("one", "digest", None, [unit], {})
        assert caught.value.message.isprintable()
        assert not ledger.batches()
