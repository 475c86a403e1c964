"""The operator's page by HTTP: what it shows, and who may do what."""

import asyncio
import json
import re
import socket
import time
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import aiohttp
import pytest
import station_board
from documents import block

from mpest.exits import CliError
from mpest.station import job as jobs
from mpest.station import terminal
from mpest.station.entries import STEPS
from mpest.station.ledger import record
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Event, State, Unit, Who
from mpest.station.page import access, server, texts
from mpest.station.page.server import Page

PIN = "4711-zebra"
WITH_PIN = block("docs/factory.md", "[page]")
ANN = {"pin": PIN, "operator": "Ann"}
EVIL = "<img src=x onerror=alert(1)>&\"'"
WHO = Who("station-1", "port-1", "Ann")


@dataclass
class Opened:
    page: Page
    ledger: Ledger
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return self.page.url.rstrip("/")


def job_in(folder: Path, more: str = WITH_PIN) -> jobs.Job:
    station_board.profile(folder / "boards")
    (folder / "pin").write_text(PIN)
    (folder / "pin").chmod(0o600)
    (folder / "job.toml").write_text(
        f"""
name = "batch-1"
board = "SIMULATED"
boards = "boards"
subject = "CN=unit-{{serial}}"
station = "station-1"
{more}
[server]
url = "https://127.0.0.1:1"
trust = "sha256:{"0" * 64}"
user = "station"
password = {{file = "pin"}}
[devices]
range = {{first = "A001", last = "A003"}}
[label]
svg = "default"
qr = "U/{{serial}}"
"""
    )
    return jobs.load(folder / "job.toml")


@pytest.fixture
def job(tmp_path: Path, request: pytest.FixtureRequest) -> jobs.Job:
    return job_in(tmp_path, *([request.param] if hasattr(request, "param") else []))


read_only = pytest.mark.parametrize("job", [""], indirect=True)


@pytest.fixture
def opened(job: jobs.Job, tmp_path: Path) -> Iterator[Opened]:
    url = str(tmp_path / "ledger.db")
    told: list[dict[str, Any]] = []
    with Ledger(url) as ledger:
        ledger.open_batch(job.name, job.digest, None, job.units(), {"board": EVIL}, WHO)
        page = Page(job, url, texts.load(), "127.0.0.1", 0, told.append)
        with page:
            page("line", batch=job.name, station="station-1", operator="Ann", units=3)
            yield Opened(page, ledger, told)


