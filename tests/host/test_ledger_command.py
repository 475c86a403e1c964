"""`mpest ledger` on a ledger of some boards: what it shows, reports and exports."""

import csv
import io
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_boards import ANN, BOB, Authority, board, make, units
from postgres import Postgres

from mpest.cli import main
from mpest.exits import CliError
from mpest.station.ledger import export, record, report
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Batch, Counts, Event, NewUnit, Scrapped, Who

Command = Callable[..., Result]
# Of a report, all of them.
TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "table", "tr", "th"}
TAGS |= {"td", "svg", "text", "rect", "g"}
MARKUP = "<script>alert(1)</script>&\"'"


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def path(tmp_path: Path, authority: Authority) -> Path:
    """Three boards done, one of them at the second try, one failed, two open."""
    path = tmp_path / "ledger.db"
    with Ledger(str(path)) as ledger:
        listed = [*units(5), NewUnit(f"A{MARKUP}", {"colour": MARKUP})]
        ledger.open_batch("one", "d" * 64, 100, listed, {"firmware_sha256": "f" * 64}, ANN)
        make(ledger, "one", board("a1"), authority)
        failed = ledger.claim("one", BOB, "a2")
        ledger.fail(failed, BOB, "identify", MARKUP)
        make(ledger, "one", board("a2"), authority, BOB)
        make(ledger, "one", board("a3"), authority)
        ledger.fail(ledger.claim("one", BOB, "a4"), BOB, "enrol", "server away")
        ledger.label("A0001", ANN, "printed")
    return path


@pytest.fixture
def command(path: Path) -> Command:
    def run(*arguments: str | Path, **environment: str) -> Result:
        words = ["ledger", "--ledger", str(path), *map(str, arguments)]
        return CliRunner(env=environment).invoke(main, words)

    return run


def entries(done: Result) -> list[dict[str, Any]]:
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_list_and_show(command: Command) -> None:
    (batch,) = entries(command("list", "--json"))
    assert (batch["name"], batch["done"], batch["failed"], batch["open"]) == ("one", 3, 1, 2)
    assert [one["serial"] for one in entries(command("list", "--state", "failed", "--json"))] == [
        "A0004"
    ]
    text = command("list", "--batch", "one").stdout
    assert "A0001" in text and len(text.splitlines()) == 7
    shown = entries(command("show", "A0002", "--json"))
    assert [one["event"] for one in shown[:2]] == ["board", "certificate"]
    assert [one["what"] for one in shown[2:]][:3] == ["claim", "fail", "claim"]
    assert shown[3]["station"] == BOB.station and shown[3]["at"].endswith("Z")
    text = command("show", "A0002").stdout
    for words in ("serial: A0002", "state: done", "failures: 1", "colour: red", "identify"):
        assert words in text


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["show", "B1"], 2, "the ledger has no board B1"),
        (["list", "--batch", "two"], 2, "the ledger has no batch two"),
        (["report", "--batch", "two"], 2, "the ledger has no batch two"),
        (["report", "--batch", "one", "--out", "/nowhere/x"], 7, "can't write /nowhere/x: No"),
        (["export", "--batch", "one"], 2, "say what to write: --template NAME|FILE, or"),
        (["export", "--batch", "one", "--template", "no"], 2, "can't read the template no: No"),
        (["export", "--batch", "one", "--manifest"], 2, "--manifest needs --certificate FILE"),
        (["verify", "--ca", "nowhere"], 2, "can't read nowhere: No such file"),
        (["revoke", "--station", "s", "--reason", "x"], 2, "say which: --station NAME with"),
        (["revoke", "--serial", "A0001", "--reason", " "], 2, ""),
        (["revoke", "--reason", "x", "--station", "s", "--since", "x"], 2, "'x' is no time such"),
        (
            ["revoke", "--reason", "x", "--station", "s", "--since", "0001-01-01T00:00+23:59"],
            2,
            "is no time such",
        ),
    ],
)
def test_wrong_use(command: Command, arguments: list[str], code: int, line: str) -> None:
    done = command(*arguments)
    if not line:  # nothing was to be done
        assert done.exit_code == 0
        return
    assert done.exit_code == code, done.output
    assert line in done.stderr
    assert len([one for one in done.stderr.splitlines() if one.startswith("Error: ")]) == 1


def test_a_ledger_that_is_none(tmp_path: Path) -> None:
    def run(url: object) -> Result:
        return CliRunner().invoke(main, ["ledger", "--ledger", str(url), "list"])

    done = run(tmp_path / "none.db")
    assert (done.exit_code, done.stderr) == (7, f"Error: there is no ledger {tmp_path}/none.db\n")
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "other").write_bytes(b"x" * 5000)
    for url in (tmp_path / "other", tmp_path, "postgresql://nobody@127.0.0.1:1/x"):
        done = run(url)
        assert done.exit_code == 7
        assert done.stderr.startswith("Error: can't use the ledger ")
        assert done.stderr.count("\n") == 1
    for url in ("mysql://a/b", "sqlite://", "postgresql://a:x/b", "://"):
        assert run(url).exit_code == 2


