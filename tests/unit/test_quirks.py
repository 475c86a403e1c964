"""Orders as some servers want them."""

import check
from est import order, quirks, run
from est.errors import Closed, PeerError, Refused, RetryLater, UsageError


class Sent:
    """A request of est.protocol's."""

    def __init__(self, body):
        self.body = body


class FakeClient:
    """Runs an operation, and keeps the bodies that it would send."""

    def __init__(self):
        self.bodies = []

    def steps(self, operation):
        try:
            sent = next(operation)
            while True:
                yield
                self.bodies.append(sent.body)
                sent = operation.send(None)
        except StopIteration as stop:
            return stop.value


class Made(order.Enrolment):
    """An order of three requests."""

    def send(self, client):
        def operation():
            for body in (b"AAAA\nBB==\n", None, b"CC\r\nDD\r\n"):
                yield Sent(body)
            return b"answer"

        self.answer = [(yield from client.steps(operation()))]

    def accept(self, others, anchors, now):
        return check.steps([b"key", b"leaf", b"issuer"])


def test_base64_on_one_line():
    for wrap, bodies in (
        (True, [b"AAAA\nBB==\n", None, b"CC\r\nDD\r\n"]),
        (False, [b"AAAABB==", None, b"CCDD"]),
    ):
        first, renewal = quirks.orders((Made, Made), wrap=wrap)
        for made in (first(), renewal()):
            client = FakeClient()
            steps = client.steps
            run(made.send(client))
            assert client.bodies == bodies
            assert made.answer == [b"answer"]
            assert client.steps == steps
            assert made.one_line != wrap
            assert run(made.accept([], [], 0)) == [b"key", b"leaf", b"issuer"]


def test_the_certificate_alone():
    (made,) = quirks.orders((Made,), single=True)
    assert run(made().accept([], [], 0)) == [b"key", b"leaf"]
    assert made().kind == "simpleenroll"


class Built(order.Enrolment):
    """An order that keeps what the server wants."""

    def build(self, fetch, log, wanted, leaf, key):
        self.attributes = yield from fetch()
        self.given = log, wanted, leaf, key


def test_attributes_are_demanded():
    def fetch(needed=False):
        asked.append(needed)
        if isinstance(answer, Exception):
            raise answer
        return check.steps(answer)

    for wanted in (False, True):
        asked = []
        answer = "attributes"
        first, renewal = quirks.orders((Built, Built), csrattrs=wanted)
        for made in (first(), renewal()):
            run(made.build(fetch, 1, 2, 3, 4))
            assert made.attributes == "attributes" and made.given == (1, 2, 3, 4)
        assert asked == [wanted] * 2
    for answer in (Refused("no", 404), PeerError("no"), Closed("no")):
        error = check.raises(type(answer), run, first().build(fetch, 1, 2, 3, 4))
        assert str(error) == "the csrattrs that are demanded: no"
        assert error.status == getattr(answer, "status", 0)
    answer = RetryLater("no", 7)
    assert check.raises(RetryLater, run, first().build(fetch, 1, 2, 3, 4)) is answer
    # Without the parts that ask for them.
    answer = None
    for given in (fetch, None):
        check.raises(UsageError, run, first().build(given, 1, 2, 3, 4))
