"""Faults: where and how often they strike, and that each has a test."""

from dataclasses import replace
from importlib import import_module
from itertools import combinations
from pathlib import Path

import pytest
from fault_tests import TESTED
from pydantic import ValidationError
from server_client import connect, enroll, make_csr

from mpest.server import ServerConfig, faults
from mpest.server.faults import DESCRIPTIONS
from mpest.server.wire import CERTS_ONLY, Part, Refused, Reply, multipart_reply, wrap


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


@pytest.mark.parametrize("more", [(), ("late",), ("http10", "close"), ("giant-header",)])
async def test_no_retry_after_means_every_answer(server, more):
    server.config.drip_interval = 0.01
    server.config.approve_after = 60
    async with connect(server, max_field_size=99_999) as session:
        for busy, status in ((), 202), (("http-503",), 503):
            for without in ((), ("no-retry-after",)):
                server.config.faults = {*busy, *without, *more}
                found, _, headers = await enroll(session, make_csr())
                assert found == status
                assert ("Retry-After" in headers) == (not without)
                assert ("X-Giant" in headers) == ("giant-header" in more)


CONTEXT = faults.Context("here:1", "/there", 2, lambda text: Refused(401, text))
PLAIN = Reply(200, wrap(b"\x30\x61\x04\x5f" + bytes(95), 64), CERTS_ONLY, (("Retry-After", "1"),))
PARTS = replace(
    multipart_reply([Part("a/b", bytes(99)), Part(CERTS_ONLY, bytes(99))], 64),
    headers=(("Retry-After", "1"),),
)


def wire(reply, active):
    """What goes out in place of `reply`, as far as another answer would differ from it."""
    for instead in faults.pick(faults.INSTEAD, active):
        reply = instead(CONTEXT)
    reply = faults.deliver(faults.spoil(reply, active) if reply.status == 200 else reply, active)
    return reply.script or reply


@pytest.mark.parametrize("reply", [PLAIN, PARTS])
def test_any_two_faults_both_show_or_are_refused(reply):
    tables = (faults.INSTEAD, faults.BODY, faults.NAME, faults.DELIVERY, faults.SCRIPT)
    for one, other in combinations([name for table in tables for name in table], 2):
        base = faults.INSTEAD[one](CONTEXT) if one in faults.INSTEAD else reply
        try:
            faults.check_together({one, other})
        except ValueError:
            continue
        if reply == wire(reply, {one}) or base == wire(base, {other}):
            continue  # one of them is for other answers
        if one == "close" and other in faults.SCRIPT:
            continue  # which closes anyway
        both = wire(reply, {one, other})
        assert both not in (wire(reply, {one}), wire(reply, {other})), (one, other)


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ("http-500 http-503", "can't be combined"),
        ("http-500@cacerts http-503", "can't be combined"),
        ("http-500@cacerts http-503@csrattrs", None),
        ("late slow-drip@cacerts", "can't be combined"),
        ("chunked late", "can't be combined"),
        ("wrong-key wrong-ca", "can't be combined"),
        ("extra-certs reverse-order", "can't be combined"),
        ("tls-expired tls-wrong-ca", "can't be combined"),
        ("raw-der pem-body", "can't be combined"),
        ("wrong-boundary wrong-content-type", "can't be combined"),
        ("http-503 wrong-key", "http-503 leaves nothing that wrong-key could change"),
        ("http-503 wrong-key@simpleenroll", "leaves nothing that wrong-key@simpleenroll could"),
        ("http-503@simpleenroll wrong-key", None),
        ("cut-connection many-headers", "cut-connection leaves nothing that many-headers could"),
        ("cut-after-headers bad-base64", "leaves nothing that bad-base64 could"),
        ("redirect-same-origin bad-base64 late", None),
        ("401-forever digest-no-qop close", None),
        ("late late@cacerts", None),
        ("wrong-key extra-certs bad-base64 http-201 no-retry-after late tls-expired", None),
    ],
)
def test_what_can_be_combined(tmp_path, specs, words):
    config = ServerConfig(directory=tmp_path)
    if words is None:
        config.faults = set(specs.split())
    else:
        with pytest.raises(ValidationError, match=words):
            config.faults = set(specs.split())


async def test_pem_spares_parts(server):
    server.config.faults = {"pem-body"}
    async with connect(server) as session:
        status, text, _ = await enroll(session, make_csr(), "serverkeygen")
    assert status == 200
    assert text.startswith("--")


def test_every_fault_is_tested():
    for file in Path(__file__).parent.glob("test_server_faults_*.py"):
        import_module(file.stem)
    assert set(DESCRIPTIONS) == TESTED