def test_passwords_are_not_for_command_lines(postgres: Postgres) -> None:
    url = postgres.empty()
    done = CliRunner().invoke(main, ["ledger", "--ledger", url, "list"])
    assert done.exit_code == 2 and "PGPASSWORD" in done.stderr
    assert postgres.password not in done.output
    in_variable = CliRunner(env={"MPEST_LEDGER": url}).invoke(main, ["ledger", "list"])
    assert (in_variable.exit_code, in_variable.stdout) == (0, "the ledger has no batch\n")
    bare = url.replace(f":{postgres.password}", "")
    apart = CliRunner(env={"PGPASSWORD": postgres.password})
    assert apart.invoke(main, ["ledger", "--ledger", bare, "list"]).exit_code == 0
    wrong = CliRunner(env={"PGPASSWORD": "wrong secret"})
    done = wrong.invoke(main, ["ledger", "--ledger", bare, "list"])
    assert done.exit_code == 7 and "password authentication failed" in done.stderr
    assert "wrong secret" not in done.output and done.stderr.count("\n") == 1


class _Page(HTMLParser):
    """Text and tags of a page, and what would load anything or run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.outside: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        loads = {"src", "href", "xlink:href", "srcset", "action", "data", "style"}
        self.outside += [
            f"{tag} {name}" for name, _ in attributes if name in loads or name.startswith("on")
        ]

    def handle_data(self, text: str) -> None:
        self.words.append(text)


def test_report(command: Command, tmp_path: Path) -> None:
    done = command("report", "--batch", "one", "--out", tmp_path / "report.html")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "report.html").read_text()
    page = _Page(text)
    assert not page.outside
    assert page.tags >= {"svg", "rect", "table"} and not page.tags & {"script", "img", "link"}
    assert "url(" not in text and "@import" not in text and "http" not in text.split("<style>")[1]
    words = " ".join(" ".join(page.words).split())
    # Four boards were begun: three done, of which two at once.
    for expected in ("50.0 %", "75.0 %", f"identify {MARKUP} 1", "enrol server away 1"):
        assert expected in words
    for expected in ("identify 0.50 s 0.50 s 0.50 s 3", "install 1.25 s 1.25 s 1.25 s 3"):
        assert expected in words
    assert "station-1 2 0 1.8 s" in words and "station-2 1 2 1.8 s" in words
    assert command("report", "--batch", "one").stdout.startswith("<!doctype html>")


def test_report_of_nothing(tmp_path: Path) -> None:
    with Ledger(str(tmp_path / "ledger")) as ledger:
        batch = ledger.open_batch("<b>", "d", None, units(1), {})
        text = report.report(ledger, "<b>", batch.opened)
    page = _Page(text)
    assert "none yet" in page.words and "Batch <b>" in page.words
    assert "b" not in page.tags


@settings(max_examples=40)  # a page takes 30 ms
@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_people_write_is_text_in_a_report(step: str, reason: str) -> None:
    bars = report.bars([(step, 2, reason), ("", 0, "")])
    assert [bar.length for bar in bars] == [report._WIDTH, 0]
    page = _Page(_page(step, reason))
    assert not page.outside and page.tags <= TAGS


def _page(step: str, reason: str) -> str:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    event = Event(moment, "b", "s", step, "p", reason, "fail", step, reason, 1.0, {})
    timed = Event(moment, "b", "s", step, "p", reason, "step", step, "done", 1.0, {})
    ledger = SimpleNamespace(
        counts=lambda batch: Counts(None, 1, 1, 1, 1, 1, 1, 1, 1),
        batches=lambda: [Batch(step, "", None, {}, moment)],
        history=lambda batch: [event, timed],
    )
    return report.report(ledger, step, moment)  # type: ignore[arg-type]


def test_csv(command: Command, tmp_path: Path) -> None:
    done = command("export", "--batch", "one", "--template", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["serial"] for row in rows] == ["A0001", "A0002", "A0003"]
    assert rows[0]["colour"] == "red" and rows[0]["label"] == "printed"
    assert rows[0]["firmware_sha256"] == "f" * 64 and len(rows[0]["certificate_sha256"]) == 64
    assert None not in rows[0]
    done = command("export", "--batch", "one", "--template", "csv", "--state", "open")
    (row,) = [row for row in csv.DictReader(io.StringIO(done.stdout)) if row["serial"] != "A0005"]
    assert row["serial"] == f"A{MARKUP}" and row["colour"] == MARKUP


def test_aws_bulk_registration(command: Command, authority: Authority) -> None:
    things = entries(command("export", "--batch", "one", "--template", "aws-iot"))
    assert [thing["ThingName"] for thing in things] == ["A0001", "A0002", "A0003"]
    for thing in things:
        chain = (thing["CertificatePem"], thing["CACertificatePem"])
        for pem in chain:
            assert pem.startswith("-----BEGIN") and pem.count("BEGIN") == 1
        done = subprocess.run(
            ["openssl", "x509", "-noout", "-issuer"],
            input=thing["CertificatePem"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "issuer=CN = CA\n"


def test_a_template_of_ones_own(command: Command, tmp_path: Path) -> None:
    own = tmp_path / "own.j2"
    own.write_text(
        "{% for board in boards %}{{ board.serial }} {{ board.certificate.number }}\n{% endfor %}"
        "{{ batch.counts.done }} of {{ batch.name }}\n"
    )
    lines = command("export", "--batch", "one", "--template", own).stdout.splitlines()
    assert lines[-1] == "3 of one" and lines[0].startswith("A0001 ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n{% for %}", "own, line 2: "),
        ("a\nb\n{{ boards[0].colour }}", "own, line 3: "),
        ("{{ nothing | csv }}", "own, line 1: 'nothing' is undefined"),
        ("{{ batch.name | matching('x+') }}", "own, line 1: 'one' doesn't match x+"),
        ("{{ batch.name | matching('(') }}", "own, line 1: missing )"),
        ("{{ 1 / 0 }}", "own, line 1: division by zero"),
        ("{{ ''.__class__.__mro__ }}", "own, line 1: access to attribute '__class__'"),
        ("{{ batch.details.update(a=1) }}", "own, line 1: "),
        ("{% include '/etc/passwd' %}", "own, line 1: "),
        ("{{ range(10000000) | list }}", "own, line 1: Range too big"),
        ("{{ 'x' | nothing }}", "own, line 1: No filter named 'nothing'"),
    ],
)
def test_mistakes_in_a_template(
    command: Command, tmp_path: Path, text: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").write_text(text)
    monkeypatch.chdir(tmp_path)
    done = command("export", "--batch", "one", "--template", "own", "--out", "out")
    assert done.exit_code == 2, done.output
    assert line in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def document() -> record.Document:
    empty = dict.fromkeys(("unique_id", "mac", "key_sha256", "firmware_sha256", "label"), "")
    one = {"serial": "A1", "state": "open", "metadata": {}, "certificate": None, **empty}
    return {"batch": {"name": "one"}, "boards": [one], "made": ""}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("template") / "own"


PIECES = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "for",
    "if",
    "boards",
    "board",
    ".serial",
    "|",
    "csv",
]
PIECES += [" in ", "endfor", "json", "'", "(", ")", "[", "]", "0", "\n", "~", "macro", "set", "="]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join))
def test_any_template_gives_text_or_one_line(
    document: record.Document, own: Path, text: str
) -> None:
    own.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(export.export(str(own), document), str)
    except CliError as error:
        assert error.message.isprintable()


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), st.text())
def test_any_cell_comes_back_from_csv_and_json(
    document: record.Document, own: Path, serial: str, cell: str
) -> None:
    one = {**document["boards"][0], "serial": serial, "metadata": {"column": cell}}
    content = {**document, "boards": [one]}
    text = export.export("csv", content)
    assert list(csv.reader(io.StringIO(text, newline="")))[1][-1] == cell
    own.write_text("{{ boards[0].metadata.column | json }}")
    assert json.loads(export.export(str(own), content)) == cell


def test_secrets_are_nowhere(postgres: Postgres) -> None:
    """In no error and no table: the ledger's own password is all that it knows."""
    url = postgres.empty()
    with Ledger(url) as ledger:
        ledger.open_batch("one", "d", None, units(1), {}, ANN)
        ledger.claim("one", Who("s", "p", "ann"), "ab")
        dump = json.dumps([repr(one) for one in (*ledger.units(), *ledger.history())])
        assert postgres.password not in dump + repr(ledger)
    broken = url.replace(f":{postgres.port}", ":1")
    with pytest.raises(CliError) as caught:
        Ledger(broken)
    assert postgres.password not in caught.value.message


