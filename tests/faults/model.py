"""The state table, searched: answers, faults, cuts and restarts in any order.

Each rule of the machine is one thing that may happen between two steps of the agent, or in the
next one. After each step life.Board checks the rules of the design; in the end all is mended, and
the board must come back to a working identity by itself.

`run` has hypothesis draw what happens. `search` has a board go through each series of events of a
length, from each of STARTS. `walk` lets one go through forty that are drawn by a seed.
"""

import contextlib
import itertools
import sys
from collections import Counter
from random import Random

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
FAULTS = ("request", "answer", "closed", 0, 12, 200, 700)
STATUSES = (202, 400, 401, 403, 404, 429, 500, 503)
LIVES = (6 * HOUR, 7 * DAY, 90 * DAY)
SHARES = (0, 1 / 24, 1 / 3, 2 / 3, 0.95, 1.1)
CLOCKS = (70 * DAY, -40 * DAY, 5 * HOUR, -2 * HOUR, "2000", "2021")
LABELS = ("", "/.well-known/est/other")
# What a board begins with.
POLICY = {
    "lifetime": LIVES,
    "backdate": (0, HOUR, 20, -5),
    "remembers": (False, True),
    "once": (None, "same"),
    "polls": (0, 0, 2),
    "factory": (False, True),
    "tls_life": (None, 90 * DAY),
}
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

    @initialize(**{name: st.sampled_from(values) for name, values in POLICY.items()})
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

    @rule(share=st.sampled_from(SHARES))
    def step_when_it_likes(self, share):
        """Sooner or later, as an application or a reset has it."""
        self._step(share * self.server.lifetime)

    @rule(fault=st.sampled_from(FAULTS), after=st.integers(0, 3))
    def step_on_a_bad_network(self, fault, after):
        self.faults = [None] * after + [fault]
        self._step(self.wake)
        self.faults = []

    @rule(after=st.integers(0, 30))
    def step_until_the_power_goes(self, after):
        self.board.cut_next = after
        self._step(self.wake)
        self.board.cut_next = None

    @rule(status=st.sampled_from(STATUSES))
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

    @rule(error=st.sampled_from(CLOCKS))
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

    @rule(label=st.sampled_from(LABELS))
    def other_url(self, label):
        self.board.start(url=life.world.URL + label)
        self.wake = 0

    @precondition(lambda self: len(self.server.roots) < 4)
    @rule(shown=st.booleans())
    def the_root_is_followed(self, shown):
        self.server.roll_over(life.TEN_YEARS)

    def reach(self, start):
        """Come to one of STARTS."""
        server, board = self.server, self.board
        place, _, first = start.partition(", ")
        if not first:
            board.live(DAY)
        if place in ("due", *STATES, "aside") and not first:
            board.live(board.agent.known.renew_at(server.now) - server.now)
        if place == "waiting":
            server.wait_polls = 2
        server.backdate = -5 * (place == "answered")
        server.refuse_new = place == "aside"
        if place == "refused":
            self.the_certificate_is_revoked()
            board.live(4 * DAY)
        if place == "ended":
            server.down = True
            board.live(server.lifetime)
            server.down = False
        if place == "made":
            usual, server.unlucky = server.unlucky, lambda operation: _LOST.get(operation)
        for _ in range(20):
            if not self._is_at(place):
                self._step(self.wake)
        if place == "made":
            server.unlucky = usual
        server.backdate = 0
        server.refuse_new = False
        if not self._is_at(place):
            raise life.Broken(f"{start} is not to be reached, but {board.state()}")

    def _is_at(self, place):
        board = self.board
        if place in STATES:
            return board.state() == place
        return {
            "aside": board.state() == "none, aside",
            "refused": board.agent.refusals >= 6,
        }.get(place, True)

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


STATES = ("made", "waiting", "answered", "candidate")
# Where a search begins. With "first" there is no identity.
STARTS = (
    "none, first",
    "made, first",
    "waiting, first",
    "answered, first",
    "idle",
    "due",
    *STATES,
    "aside",
    "refused",
    "ended",
)
# By which it comes to "made".
_LOST = {"simpleenroll": "request", "simplereenroll": "request"}


def _events():
    # {name: (method, arguments)} of all that may happen.
    for method, *lists in (
        ("step",),
        ("step_when_it_likes", SHARES),
        ("step_on_a_bad_network", FAULTS, range(4)),
        ("step_until_the_power_goes", range(24)),
        ("step_where_it_is_refused", STATUSES),
        ("step_without_a_server",),
        ("new_certificates_are", (False, True)),
        ("old_refusals_are_forgotten",),
        ("the_certificate_is_revoked",),
        ("the_clock_goes_wrong", CLOCKS),
        ("the_clock_is_set",),
        ("the_server_says_its_date", (0, None)),
        ("reset",),
        ("other_subject", (2, 3)),
        ("other_url", LABELS),
        ("the_root_is_followed", (True,)),
    ):
        for arguments in itertools.product(*lists):
            name = " ".join(str(one) for one in arguments)
            yield f"{method} {name}".strip(), (method, arguments)


