"""The agent as a task of asyncio, on each runtime: other tasks go on, and it can be cancelled."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mpest.runtimes import Program
from mpest.server import EstServer, ServerConfig, running_server
from mpest.sim import cpython

_SPKI = PublicFormat.SubjectPublicKeyInfo
BOARD = Path(__file__).with_name("asyncio_board.py")
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EstServer]:
    config = ServerConfig(
        directory=tmp_path / "ca", port=0, auth="basic", users={"board": "secret"}
    )
    with running_server(config) as running:
        yield running


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(server: EstServer, tmp_path: Path, runtime: str, program: Callable[[str], Program]) -> Run:
    """Runs the application; returns what it prints."""

    root = x509.load_pem_x509_certificate(server.ca_pem.read_bytes())

    def run(**changes: Any) -> dict[str, Any]:
        state = tmp_path / "state"
        state.mkdir(exist_ok=True)
        config = {
            "url": server.url,
            "anchors": [root.public_bytes(Encoding.DER).hex()],
            "state": str(state),
            "user": "board",
            "password": "secret",
            "renewals": 1,
            **changes,
        }
        environment = dict(os.environ)
        if runtime == "cpython":
            command = [sys.executable, str(Path(cpython.__file__)), str(BOARD)]
        else:
            found = program(runtime)
            command = [*found.argv, str(BOARD)]
            environment.update(found.env, MICROPYPATH=f"{cpython.firmware()}:.frozen")
        done = subprocess.run(
            command,
            input=json.dumps(config) + "\n",
            capture_output=True,
            text=True,
            env=environment,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found_: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found_

    return run


def test_other_tasks_go_on(run: Run, server: EstServer) -> None:
    found = run(renewals=2)
    assert found["generation"] == 3, found
    assert "failed" not in found["events"], found
    # Between two operations on the curve the loop turns at least once.
    assert found["crowded"] == []
    assert len(server.issued()) == 3


def test_others_go_on_while_trust_begins(run: Run, server: EstServer) -> None:
    root = x509.load_pem_x509_certificate(server.ca_pem.read_bytes())
    # Without the pause the answer may be there before it is waited for.
    server.config.faults = {"late@cacerts"}
    found = run(sha256=root.fingerprint(hashes.SHA256()).hex(), at_once=True)
    assert found["generation"] == 2
    assert found["trusted"] > 0
    assert found["crowded"] == []


def test_full_cmc_is_judged_in_turns(run: Run, server: EstServer) -> None:
    found = run(renewals=2, cmc=True)
    assert found["generation"] == 3, found
    assert "failed" not in found["events"], found
    assert found["crowded"] == []


def test_linked_requests_wait_for_tls_in_turns(run: Run, server: EstServer, runtime: str) -> None:
    """Only CPython's TLS has what a request is linked to."""
    server.config.require_pop = runtime == "cpython"
    found = run(renewals=2, linked=True)
    assert found["generation"] == 3, found
    assert "failed" not in found["events"], found
    assert found["slept"] == 0


def test_an_answer_that_drips_holds_nobody(run: Run, server: EstServer) -> None:
    """Half a second lies between two of its octets."""
    server.config.faults = {"slow-drip@simpleenroll"}
    found = run(watch="ordered", seconds=4, renewals=0)
    assert found["generation"] == 0
    assert "failed" not in found["events"], found
    assert found["events"][-1] == 4
    assert found["crowded"] == []


def test_callers_take_turns(run: Run, server: EstServer) -> None:
    found = run(callers=3, renewals=0)
    assert "failed" not in found["events"], found
    renewals, generation, blocking = found["events"][-1]
    assert (renewals, generation) == (3, 4)
    assert "another task has the agent" in blocking
    assert len(server.issued()) == 4


@pytest.mark.parametrize("faults", [set(), {"http-503@simplereenroll"}])
def test_erased_amid_a_renewal(run: Run, server: EstServer, faults: set[str]) -> None:
    """A person who presses a button does not get the identity back, at whatever moment."""
    server.config.faults = faults
    found = run(erase=2, renewals=0)
    outcomes = found["events"][-1]
    assert sum("erased meanwhile" in outcome for outcome, _, _ in outcomes) > 5, outcomes
    for outcome, chain, left in outcomes:
        assert "erased meanwhile" in outcome or outcome in ("renewed", "later"), outcomes
        assert (chain, left) == ([], [None] * 3), outcomes


def test_room_is_made_where_memory_lacks(run: Run) -> None:
    found = run(poor=True, renewals=0)
    assert found["generation"] == 1
    events = found["events"]
    assert events.count("memory") == 1
    assert events.index("memory") < events.index("made room") < events.index("renewed")


def test_cancelled_at_each_await(run: Run, runtime: str, server: EstServer) -> None:
    """Each task is cancelled a turn later than the one before, or some; all have one key."""
    every = 1 if runtime == "micropython" else 9
    found = run(cancel=every, renewals=0)
    # On a machine that has more to do, each answer is there at once.
    assert found["tasks"] > 6 // every, found
    assert found["generation"] == 1
    assert "failed" not in found["events"], found
    keys = {
        x509.load_der_x509_certificate(one.der).public_key().public_bytes(Encoding.DER, _SPKI)
        for one in server.issued()
    }
    assert len(keys) == 1, "a second key for one order"