def test_scrap(command: Command, path: Path) -> None:
    assert command("scrap", "A0001").exit_code == 2
    assert command("scrap", "A0001", "--reason", " ").exit_code == 2
    done = command("scrap", "A0001", "--reason", "burnt", "--operator", "Eve")
    assert done.exit_code == 0
    assert "for ever" in done.stderr and "ledger revoke --serial A0001" in done.stderr
    assert command("scrap", "A0009", "--reason", "burnt").exit_code == 2
    with Ledger(str(path)) as ledger:
        unit = ledger.unit("A0001")
        assert (unit.state, ledger.history("A0001")[-1].operator) == ("scrapped", "Eve")
        with pytest.raises(Scrapped):
            ledger.claim("one", ANN, unit.unique_id)


def test_settle_what_was_cut(command: Command, path: Path) -> None:
    with Ledger(str(path)) as ledger:
        unit = ledger.claim("one", ANN, "a4")
        ledger.step(unit, ANN, "fuses", "intent", 0.0)
        assert ledger.interrupted("A0004") == ["fuses"]
    settle = ("settle", "A0004", "fuses", "--reason", "measured")
    assert command(*settle).exit_code == 2
    assert command("settle", "A0004", "enrol", "--done", "--reason", "x").exit_code == 2
    assert command(*settle, "--done").exit_code == 0
    assert command(*settle, "--undone").exit_code == 2
    with Ledger(str(path)) as ledger:
        assert not ledger.interrupted("A0004")
        assert ledger.was_done("A0004", "fuses")
