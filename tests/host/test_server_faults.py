"""Faults: where and how often they strike, and that each has a test."""

from importlib import import_module
from pathlib import Path

import pytest
from fault_tests import TESTED
from pydantic import ValidationError
from server_client import connect, enroll, make_csr

from mpest.server import ServerConfig
from mpest.server.faults import DESCRIPTIONS


async def test_fault_for_one_operation(server):
    server.config.faults = {"http-500@simpleenroll"}
    async with connect(server) as session:
        async with session.get("cacerts") as answer:
            assert answer.status == 200
        assert (await enroll(session, make_csr()))[0] == 500


async def test_fault_for_some_requests(server):
    server.config.faults = {"http-503"}
    server.config.fault_times = 2
    async with connect(server) as session:
        statuses = [(await enroll(session, make_csr()))[0] for _ in range(4)]
    assert statuses == [503, 503, 200, 200]


def test_unknown_faults_are_refused(tmp_path):
    config = ServerConfig(directory=tmp_path)
    for spec in ("nonsense", "close@lunch", "tls-expired@cacerts"):
        with pytest.raises(ValidationError):
            config.faults = {spec}


def test_every_fault_is_tested():
    for file in Path(__file__).parent.glob("test_server_faults_*.py"):
        import_module(file.stem)
    assert set(DESCRIPTIONS) == TESTED
