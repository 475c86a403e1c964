"""What tests of the server's faults share."""

import pytest
from server_client import exchange, get

TESTED = set()


def fault(*names):
    """Run a test, which takes `name` and `server`, with each of these faults."""
    TESTED.update(names)
    return pytest.mark.parametrize("name", names)


async def raw(server):
    """(head, body) of what the server answers to /cacerts."""
    head, _, body = (await exchange(server, get("cacerts"))).partition(b"\r\n\r\n")
    return head.decode(), body
