"""The operator's page in Chromium, over a line of simulated boards, by keyboard and scanner."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from line_of_boards import Line
from page_operator import PIN, line_with_a_page, missing, screen
from selenium.webdriver.common.keys import Keys

from mpest.server import EstServer
from mpest.station.ledger.ledger import Ledger

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def chromium() -> None:
    if missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing()}: not installed", pytrace=False)
        pytest.skip(f"{missing()}: not installed")


@pytest.fixture
def line(station_server: EstServer, tmp_path: Path) -> Iterator[Line]:
    made = line_with_a_page(station_server, tmp_path, 2)
    yield made
    made.unplug()


def test_two_boards_by_the_page(line: Line, tmp_path: Path) -> None:
    dark = tmp_path / "dark"
    first, second = line.port(0), line.port(1)
    good, bad = line.boards
    with line.start("--page", "0") as run, screen(run, tmp_path) as page:
        page.enter("Eve", "0000")
        page.until(lambda: "wrong" in page.text("#who-error"))
        page.type(PIN, Keys.ENTER)
        page.until(lambda: page.text("#operator") == "Operator: Eve")
        page.until_word(first, "READY")
        page.readable()

        good.plug(first)
        page.until_word(first, "WORKING")
        assert page.kind(first) == "working"
        page.readable()
        page.until_word(first, "GOOD")
        assert (page.kind(first), page.tile(first, "sign")) == ("done", "✓")
        assert page.tile(first, "serial") == "A001"
        page.readable()
        page.until(
            lambda: page.driver.execute_script(
                "return document.querySelector('.tile img')?.naturalWidth"
            ),
            "the label",
        )
        page.until(lambda: "A001: GOOD" in page.text("#results"))

        # A scan works wherever the focus is, and leaves nothing there.
        page.tab_to("serial")
        page.scan("A001")
        page.until(lambda: page.text("#told") == "The label of A001 counts.")
        assert page.driver.execute_script("return document.activeElement.value") == ""

        good.unplug()
        page.until(lambda: "next one" in page.tile(first, "advice"))
        assert page.tile(first) == "GOOD"

        good.plug(first)
        page.until_word(first, "MADE BEFORE")
        life = page.tile(first, "life")
        assert "Good" in life and "Eve" in life and "Label · scanned" in life
        page.readable()
        good.unplug()

        dark.touch()
        bad.plug(second)
        page.until_word(second, "FAILED")
        assert (page.kind(second), page.tile(second, "sign")) == ("failed", "✗")
        assert "red box" in page.tile(second, "advice")
        assert "lamp is dark" in page.tile(second, "message")
        assert page.tile(first) == "MADE BEFORE"
        page.readable()
        page.until(lambda: page.text("#numbers .first dd") == "50 % (1 of 2)")
        bad.unplug()
        dark.unlink()

        # Found, and made again under the same number, by keyboard alone.
        page.find("A001")
        assert "Testing the board" in page.text("#history")
        page.tab_to("rework")
        page.type(Keys.ENTER)
        page.type("new lamp", Keys.ENTER)
        page.until(lambda: "made again" in page.text("#board-told"))
        assert "new lamp" in page.text("#history")
        page.close()

        good.plug(first)
        page.until_word(first, "WORKING")
        page.until_word(first, "GOOD")
        run.interrupt()
        page.until(lambda: "ended" in page.text("#banner"))
        run.end()
    with Ledger(str(line.ledger)) as ledger:
        assert [unit.state for unit in ledger.units("batch-1")] == ["done", "failed"]
        assert ledger.unit("A001").generation == 2
        assert {event.operator for event in ledger.history("A001")} == {"Eve"}


def test_the_page_cannot_be_served(line: Line) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with line.start("--page", str(taken.getsockname()[1])) as run:
            assert (list(run), run.code()) == ([], 6)
            assert "in use" in run.said()
    assert not line.ledger.exists()