@asynccontextmanager
async def browser(opened: Opened, **headers: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Has the headers that a browser sends from the page itself."""
    sent = {"Origin": opened.origin, **headers}
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of a host that is a number
    async with aiohttp.ClientSession(opened.origin, headers=sent, cookie_jar=jar) as session:
        yield session


async def post(
    session: aiohttp.ClientSession, path: str, **fields: object
) -> tuple[int, dict[str, Any]]:
    async with session.post(path, json=fields) as answer:
        return answer.status, await answer.json()


async def enter(session: aiohttp.ClientSession) -> None:
    status, _ = await post(session, "/open", **ANN)
    assert status == 200


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """(kind, content) of server-sent events."""
    kind = ""
    async for line in answer.content:
        name, _, value = line.decode().strip().partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


async def shown(session: aiohttp.ClientSession, kind: str = "state") -> dict[str, Any]:
    """What a browser that comes now is shown first."""
    async with session.get("/events") as answer:
        async for name, content in events(answer):
            if name == kind:
                return content
    raise AssertionError("it ended before")


def claimed(ledger: Ledger, unique_id: str = "0a0b0c01") -> Unit:
    unit = ledger.claim("batch-1", WHO, unique_id)
    ledger.step(unit, WHO, "accept", "failed", 1.5, reason=EVIL)
    return unit


def board(opened: Opened, port: str, serial: str, outcome: str, **more: object) -> None:
    page = opened.page
    page("port", port=port, device="/dev/x", state="here")
    page("step", port=port, serial=serial, step="accept", outcome="begun")
    told = {"step": "accept", "message": "", "seconds": 1.0, **more}
    page("board", port=port, serial=serial, outcome=outcome, **told)


# What is shown.


async def test_all_is_shown_whole(opened: Opened) -> None:
    page = opened.page
    page("port", port="port-10", state="free")
    board(opened, "port-9", "A001", "failed", message=EVIL)
    page("note", message="a note")
    async with browser(opened) as session:
        state = await shown(session)
        assert state["line"]["batch"] == "batch-1"
        assert [tile["port"] for tile in state["tiles"]] == ["port-9", "port-10"]
        [failed, free] = state["tiles"]
        assert (failed["state"], failed["serial"], failed["message"]) == ("failed", "A001", EVIL)
        assert free["state"] == "free"
        assert state["notes"][0]["message"] == "a note"


async def test_the_last_result_stays_until_the_next_board(opened: Opened) -> None:
    page = opened.page
    board(opened, "port-1", "A001", "done")
    page("port", port="port-1", state="gone")
    async with browser(opened) as session:
        [tile] = (await shown(session))["tiles"]
        assert (tile["state"], tile["serial"], tile["here"]) == ("done", "A001", False)
        page("port", port="port-1", device="/dev/x", state="here")
        [tile] = (await shown(session))["tiles"]
        assert (tile["state"], tile["serial"], tile["here"]) == ("working", "", True)


async def test_a_board_that_is_left_alone_has_its_history_at_once(opened: Opened) -> None:
    unit = claimed(opened.ledger)
    opened.ledger.fail(unit, WHO, "accept", EVIL)
    life = [record.line(event) for event in opened.ledger.history("A001")]
    board(opened, "port-1", "A001", "known", history=life)
    async with browser(opened) as session:
        [tile] = (await shown(session))["tiles"]
        assert [(line["event"], line["outcome"]) for line in tile["history"]] == [
            ("claim", ""),
            ("step", "failed"),
            ("fail", EVIL),
        ]
        opened.page("port", port="port-1", device="/dev/x", state="here")
        [tile] = (await shown(session))["tiles"]
        assert not tile["history"]


async def test_yield_of_the_shift(opened: Opened) -> None:
    for serial, outcome in (("A001", "failed"), ("A002", "done"), ("A003", "failed")):
        board(opened, "port-1", serial, outcome)
    board(opened, "port-1", "A001", "done")
    board(opened, "port-1", "A002", "known")
    async with browser(opened) as session:
        shift = (await shown(session))["shift"]
    assert (shift["ended"], shift["first"], shift["final"]) == (3, 1, 2)


async def test_a_browser_that_comes_back_has_all_of_it(opened: Opened) -> None:
    async with browser(opened) as session:
        async with session.get("/events") as answer:
            stream = events(answer)
            kinds = {(await anext(stream))[0], (await anext(stream))[0]}
            assert kinds == {"session", "state"}
            board(opened, "port-1", "A001", "done")
            while True:
                _, state = await anext(stream)
                if state["tiles"] and state["tiles"][0]["state"] == "done":
                    break
        board(opened, "port-2", "A002", "failed")
        assert len((await shown(session))["tiles"]) == 2


async def test_clients_that_read_nothing_cost_nothing(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_PATIENCE", 0.5)
    place = opened.page.url.split("/")[2].split(":")
    deaf = []
    for _ in range(3):
        client = socket.create_connection((place[0], int(place[1])))
        client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        deaf.append(client)
    async with browser(opened) as session:
        # Each of them leaves when it does not take what it is sent; nothing piles up meanwhile.
        while opened.page._browsers < 3:
            await asyncio.sleep(0.05)
        while opened.page._browsers:
            for at in range(50):
                begun = time.thread_time()
                board(opened, f"port-{at}", "A001", "failed", message="x" * 2000)
                assert time.thread_time() - begun < 0.5
            await asyncio.sleep(0.05)
        assert len((await shown(session))["tiles"]) == 50
    for client in deaf:
        client.close()


async def test_so_many_browsers(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_MAX_BROWSERS", 1)
    async with browser(opened) as session, session.get("/events") as first:
        await anext(events(first))
        async with session.get("/events") as second:
            assert second.status == 503


async def test_nothing_is_markup(opened: Opened) -> None:
    """The page has no markup but its own, and no script or style may run but its files."""
    ledger = opened.ledger
    claimed(ledger)
    async with browser(opened) as session:
        for path in ("/", "/page.js", "/page.css", "/texts.json", "/board?serial=A001", "/none"):
            async with session.get(path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy and "unsafe" not in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                text = await answer.text()
                if answer.content_type != "application/json":
                    assert EVIL not in text
        async with session.get("/board", params={"serial": "A001"}) as answer:
            history = (await answer.json())["history"]
    assert history[-1]["reason"] == EVIL
    files = Path(server.__file__).parent / "files"
    script = (files / "page.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script)
    markup = (files / "page.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)|https?://", markup)


async def test_a_label_is_a_picture_alone(opened: Opened) -> None:
    async with (
        browser(opened) as session,
        session.get("/label", params={"serial": "A001"}) as answer,
    ):
        assert answer.content_type == "image/svg+xml"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert "A001" in await answer.text()


async def test_search(opened: Opened) -> None:
    claimed(opened.ledger)
    async with browser(opened) as session:
        async with session.get("/board", params={"serial": " A001 "}) as answer:
            found = await answer.json()
        assert (found["serial"], found["state"]) == ("A001", "working")
        assert [line["event"] for line in found["history"]] == ["claim", "step"]
        async with session.get("/board", params={"scanned": "U/A001\r\n"}) as answer:
            assert (await answer.json())["serial"] == "A001"
        for query in ({"serial": "none"}, {"serial": "\0"}, {"serial": ""}, {"scanned": "A001"}):
            async with session.get("/board", params=query) as answer:
                assert answer.status == 409
                assert (await answer.json())["error"]


# Who may do what.


@read_only
async def test_without_a_pin_it_only_shows(opened: Opened) -> None:
    async with browser(opened) as session:
        assert not (await shown(session, "session"))["writable"]
        for path, fields in (
            ("/open", ANN),
            ("/rework", {"serial": "A001", "reason": "why"}),
            ("/scanned", {"text": "U/A001"}),
        ):
            status, answer = await post(session, path, **fields)
            assert status in (401, 403) and answer["error"]
    assert not opened.told


async def test_rework_scrap_reprint_and_scan(opened: Opened) -> None:
    ledger = opened.ledger
    unit = claimed(ledger)
    ledger.fail(unit, WHO, "accept", "the lamp is dark")
    async with browser(opened) as session:
        assert (await post(session, "/rework", serial="A001", reason="new lamp"))[0] == 401
        await enter(session)
        assert (await post(session, "/rework", serial="A001", reason=" "))[0] == 409
        status, answer = await post(session, "/rework", serial="A001", reason="new lamp")
        assert (status, answer["what"], ledger.unit("A001").state) == (200, "rework", "rework")
        assert (await post(session, "/reprint", serial="A001"))[0] == 409
        ledger.label("A001", WHO, "printed")
        status, answer = await post(session, "/scanned", text="U/A001")
        assert (status, answer["label"], ledger.unit("A001").label) == (200, "scanned", "scanned")
        assert (await post(session, "/reprint", serial="A001"))[0] == 200
        assert ledger.unit("A001").label == "printed"
        for wrong in ("A001", "U/none", "U/A002", "\0"):
            assert (await post(session, "/scanned", text=wrong))[0] == 409
        assert (await post(session, "/scrap", serial="A001", reason="burnt"))[0] == 200
        assert ledger.unit("A001").state == "scrapped"
        assert (await post(session, "/rework", serial="A001", reason="no"))[0] == 409
    done: list[Event] = [event for event in ledger.history("A001") if event.port == "page"]
    assert {event.operator for event in done} == {"Ann"}
    assert [event["event"] for event in opened.told] == ["operator", *["decision"] * 4]


async def test_a_label_that_needs_no_scan(tmp_path: Path) -> None:
    """It is told as what it is, at its tile and where it is printed again."""
    job_in(tmp_path)
    with (tmp_path / "job.toml").open("a") as file:
        file.write("scan = false\n")
    job, url = jobs.load(tmp_path / "job.toml"), str(tmp_path / "ledger.db")
    with Ledger(url) as ledger:
        ledger.open_batch(job.name, job.digest, None, job.units(), {}, WHO)
        claimed(ledger)
        ledger.label("A001", WHO, "waived")
        with Page(job, url, texts.load(), "127.0.0.1", 0, lambda _: None) as page:
            opened = Opened(page, ledger)
            page("step", port="port-1", serial="A001", step="label", outcome="done")
            told = {"outcome": "done", "step": "label", "seconds": 1.0}
            page("board", port="port-1", serial="A001", **told)
            async with browser(opened) as session:
                assert (await shown(session))["tiles"][0]["label"] == "waived"
                await enter(session)
                status, answer = await post(session, "/reprint", serial="A001")
                assert (status, answer["label"]) == (200, "waived")
        assert ledger.unit("A001").label == "waived"


async def test_a_board_begins_by_the_page(tmp_path: Path) -> None:
    """A scan is handed on to the line; where nobody works here, the page asks."""
    job_in(tmp_path)
    file = tmp_path / "job.toml"
    file.write_text(file.read_text().replace("[devices]\n", "[devices]\nscan = true\n"))
    job, url = jobs.load(file), str(tmp_path / "ledger.db")
    told: list[dict[str, Any]] = []
    with Ledger(url) as ledger:
        ledger.open_batch(job.name, job.digest, None, job.units(), {}, WHO)
        with Page(job, url, texts.load(), "127.0.0.1", 0, told.append) as page:
            opened = Opened(page, ledger)
            page("port", port="port-1", device="/dev/x", state="here")
            page("step", port="port-1", step="wait", outcome="begun")
            page("scan", port="port-1", state="wanted")
            async with browser(opened) as session:
                assert (await shown(session))["tiles"][0]["state"] == "scan"
                await enter(session)
                status, answer = await post(session, "/scanned", text="U/A002")
                assert (status, answer["what"]) == (200, "scan")
                page("scan", port="port-1", state="over")
                assert (await shown(session))["tiles"][0]["state"] == "working"
                page("operator", operator="")
                assert not (await shown(session))["line"]["operator"]
            scan = {"event": "scan", "what": "scan", "serial": "A002", "operator": "Ann"}
            assert told[1:] == [scan]
            assert ledger.unit("A002").state == "open"


async def test_the_operator_is_another_one(opened: Opened) -> None:
    async with browser(opened) as session:
        await enter(session)
        for wrong in ("", " ", "a\nb", "x" * 65):
            assert (await post(session, "/operator", operator=wrong))[0] == 409
        assert (await post(session, "/operator", operator=" Béa ")) == (
            200,
            {"event": "operator", "operator": "Béa"},
        )
        assert (await shown(session, "session"))["operator"] == "Béa"
        await post(session, "/close")
        assert not (await shown(session, "session"))["open"]
        assert (await post(session, "/operator", operator="Eve"))[0] == 401


@pytest.mark.parametrize("job", [WITH_PIN + "idle = 1"], indirect=True)
async def test_idle_operators_are_asked_again(opened: Opened) -> None:
    async with browser(opened) as session:
        await enter(session)
        assert (await shown(session, "session"))["open"]
        await asyncio.sleep(1.1)
        assert not (await shown(session, "session"))["open"]
        assert (await post(session, "/operator", operator="Eve"))[0] == 401


async def test_pins_are_not_tried_out(opened: Opened) -> None:
    async with browser(opened) as session:
        for _ in range(access._FREE_TRIES - 1):
            status, answer = await post(session, "/open", pin="wrong", operator="Eve")
            assert (status, answer["wait"]) == (403, 0)
        status, answer = await post(session, "/open", pin="wrong", operator="Eve")
        assert status == 429 and answer["wait"] > 0
        # Not even the right one is looked at.
        assert (await post(session, "/open", **ANN))[0] == 429
        assert not opened.told


async def test_the_cookie_is_the_browser_s_alone(opened: Opened) -> None:
    async with browser(opened) as session, session.post("/open", json=ANN) as answer:
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert PIN not in cookie
    for answer_to in ({"serial": "A001", "reason": "why"},):
        headers = {"Cookie": f"{access.COOKIE}=guessed"}
        async with browser(opened, **headers) as session:
            assert (await post(session, "/rework", **answer_to))[0] == 401


async def test_other_pages_cannot_post(opened: Opened) -> None:
    async with browser(opened) as session:
        await enter(session)
        jar = session.cookie_jar
        claimed(opened.ledger)
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": ""},
            {"Origin": opened.origin, "Sec-Fetch-Site": "cross-site"},
            {"Origin": "http://127.0.0.1:1"},
            {"Origin": "http://[::"},
        ):
            async with session.post(
                "/scrap", json={"serial": "A001", "reason": "evil"}, headers=headers
            ) as answer:
                assert answer.status == 403, headers
        # Of a type that a form can send.
        body = json.dumps({"serial": "A001", "reason": "evil"})
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            async with session.post("/scrap", data=body, headers={"Content-Type": kind}) as answer:
                assert answer.status == 409
        assert len(jar) == 1
    assert opened.ledger.unit("A001").state == "working"


async def test_other_names_do_not_lead_here(opened: Opened) -> None:
    async with browser(opened) as session:
        for host in ("evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "[::"):
            async with session.get("/board?serial=A001", headers={"Host": host}) as answer:
                assert answer.status in (400, 421), host
        for host in ("localhost:1", "127.0.0.1", "[::1]:8080", socket.gethostname()):
            async with session.get("/", headers={"Host": host}) as answer:
                assert answer.status == 200, host


async def test_odd_requests(opened: Opened) -> None:
    async with browser(opened) as session:
        await enter(session)
        for body in (b"", b"[]", b"{", b"\xff", b'{"serial": 1, "reason": "x"}', b"[" * 9000):
            headers = {"Content-Type": "application/json"}
            async with session.post("/scrap", data=body, headers=headers) as answer:
                assert answer.status == 409, body
        async with session.post("/scrap", json={"serial": "x" * (64 << 10)}) as answer:
            assert answer.status == 413
        for serial in ("\ud800", "\0", "x" * 1000, "../../etc/passwd"):
            assert (await post(session, "/scrap", serial=serial, reason="x"))[0] == 409
        async with session.get("/../server.py") as answer:
            assert answer.status == 404


async def test_no_secret_is_in_the_page(opened: Opened) -> None:
    unit = claimed(opened.ledger)
    opened.ledger.fail(unit, WHO, "accept", "x")
    async with browser(opened) as session:
        await enter(session)
        said = json.dumps([await shown(session), await shown(session, "session"), opened.told])
        for path in ("/", "/page.js", "/texts.json", "/board?serial=A001"):
            async with session.get(path) as answer:
                said += await answer.text()
    assert PIN not in said


def test_a_short_pin_is_refused(tmp_path: Path) -> None:
    job = job_in(tmp_path)
    (tmp_path / "pin").write_text("123")
    with pytest.raises(CliError, match="4 characters"):
        Page(job, "", texts.load(), "127.0.0.1", 0, print)


def test_the_pin_is_no_part_of_the_digest(tmp_path: Path) -> None:
    assert job_in(tmp_path).digest == job_in(tmp_path, "").digest


def test_a_port_that_is_taken(job: jobs.Job, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        page = Page(job, "", texts.load(), "127.0.0.1", taken.getsockname()[1], print)
        with pytest.raises(CliError, match="in use"), page:
            pass


# Its words.


def test_each_outcome_and_step_has_words() -> None:
    own = tomllib.loads(texts.OWN.read_text())
    assert {"free", "working", "scan", "turn", *terminal._WORDS} == set(own["outcome"])
    assert set(STEPS) == set(own["step"])
    assert set(get_args(State)) == set(own["state"])
    for entry in (*own["outcome"].values(), *own["step"].values()):
        assert len(entry) == 2 and all(entry.values())
    script = (Path(server.__file__).parent / "files/page.js").read_text()
    markup = (Path(server.__file__).parent / "files/page.html").read_text()
    used = set(re.findall(r'said\("(\w+)"', script)) | set(
        re.findall(r'data-text="(\w+)"', markup)
    )
    assert used <= set(own)
    steps = re.findall(r'"(\w+)"', script.split("const STEPS")[1].split(";")[0])
    assert steps == list(STEPS[1:])


def test_words_of_another_language(tmp_path: Path) -> None:
    file = tmp_path / "de.toml"
    file.write_text('language = "de"\n[outcome.done]\nword = "GUT"\n')
    words = texts.load(file)
    assert (words["language"], words["outcome"]["done"]["word"]) == ("de", "GUT")
    assert words["outcome"]["failed"]["word"] == "FAILED"
    for wrong, told in (
        ("odd = 'x'", "no such text"),
        ("title = 1", "text, in quotes"),
        ("step = 'x'", "a table"),
        ("batch = '{secret}'", "nothing fills {secret}"),
        ("[", "de.toml"),
        ("[outcome.done]\nodd = ''", r"outcome.done.odd"),
    ):
        file.write_text(wrong)
        with pytest.raises(CliError, match=told):
            texts.load(file)
    with pytest.raises(CliError, match="can't be read"):
        texts.load(tmp_path / "none")
