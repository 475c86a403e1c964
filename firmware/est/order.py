"""One certificate being had: a record in the store before its first byte is sent.

An order moves only forward, from "made" over "waiting" to "answered"; est.store describes what is
kept, est.agent decides when to go on and with which credential. The kinds of order are the classes
here, est.serverkeygen.ServerKey, est.fullcmc.FullCmc and est.linking.Linked.
"""


class Enrolment:
    """A first certificate, by simpleenroll (RFC 7030 4.2.1).

    meta: dict as est.store describes it. key, request: DER. answer: list of bytes, as it came.
    """

    kind = "simpleenroll"
    # What tells its requests from others of the kind, besides the agent's settings.
    terms = ""
    key = request = b""

    def __init__(self):
        self.meta = {}
        self.answer = []

    def restore(self, items):
        """Be the order of these items of the record."""
        self.meta, self.key, self.request = items[:3]
        self.answer = items[3:]

    def items(self):
        """Items of the record."""
        return [self.meta, self.key, self.request] + self.answer

    def build(self, fetch, log, wanted, leaf, key):
        """Make `key` and `request`, in steps. wanted: (subject, san, eku, extra).

        The rest as in est.request.build.
        """
        from est import request

        self.key, self.request = yield from request.build(fetch, log, wanted, leaf, key)

    def send(self, client):
        """Send `request` over est.client.Client `client`, in steps; leaves the `answer`.

        Raises RetryLater, Refused and what else est.protocol does.
        """
        self.answer = [(yield from client.steps(client.est.answer(self.kind, self.request)))]

    def accept(self, others, anchors, now, log=None):
        """[key, leaf, *intermediates] (DER) that the answer brings, in steps.

        Arguments and errors as in est.verdict.accept; RetryLater where the answer says to wait.
        """
        from est import cms, verdict

        issued = cms.issued(self.answer[0])
        return verdict.accept(issued, others, self.key, anchors, now, log)


class Renewal(Enrolment):
    """A certificate for the names of the one that TLS shows, by simplereenroll (4.2.2)."""

    kind = "simplereenroll"


# What est.agent.Agent takes as `orders`: makers of a first certificate's order and a renewal's.
SIMPLE = (Enrolment, Renewal)
