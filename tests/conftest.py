"""The programs that tests run, the vectors that they read, and how many of those passed."""

import functools
import inspect
import os
import re
import signal
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import hypothesis
import pytest
from click.testing import CliRunner

from mpest import runtimes
from mpest.sim.board_process import RUNTIMES

# Those that tests/vectors/make.py made, and those of others (CONTRIBUTING.md).
OWN_VECTORS = Path(__file__).parent / "vectors"
VECTORS = Path(os.environ.get("MPEST_VECTORS") or Path(__file__).parents[2] / "shared/vectors")
NO_VECTORS = "needs the vectors"

# Outside CI one in so many runs: under qemu, of files that take minutes, of those that take many
# seconds. The first that matches counts.
_ONE_IN = {
    "armhf|picow-like": 24,
    "tests/faults/|test_(application|examples|flash_cuts|flash_ports|station|line|agent|deb|linux)"
    "|test_(systemd|power_cuts|headers_without_end)": 12,
    "interop/|test_(asyncio|ber|device|documents|flash|job_valid|ledger_workers|light|runtimes)"
    "|test_(server_(command|log|repeat)|simulate|unit_on_micropython)": 3,
}

Find = Callable[[str], runtimes.Program]

# Who starts the tests may ignore it (nohup), and what they start heeds it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Before click 8.2 it mixes the two streams, unless told.
if "mix_stderr" in inspect.signature(CliRunner).parameters:
    CliRunner.__init__ = functools.partialmethod(CliRunner.__init__, mix_stderr=False)

# How long an example takes is the machine's.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")


@pytest.fixture(scope="session")
def program() -> Find:
    """Finds a program; without it the test is skipped, or fails where CI must have it."""

    def find(name: str) -> runtimes.Program:
        try:
            return runtimes.find(name)
        except runtimes.RuntimeMissing as error:
            if os.environ.get("CI") == "true":
                pytest.fail(error.message, pytrace=False)
            pytest.skip(error.message)

    return find


@pytest.fixture(scope="session")
def vector() -> Callable[[str], bytes]:
    """Reads a vector; without it the test is skipped, or fails where CI must have it."""

    def read(name: str) -> bytes:
        path = OWN_VECTORS / name
        if not path.exists():
            path = VECTORS / name
        if not path.exists() and os.environ.get("CI") != "true":
            pytest.skip(f"{NO_VECTORS}: {name}")
        return path.read_bytes()

    return read


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, program: Find) -> str:
    """Each runtime of the simulated board."""
    name: str = request.param
    if name != "cpython":
        program(name)
    return name


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Outside CI, unless tests are named, a sample of those that take the most."""
    if os.environ.get("CI") == "true" or any("::" in argument for argument in config.args):
        return

    def one_in(item: pytest.Item) -> int:
        return next((few for names, few in _ONE_IN.items() if re.search(names, item.nodeid)), 1)

    left_out = [item for item in items if zlib.crc32(item.nodeid.encode()) % one_in(item)]
    config.hook.pytest_deselected(items=left_out)
    kept = set(items) - set(left_out)
    items[:] = [item for item in items if item in kept]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many of Wycheproof's tests passed, on each runtime."""
    passed: dict[str, dict[str, tuple[int, int]]] = {}
    for report in terminalreporter.stats.get("passed", []):
        runtime = re.search(r"-(micropython.*)]$", report.nodeid)
        found = passed.setdefault(runtime[1] if runtime else "cpython", {})
        for name, *counts in re.findall(
            r"^wycheproof (\w+): (\d+) of (\d+)", report.capstdout, re.MULTILINE
        ):
            found[name] = (int(counts[0]), int(counts[1]))
    for runtime, found in sorted(passed.items()):
        if found:
            some, all_of = map(sum, zip(*found.values(), strict=True))
            terminalreporter.write_line(
                f"Wycheproof on {runtime}: {some} of {all_of} tests passed, of {len(found)} files"
            )


def left_out(reports: Iterable[pytest.TestReport]) -> int:
    """How many tests were skipped for want of vectors, here and by tests/unit/run.py."""
    skips = 0
    for report in reports:
        if report.skipped and isinstance(report.longrepr, tuple):
            skips += NO_VECTORS in report.longrepr[2]
        skips += len(re.findall(f"^skip \\w+: {NO_VECTORS}", report.capstdout, re.MULTILINE))
    return skips


def pytest_unconfigure(config: pytest.Config) -> None:
    """What was left out for want of vectors, as the last line: the list of skips is long."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter:
        stats = reporter.stats
        skips = left_out([*stats.get("skipped", []), *stats.get("passed", [])])
        if skips:
            reporter.write_line(
                f"{skips} tests were left out, for there are no vectors of others in {VECTORS}. "
                "MPEST_VECTORS names another folder; CONTRIBUTING.md says what belongs there."
            )
