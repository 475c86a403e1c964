"""An operator who has the page of a line, in Chromium, and nothing else: no mouse either.

Selenium is told where browser and driver are, or it would download them.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from line_of_boards import Board, Line, Run
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys

from mpest.server import EstServer

PIN = "4711"
_BROWSER, _DRIVER = "chromium", "chromedriver"
_JOB = """
acceptance = 'accept.py'
page = {pin = {file = 'pin'}}
hooks = {after = {accept = ['./lamp']}}
"""
_SECONDS = 90.0
_PERSON = 0.12  # seconds for a key; a scanner takes less than half of that
_TABS = 30  # more than the page has places to go to
_CONTRAST = 4.5  # of text, WCAG 2.2 AA

_CONTRASTS = """
const light = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).map((part) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
return [...document.querySelectorAll(".tile")].map((tile) => {
  const style = getComputedStyle(tile);
  const [a, b] = [light(style.color), light(style.backgroundColor)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
});
"""


def missing() -> str:
    """What is not installed, "" where nothing is missing."""
    return " and ".join(name for name in (_BROWSER, _DRIVER) if not shutil.which(name))


class Screen:
    """The page, looked at and typed into."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def text(self, selector: str) -> str:
        """Of the first such element; "" where there is none to be seen."""
        script = """
        const found = document.querySelector(arguments[0]);
        return found && found.checkVisibility() ? found.textContent : "";
        """
        return str(self.driver.execute_script(script, selector))

    def tile(self, port: Path, part: str = "name") -> str:
        return self.text(f'.tile[data-port="{port}"] .{part}')

    def kind(self, port: Path) -> str:
        """Its colour's name."""
        script = "return document.querySelector(arguments[0])?.className ?? ''"
        found = self.driver.execute_script(script, f'.tile[data-port="{port}"]')
        return str(found).removeprefix("tile ")

    def until(self, wanted: Callable[[], Any], what: str = "") -> Any:
        end = time.monotonic() + _SECONDS
        while not (found := wanted()):
            assert time.monotonic() < end, f"{what}: the page says {self.text('body')}"
            time.sleep(0.1)
        return found

    def until_word(self, port: Path, word: str) -> None:
        self.until(lambda: self.tile(port) == word, f"{word} at {port}")

    def readable(self) -> None:
        for contrast in self.driver.execute_script(_CONTRASTS):
            assert contrast >= _CONTRAST

    def type(self, *keys: str) -> None:
        """As a person types."""
        chain = ActionChains(self.driver)
        for text in keys:
            for key in text:
                chain.send_keys(key).pause(_PERSON)
        chain.perform()

    def scan(self, text: str) -> None:
        """As a wedge scanner types, wherever the focus is."""
        ActionChains(self.driver, duration=0).send_keys(text + Keys.ENTER).perform()

    def tab_to(self, name: str) -> None:
        """Until it has the focus, which is to be seen at each place."""
        for _ in range(_TABS):
            ActionChains(self.driver).send_keys(Keys.TAB).perform()
            focus = self.driver.execute_script(
                "const style = getComputedStyle(document.activeElement);"
                "return [document.activeElement.id, document.activeElement.tagName,"
                " style.outlineStyle, parseFloat(style.outlineWidth)]"
            )
            if focus[0] == name:
                assert focus[2] == "solid" and focus[3] >= 3, focus
                return
        raise AssertionError(f"no way to {name} by the keyboard: {focus}")

    def enter(self, operator: str, pin: str = PIN) -> None:
        """The PIN, in the dialog that asks for it."""
        self.until(lambda: self.text("#who"), "the dialog")
        self.type(operator, Keys.TAB, pin, Keys.ENTER)

    def find(self, serial: str) -> None:
        self.tab_to("serial")
        self.type(serial, Keys.ENTER)
        self.until(lambda: self.text("#board-title").endswith(serial), serial)

    def close(self) -> None:
        """The dialog that is open."""
        self.type(Keys.ESCAPE)
        self.until(lambda: not self.text("dialog[open]"))


@contextmanager
def screen(run: Run, folder: Path) -> Iterator[Screen]:
    """Of the page of a run that has just begun."""
    url = run.until(lambda event: event["event"] == "page")["url"]
    options = ChromeOptions()
    options.binary_location = shutil.which(_BROWSER) or ""
    for option in (
        "--headless=new",
        "--no-sandbox",  # it is root's in CI
        "--disable-dev-shm-usage",
        "--window-size=1280,800",
        "--no-proxy-server",
        f"--user-data-dir={folder / 'chromium'}",
    ):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, Service(shutil.which(_DRIVER)))
    try:
        driver.get(url)
        yield Screen(driver)
        # What the policy forbids, or a mistake in the page, would stand here.
        mistakes = [
            line["message"]
            for line in driver.get_log("browser")
            if "/events" not in line["message"]  # the line has ended
            and "status of 4" not in line["message"]  # refused, as it should be
        ]
        assert not mistakes
    finally:
        driver.quit()


def line_with_a_page(server: EstServer, folder: Path, count: int) -> Line:
    """Its boards do not pass their test while there is a file `dark`."""
    (folder / "pin").write_text(PIN)
    (folder / "pin").chmod(0o600)
    (folder / "accept.py").write_text("print('well')\n")
    lamp = folder / "lamp"
    lamp.write_text(
        f"#!/bin/sh\n[ ! -e '{folder}/dark' ] || {{ echo the lamp is dark; exit 1; }}\n"
    )
    lamp.chmod(0o700)
    line = Line(server, folder, count, _JOB)
    with line.job.open("a") as job:
        job.write("[label]\nsvg = 'default'\n")
    return line


def make_all(screen: Screen, line: Line, ports: int, dark: Path) -> int:
    """Make all boards of a line as an operator does, who acts by what the page says alone.

    While the file `dark` is there boards do not pass their test. How many times that was.
    """
    waiting = list(line.boards)
    inside: dict[int, Board] = {}
    scanned = set()
    failures = 0
    end = time.monotonic() + _SECONDS * len(line.boards)
    while not screen.text("#banner"):
        assert time.monotonic() < end, screen.text("body")
        for at in range(ports):
            port = line.port(at)
            word, serial = screen.tile(port), screen.tile(port, "serial")
            if at in inside and word == "GOOD":
                if serial not in scanned:
                    screen.scan(serial)
                    screen.until(lambda serial=serial: serial in screen.text("#told"))
                    scanned.add(serial)
                inside.pop(at).unplug()
            elif at in inside and word == "FAILED":
                assert "red box" in screen.tile(port, "advice")
                failures += 1
                dark.unlink(missing_ok=True)
                board = inside.pop(at)
                board.unplug()
                waiting.append(board)
            elif at not in inside and word != "WORKING" and waiting:
                inside[at] = waiting.pop(0)
                inside[at].plug(port)
                screen.until_word(port, "WORKING")
        time.sleep(0.1)
    return failures
