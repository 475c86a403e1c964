"""The state table, searched by hypothesis: answers, faults, cuts and restarts in any order.

Each rule of the machine is one thing that may happen between two steps of the agent, or in the
next one. After each step life.Board checks the rules of the design; in the end all is mended, and
the board must come back to a working identity by itself.
"""

import contextlib
import sys
from collections import Counter

import click
import hypothesis
import life
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from life import DAY, HOUR

# What a step of the machine is drawn from.
FAULTS = st.sampled_from(("request", "answer", "closed", 0, 12, 200, 700))
STATUSES = st.sampled_from((202, 400, 401, 403, 404, 429, 500, 503))
LIVES = st.sampled_from((6 * HOUR, 7 * DAY, 90 * DAY))
SHARES = st.sampled_from((0, 1 / 24, 1 / 3, 2 / 3, 0.95, 1.1))
CLOCKS = st.sampled_from((70 * DAY, -40 * DAY, 5 * HOUR, -2 * HOUR, "2000", "2021"))
_UNSET = {"2000": 946684800, "2021": 1609459200}
# Examples where the whole is asked for, and what happens in each.
_WHOLE = 3000
_LENGTH = 40


class Life(RuleBasedStateMachine):
    """One board. Totals of all are in `counts` and `moves`."""

    counts = Counter()  # noqa: RUF012
    moves = Counter()  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self._exits = contextlib.ExitStack()
        self._exits.enter_context(life.laboratory())

    @initialize(
        lifetime=LIVES,
        backdate=st.sampled_from((0, HOUR, 20, -5)),
        remembers=st.booleans(),
        once=st.sampled_from((None, "same")),
        polls=st.sampled_from((0, 0, 2)),
        factory=st.booleans(),
        tls_life=st.sampled_from((None, 90 * DAY)),
    )
    def begin(self, lifetime, backdate, remembers, once, polls, factory, tls_life):
        self.server = life.Server(
            lifetime=lifetime + max(backdate, 0),
            backdate=backdate,
            remembers=remembers,
            once=once,
            wait_polls=polls,
            tls_life=tls_life,
        )
        options = {"factory": self.server.factory()} if factory else {}
        self.board = life.Board(self.server, **options)
        self.board.disturb()
        self.once = once
        self.faults = []
        self.server.unlucky = lambda operation: self.faults.pop(0) if self.faults else None
        self.wake = 0

    @rule()
    def step(self):
        """At the time that the agent asked for."""
        self._step(self.wake)

    @rule(share=SHARES)
    def step_when_it_likes(self, share):
        """Sooner or later, as an application or a reset has it."""
        self._step(share * self.server.lifetime)

    @rule(fault=FAULTS, after=st.integers(0, 3))
    def step_on_a_bad_network(self, fault, after):
        self.faults = [None] * after + [fault]
        self._step(self.wake)
        self.faults = []

    @rule(after=st.integers(0, 30))
    def step_until_the_power_goes(self, after):
        self.board.cut_next = after
        self._step(self.wake)
        self.board.cut_next = None

    @rule(status=STATUSES)
    def step_where_it_is_refused(self, status):
        self.server.status = status
        self._step(self.wake)
        self.server.status = None

    @rule()
    def step_without_a_server(self):
        self.server.down = True
        self._step(self.wake)
        self.server.down = False

    @rule(refused=st.booleans())
    def new_certificates_are(self, refused):
        self.server.refuse_new = refused

    @rule()
    def old_refusals_are_forgotten(self):
        self.server.refuse = set()

    @precondition(lambda self: self.board.leaf in self.server.issued)
    @rule()
    def the_certificate_is_revoked(self):
        self.server.refuse.add(self.server.issued[self.board.leaf])

    @rule(error=CLOCKS)
    def the_clock_goes_wrong(self, error):
        if error in _UNSET:
            self.board.clock.set(_UNSET[error])
        else:
            self.board.clock.ahead = error

    @rule()
    def the_clock_is_set(self):
        self.board.clock.right()

    @rule(date=st.sampled_from((0, None)))
    def the_server_says_its_date(self, date):
        self.server.date = date

    @rule()
    def reset(self):
        self.board.start()
        self.wake = 0

    @rule(number=st.integers(1, 3))
    def other_subject(self, number):
        self.board.start(subject=f"CN=board-{number}")
        self.wake = 0

    @rule(label=st.sampled_from(("", "/.well-known/est/other")))
    def other_url(self, label):
        self.board.start(url=life.world.URL + label)
        self.wake = 0

    @precondition(lambda self: len(self.server.roots) < 4)
    @rule(shown=st.booleans())
    def the_root_is_followed(self, shown):
        self.server.roll_over(life.TEN_YEARS)

    def _step(self, sleep):
        self.server.now += max(sleep, 0)
        agent = self.board.agent
        self.wake = self.board.step()
        if self.board.agent is not agent:
            self.wake = 0

    def teardown(self):
        try:
            if hasattr(self, "board"):
                self._mend()
        finally:
            self._exits.close()

    def _mend(self):
        server, board = self.server, self.board
        server.refuse_new = False
        server.refuse = set()
        server.date = 0
        server.wait_polls = 0
        # What a person does who reads `stranded`.
        server._spent = None
        server.once = None
        board.patience += server.lifetime // 12 + 3 * DAY
        board.calm()
        board.live(board.patience + server.lifetime)
        if not board.works():
            raise life.Broken("a way back: there is no identity, and all is well")
        life.add(type(self).counts, board.counts)
        type(self).counts["boards"] += 1
        type(self).moves += board.moves


def run(sample=None, seed=1, length=_LENGTH):
    """Counts of `sample` boards: what happened, and {"from > to": how often}."""
    # A class of its own: hypothesis keeps the seed there, and we the totals.
    machine = type("Life", (Life,), {"counts": Counter(), "moves": Counter()})
    hypothesis.seed(seed)(machine)
    run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=sample or _WHOLE,
            stateful_step_count=length,
            deadline=None,
            database=None,
            print_blob=False,
            phases=(hypothesis.Phase.generate,),
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
    moves = {f"{before} > {after}": count for (before, after), count in machine.moves.items()}
    return {**machine.counts, "moves": dict(sorted(moves.items()))}


@click.command()
@click.option("--sample", default=100, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(sample, seed):
    """Search, and count."""
    found = run(sample, seed)
    moves = found.pop("moves")
    for name, count in [*found.items(), *moves.items()]:
        click.echo(f"{name}: {count}")


if __name__ == "__main__":
    sys.exit(main())