EVENTS = dict(_events())
# Of which a longer series is made.
_FEW = (
    "step",
    "step_when_it_likes 1.1",
    "step_on_a_bad_network answer 1",
    "step_on_a_bad_network closed 0",
    "step_until_the_power_goes 5",
    "step_until_the_power_goes 14",
    "step_where_it_is_refused 403",
    "step_where_it_is_refused 404",
    "step_without_a_server",
    "new_certificates_are True",
    "the_certificate_is_revoked",
    "the_clock_goes_wrong 6048000",
    "the_clock_goes_wrong -7200",
    "the_clock_is_set",
    "reset",
    "other_subject 2",
)
# How long a series is, and of which events, where the whole is asked for.
DEPTHS = {1: tuple(EVENTS), 2: tuple(EVENTS), 3: _FEW}
# The one board of each series; what differs is drawn for walks.
_USUAL = {name: values[0] for name, values in POLICY.items()} | {"lifetime": 90 * DAY}


def series(machine, start, names):
    """Let the board of a new machine go from one of STARTS through events of these names."""
    try:
        if start:
            machine.begin(**_USUAL)
            machine.reach(start)
        for name in names:
            method, arguments = EVENTS[name]
            possible = method != "the_certificate_is_revoked" or (
                machine.board.leaf in machine.server.issued
            )
            if possible and (method != "the_root_is_followed" or len(machine.server.roots) < 4):
                getattr(machine, method)(*arguments)
    finally:
        machine.teardown()


def walk(machine, seed, length=_LENGTH):
    """Let the board of a new machine go through so many events."""
    random = Random(seed)
    machine.begin(**{name: random.choice(values) for name, values in POLICY.items()})
    # Each kind as often as another.
    kinds = {}
    for name, (method, _) in EVENTS.items():
        kinds.setdefault(method, []).append(name)
    series(machine, None, [random.choice(random.choice([*kinds.values()])) for _ in range(length)])


def _totals():
    # A class of its own keeps the totals.
    return type("Life", (Life,), {"counts": Counter(), "moves": Counter()})


def search(depth, sample=None, seed=1):
    """(counts, failures) of all series so long, or of a sample, from each of STARTS."""
    machine = _totals()
    failures = []
    for start in STARTS:
        listed = itertools.product(DEPTHS[depth], repeat=depth)
        if sample:
            random = Random(f"{seed} {start}")
            listed = [random.choices(DEPTHS[depth], k=depth) for _ in range(sample)]
        for names in listed:
            again = " ".join(f'"{one}"' for one in (start, *names))
            _count(failures, f"model.py series {again}", series, machine(), start, names)
    return machine.counts, failures


def walks(sample=None, seed=1):
    """(counts, failures) of `sample` walks, from that of `seed` on."""
    machine = _totals()
    failures = []
    for number in range(seed, seed + (sample or _WHOLE)):
        _count(failures, f"model.py walk {number}", walk, machine(), number)
    return machine.counts, failures


def _count(failures, again, function, *arguments):
    try:
        function(*arguments)
    except life.Broken as error:
        failures.append(f"{error}; tests/faults/{again}")


# Columns of a table: what they are called, and of which counts.
_COLUMNS = {
    "boards": "boards",
    "steps": "steps",
    "orders": "orders",
    "identities": "identities",
    "failed": "failed",
    "cuts": "power cuts",
    "aside": "aside",
    "gaps": "gaps",
    "stranded": "stranded",
}


def table(counts):
    """A row of a table of the counts of a search."""
    return {title: counts[name] for title, name in _COLUMNS.items()}


def run(sample=None, seed=1, length=_LENGTH):
    """Counts of `sample` boards: what happened, and {"from > to": how often}."""
    machine = _totals()  # where hypothesis keeps the seed
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


@click.group()
def main():
    """Search for what breaks a rule."""


def _told():
    # A machine whose board tells what happens.
    class Told(_totals()):
        def begin(self, **policy):
            super().begin(**policy)
            click.echo(policy)
            self.board.tell = lambda name, detail: click.echo(
                f"{(self.server.now - life.START) / DAY:12.5f} {name} {str(detail)[:200]}"
            )

    return Told()


@main.command("series")
@click.argument("start", type=click.Choice(STARTS))
@click.argument("names", nargs=-1, type=click.Choice(list(EVENTS)))
def _series(start, names):
    """One series of events, and all that happens."""
    series(_told(), start, names)


@main.command("walk")
@click.argument("seed", type=int)
def _walk(seed):
    """One walk, and all that happens."""
    walk(_told(), seed)


@main.command("run")
@click.option("--sample", default=100, show_default=True)
@click.option("--seed", default=1, show_default=True)
def _run(sample, seed):
    """Have hypothesis search, and count."""
    found = run(sample, seed)
    moves = found.pop("moves")
    for name, count in [*found.items(), *moves.items()]:
        click.echo(f"{name}: {count}")


if __name__ == "__main__":
    sys.exit(main())
