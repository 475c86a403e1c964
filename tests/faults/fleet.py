"""A fleet of boards made on one day: how evenly they come to renew, also after an outage.

Each board's life is a loop over its renewals. When the next one is due, est.schedule and
est.identity say, as shipped; how a board that finds no server comes back, est.duty. What is
counted are renewals, by the day on which the server issued; the day on which the boards are made
is not among them. The mean is that of all days on which the fleet exists.
"""

import hashlib
import itertools
import sys
from collections import Counter
from random import Random
from typing import ClassVar

import click
import life
from life import DAY

from est import duty
from est.errors import PeerError

BOARDS = 100000
YEARS = 5
LIFETIME = 90 * DAY
OUTAGE = 5 * DAY
# Days after the boards were made.
OUTAGE_AFTER = 400
# The busiest day of each span, of the mean, at most. The day on which an outage ends has its own.
_MOST = {"before the outage": 1.2, "next cycle": 1.5, "from then on": 1.2}
_SPANS = (*_MOST, "the day it ends and the next")
# What heads a table.
_SHORT = {
    "seed": "seed",
    "outage after": "outage",
    "boards": "boards",
    "days": "days",
    "renewals": "renewals",
    "certificates per board and year": "spent",
    "mean a day": "mean",
    "before the outage": "before",
    "next cycle": "next",
    "from then on": "then",
    "the day it ends and the next": "back",
}


class _Nothing:
    # What est.duty asks of an agent's store: there is no order at hand, and nothing is kept.
    damaged = False

    @staticmethod
    def load(name, least=-1):
        return None

    @staticmethod
    def save(name, payload):
        pass


class _Order:
    # What est.duty.memo asks of an order.
    meta: ClassVar = {}


class Fleet:
    def __init__(self, seed, lifetime):
        self.random = Random(seed)
        self.lifetime = lifetime
        self.server = life.Server(seed=seed)
        # One agent lends its law to all boards.
        self.agent = life.Board(self.server, seed).agent
        self.agent.on_event = None
        self.agent._start()
        self.agent.store = _Nothing()

    def issue(self, leaf, now, failures):
        """When the certificate issued now is renewed. failures: how often the board came for it
        in vain. The agent has the one before."""
        agent = self.agent
        agent.failures = failures
        self.server.now = now
        meta = {"not_before": int(now), "not_after": int(now) + self.lifetime, "issued": int(now)}
        meta.update(duty.memo(agent, _Order, leaf))
        agent.known.take([meta, b"", leaf])
        return agent.known.renew_at(now)

    def back_off(self, now, end):
        """(when a board that came at `now` finds the server, which is back at `end`; how often it
        came in vain)."""
        agent = self.agent
        agent.failures = 0
        while now < end:
            self.server.now = now
            agent.failures += 1
            now += duty.failed(agent, PeerError("cannot reach the server"))
        return now, agent.failures

    def board(self, number, until, outage):
        """Yields the times at which one board renews."""
        unique = hashlib.sha256(b"%d %d" % (number, self.random.getrandbits(64))).digest()
        life.machine.unique_id = lambda: unique
        self.agent.known.take([])
        when = life.START + self.random.random() * DAY
        failures = 0
        for count in itertools.count():
            leaf = unique + count.to_bytes(4, "big")
            when = self.issue(leaf, when, failures)
            failures = 0
            if outage and outage[0] <= when < outage[1]:
                when, failures = self.back_off(when, outage[1])
            if when >= until:
                return
            yield when


def run(boards=BOARDS, years=YEARS, outage_after=OUTAGE_AFTER, seed=1, lifetime=LIFETIME):
    """Counts, for a fleet of so many boards.

    outage_after: days until the server is gone for five days; 0 for never.
    """
    days = int(years * 365.25)
    outage = None
    if outage_after:
        begin = life.START + outage_after * DAY
        outage = begin, begin + OUTAGE
    load = Counter()
    with life.laboratory():
        fleet = Fleet(seed, lifetime)
        until = life.START + days * DAY
        for number in range(boards):
            for when in fleet.board(number, until, outage):
                load[int(when - life.START) // DAY] += 1
    total = sum(load.values())
    mean = total / days
    found = {
        "seed": seed,
        "outage after": outage_after,
        "boards": boards,
        "days": days,
        "renewals": total,
        "certificates per board and year": (total + boards) / boards / years,
        "mean a day": mean,
    }
    # A cycle is the longest time between two renewals.
    cycle = lifetime * 2 // 3 // DAY + 1
    back = outage and outage_after + OUTAGE // DAY
    spans = {
        "before the outage": (0, outage_after or days),
    }
    if outage:
        spans["the day it ends and the next"] = (back, back + 2)
        spans["next cycle"] = (back + 2, back + 2 + cycle)
        spans["from then on"] = (back + 2 + cycle, days)
    for name, (begin, end) in spans.items():
        day = max(range(begin, end), key=lambda day: load[day])
        found["busiest day, " + name] = load[day] / mean
    return found


def over(found):
    """Failures among the counts of `run`, with the command that repeats them."""
    again = "; tests/faults/fleet.py --boards {boards} --outage-after {outage after} --seed {seed}"
    # Few boards come unevenly by chance.
    slack = 0 if found["boards"] >= BOARDS else 5 / found["mean a day"] ** 0.5
    for span, most in _MOST.items():
        share = found.get("busiest day, " + span, 0)
        if share > most + slack:
            yield f"busiest day, {span}: {share:.3f} of the mean" + again.format_map(found)


def table(found):
    """A row of a table of the counts of `run`."""
    row = {_SHORT[name]: value for name, value in found.items() if name in _SHORT}
    for span in _SPANS:
        row[_SHORT[span]] = found.get("busiest day, " + span)
    return {
        name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()
    }


@click.command()
@click.option("--boards", default=BOARDS, show_default=True)
@click.option("--outage-after", default=OUTAGE_AFTER, show_default=True, help="Days; 0 for none.")
@click.option("--seed", default=1, show_default=True)
def main(boards, outage_after, seed):
    """Count the renewals of a fleet."""
    for name, value in run(boards, outage_after=outage_after, seed=seed).items():
        click.echo(f"{name}: {round(value, 3)}")


if __name__ == "__main__":
    sys.exit(main())
