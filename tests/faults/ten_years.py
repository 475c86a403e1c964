"""Ten simulated years of one board, in worlds that treat it in every way, many seeds of each.

`run(sample, seed)` lets `sample` boards live in each world, and counts. `ten_years.py WORLD SEED`
shows the life of one. What must hold always is in life.py; a world adds what it must come to.
"""

import sys
import traceback
from collections import Counter
from random import Random

import click
import life
from life import DAY, HOUR, TEN_YEARS, Broken

# Boards of each world where the whole is asked for: an hour in all.
_WHOLE = 100
# Of worlds where lives may be as short as an hour, which are 130,000 in ten years.
_WHOLE_SHORT = 8
LIVES = (7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY)

WORLDS = {}


def world(weather):
    """Makes a class a world, by its name."""
    WORLDS[weather.__name__.lower()] = weather
    return weather


class Weather:
    """A world. Everything is drawn by `random`.

    gapless: whether the certificate in use may never end before the next one is.
    whole: boards where the whole is asked for.
    """

    gapless = True
    whole = _WHOLE

    def __init__(self, random):
        self.random = random
        self.years = TEN_YEARS
        self.policy = {}
        self.options = {}

    def begin(self, server, board):
        """What happens when."""

    def end(self, server, board):
        """What must have come about at last; raises Broken."""

    def often(self, board, least, most, function):
        """Call `function()` every so many seconds, to the end but for a calm month."""
        when = self.random.uniform(least, most)
        end = life.START + self.years - 40 * DAY

        def do():
            after = function() or 0
            again = after + self.random.uniform(least, most)
            if board.server.now + again + most < end:
                board.at(again, do)

        board.at(when, do)

    def credential(self, server):
        """Another credential than the certificate: options of a Board."""
        if self.random.random() < 0.5:
            return {"factory": server.factory(), "credentials": None}
        return {}


@world
class Default(Weather):
    """No faults."""

    def begin(self, server, board):
        board.patience = 120

    def end(self, server, board):
        if board.counts["failed"] or board.counts["stranded"] or board.counts["waiting"]:
            raise Broken("nothing fails where there are no faults")


@world
class Network(Weather):
    """Requests and answers get lost, also after a certificate was issued."""

    def __init__(self, random):
        super().__init__(random)
        self.policy = {
            "lifetime": random.choice(LIVES),
            "remembers": random.random() < 0.5,
            "once": random.choice((None, None, "same")),
        }
        self.share = random.choice((0.02, 0.1, 0.3, 0.5))

    def begin(self, server, board):
        board.disturb()

        def unlucky(operation):
            if self.random.random() < self.share:
                return self.random.choice(
                    ("request", "answer", "closed", self.random.randrange(900))
                )

        def down():
            server.down = True
            lasts = self.random.uniform(60, server.lifetime / 20)
            board.at(lasts, up)
            return lasts

        def up():
            server.down = False

        def over():
            server.unlucky = None
            board.calm()

        server.unlucky = unlucky
        self.often(board, 5 * DAY, 200 * DAY, down)
        board.at(self.years - 30 * DAY, over)


@world
class Clocks(Weather):
    """The clock jumps ahead by 70 days, to 1970, 2000, 2021 or last year, shows local time."""

    def __init__(self, random):
        super().__init__(random)
        self.policy = {"tls_life": random.choice((None, 90 * DAY))}
        self.bare = random.random() < 0.3

    def begin(self, server, board):
        # Local time is late by half a day.
        board.patience += 14 * HOUR
        if self.bare:
            board.at(DAY / 2, lambda: board.start(credentials=None))

        def jump():
            # Whatever the clock shows, it is right again before the certificate ends.
            lasts = self.random.uniform(HOUR, 20 * DAY)
            kind = self.random.choice(("ahead", "1970", "2000", "2021", "back", "local", "ahead"))
            board.disturb()
            if kind == "ahead":
                board.clock.ahead = 70 * DAY
            elif kind == "back":
                board.clock.ahead = -self.random.uniform(30 * DAY, 400 * DAY)
            elif kind == "local":
                board.clock.ahead = self.random.randrange(-12, 15) * HOUR
                lasts *= 5
                board.calm_since = server.now
            else:
                lasts = min(lasts, self.random.uniform(HOUR, 3 * DAY))
                board.clock.set(int(life.world.time.mktime((int(kind), 1, 1) + (0,) * 6)))
            if self.random.random() < 0.5:
                board.start()
            board.at(lasts, board.calm)
            return lasts

        self.often(board, DAY, 150 * DAY, jump)


@world
class LocalTime(Weather):
    """The clock is wrong by hours, always, and lives are as short."""

    whole = _WHOLE_SHORT

    def __init__(self, random):
        super().__init__(random)
        lifetime = int(HOUR * (10 * DAY / HOUR) ** random.random())
        self.policy = {"lifetime": lifetime, "tls_life": 90 * DAY}

    def begin(self, server, board):
        # After a reset the clock counts, until the server is asked.
        board.patience = 120 + max(server.lifetime / 6, min(HOUR, server.lifetime / 4))
        board.clock.ahead = self.random.choice((-12, -5, -1, 1, 2, 5, 8, 13)) * HOUR
        self.often(board, server.lifetime, 9 * server.lifetime, board.start)


@world
class SetRight(LocalTime):
    """The clock is wrong by hours, is set right, and is wrong again; lives are as short."""

    def begin(self, server, board):
        # Until the next Date the board counts as before.
        board.patience = 26 * HOUR

        def set_clock():
            board.clock.ahead = self.random.choice((0, 0, 0, -12, -5, -1, 1, 2, 5, 8, 13)) * HOUR

        self.often(board, server.lifetime / 2, 9 * server.lifetime, set_clock)


@world
class Silent(Weather):
    """NTP is silent for a year: the clock drifts, or was lost and shows 2021."""

    gapless = False

    def begin(self, server, board):
        board.start(**self.credential(server))
        self.unset = 0

        def silence():
            lasts = 365 * DAY
            if self.random.random() < 0.7 or self.unset:
                # 60 s a day: the board still counts as on time.
                board.clock.drift = self.random.uniform(-60, 60) / DAY
                server.tls_life = self.random.choice((None, 90 * DAY))
            else:
                self.unset += 1
                board.disturb()
                board.clock.set(1609459200)
                lasts = self.random.choice((2 * DAY, 20 * DAY))
                board.start()
            board.at(lasts, board.calm)
            return lasts

        self.often(board, 100 * DAY, 600 * DAY, silence)


@world
class Power(Weather):
    """The power goes at random, also between issue and answer, and between two writes."""

    def __init__(self, random):
        super().__init__(random)
        self.policy = {
            "lifetime": random.choice(LIVES),
            "remembers": random.random() < 0.5,
            "once": random.choice((None, None, "same")),
        }

    def begin(self, server, board):
        board.disturb()
        board.cut_chance = self.random.choice((0.01, 0.05, 0.1))
        self.often(board, HOUR, 60 * DAY, board.start)

        def over():
            board.cut_chance = 0
            board.calm()

        board.at(self.years - 30 * DAY, over)


@world
class Backdating(Weather):
    """The CA backdates by hours, by a day, or by twice what is left of the life."""

    def __init__(self, random):
        super().__init__(random)
        left = random.choice(LIVES)
        back = random.choice((HOUR, 12 * HOUR, DAY, 2 * left, 9 * left))
        self.policy = {"backdate": back, "lifetime": left + back}

    def begin(self, server, board):
        board.patience = 120


@world
class Lifetimes(Weather):
    """Lives from an hour to ten years."""

    whole = _WHOLE_SHORT

    def __init__(self, random):
        super().__init__(random)
        lifetime = int(HOUR * (TEN_YEARS / HOUR) ** random.random())
        self.policy = {"lifetime": lifetime}

    def begin(self, server, board):
        board.patience = 120


@world
class Ahead(Weather):
    """notBefore is ahead, by seconds or a day."""

    def __init__(self, random):
        super().__init__(random)
        self.policy = {
            "lifetime": random.choice(LIVES),
            "backdate": -random.choice((4, random.randrange(1, 300), DAY)),
        }

    def begin(self, server, board):
        board.patience = DAY + 600


@world
class Gone(Weather):
    """The server is gone for months, so that the certificate ends."""

    gapless = False

    def begin(self, server, board):
        kind = self.random.choice(("password", "once", "factory", "expired"))
        if kind == "once":
            server.once = "same"
        elif kind == "factory":
            board.start(factory=server.factory(), credentials=None)
        elif kind == "expired":
            # This server does not mind.
            server.refuse_expired = False
            board.at(DAY, lambda: board.start(credentials=None))
        self.returned = 0

        def down():
            server.down = True
            board.disturb()
            lasts = self.random.uniform(90 * DAY, 300 * DAY)
            board.at(lasts, up)
            return lasts + 2 * DAY

        def up():
            server.down = False
            self.returned += 1
            stranded = board.counts["stranded"]
            if kind != "once":
                board.calm()
                return

            def give_help():
                # A person reads `stranded`, and gives another password.
                if not board.works():
                    if board.counts["stranded"] == stranded:
                        raise Broken("stranded is told where nothing can mend it")
                    board.counts["stranded rightly"] += 1
                    server._spent = None
                board.calm()

            board.at(5 * life.LONGEST_WAIT, give_help)

        self.often(board, 100 * DAY, 700 * DAY, down)


@world
class Refusals(Weather):
    """TLS refuses new certificates for some time, or the one in use is revoked."""

    gapless = False

    def __init__(self, random):
        super().__init__(random)
        self.policy = {"lifetime": random.choice(LIVES)}
        self.prompt = random.random() < 0.5

    def begin(self, server, board):
        board.prompt = self.prompt
        board.start(**self.credential(server))
        board.patience += server.lifetime // 24 * 5 // 4

        def refuse():
            if self.random.random() < 0.5:
                # Mended while the old one still works.
                server.refuse_new = True
                lasts = self.random.uniform(HOUR, server.lifetime / 4)
                board.disturb()
                board.at(lasts, mend)
                return lasts
            if board.leaf:
                server.refuse.add(server.issued[board.leaf])
                board.counts["revoked by the CA"] += 1

        def mend():
            server.refuse_new = False
            server.refuse = set()
            board.calm()

        self.often(board, server.lifetime, 5 * server.lifetime, refuse)


@world
class Revoked(Weather):
    """The certificate in use is revoked, and there is no other credential."""

    gapless = False

    def begin(self, server, board):
        server.once = "same"
        board.prompt = self.random.random() < 0.5
        # Each second try is by the certificate.
        board.patience *= 2

        def revoke():
            board.disturb()
            server.refuse.add(server.issued[board.leaf])
            stranded = board.counts["stranded"]

            def give_help():
                if board.counts["stranded"] == stranded:
                    raise Broken("stranded is told where nothing can mend it")
                board.counts["stranded rightly"] += 1
                server._spent = None
                board.calm()

            board.at(35 * DAY, give_help)
            return 40 * DAY

        self.often(board, 90 * DAY, 700 * DAY, revoke)


@world
class Settings(Weather):
    """URL, subject and type of key change on the way."""

    def begin(self, server, board):
        self.key = None
        self.changed = None

        def change():
            options = {}
            number = self.random.randrange(1000)
            kind = self.random.randrange(4)
            if kind != 1:
                options["subject"] = f"CN=board-{number}"
            if kind in (1, 3):
                options["url"] = f"{life.world.URL}/.well-known/est/label{number}"
            if kind in (2, 3):
                options["key"] = self.random.choice(("P-256", "P-384"))
            board.start(**options)
            board.at(life.LONGEST_WAIT, check)

        def check():
            wanted = life.name(board.options["subject"])
            if life.subject(board.leaf) != wanted:
                raise Broken("the settings ask for another subject")
            key = board.options.get("key")
            if key and life.key_type(board.leaf) != key:
                raise Broken("the settings ask for another key")
            board.counts["settings"] += 1

        self.often(board, DAY, 200 * DAY, change)


@world
class Rollovers(Weather):
    """The CA's root is followed by another, every year or so."""

    def begin(self, server, board):
        def roll_over():
            server.roll_over(life.TEN_YEARS)
            board.at(self.random.uniform(40 * DAY, 90 * DAY), lambda: server.present(-1))

        self.often(board, 200 * DAY, 500 * DAY, roll_over)


@world
class Everything(Weather):
    """All that may happen, several at once; then a calm month, in which all comes back."""

    gapless = False

    def __init__(self, random):
        super().__init__(random)
        self.policy = {
            "lifetime": random.choice(LIVES),
            "remembers": random.random() < 0.7,
            "tls_life": random.choice((None, 90 * DAY)),
            "backdate": random.choice((0, HOUR, -5)),
            "wait_polls": random.choice((0, 0, 2)),
        }

    def begin(self, server, board):
        random = self.random
        board.patience += server.lifetime // 24 * 5 // 4 + 8 * HOUR
        if random.random() < 0.3:
            board.start(factory=server.factory())

        def unlucky(operation):
            if random.random() < self.share:
                return random.choice(("request", "answer", "closed", random.randrange(900)))

        def storm():
            board.disturb()
            self.share = random.choice((0, 0.1, 0.4))
            server.unlucky = unlucky
            board.cut_chance = random.choice((0, 0, 0.01, 0.05))
            server.refuse_new = random.random() < 0.2
            server.status = random.choice((None,) * 6 + (500, 503, 403, 400, 429))
            server.date = random.choice((0, 0, 0, None))
            if random.random() < 0.4:
                board.clock.ahead = random.choice((70 * DAY, -40 * DAY, 5 * HOUR, -2 * HOUR))
            if random.random() < 0.1:
                board.clock.set(1609459200)
            if random.random() < 0.2:
                server.down = True
            if random.random() < 0.1 and board.leaf in server.issued:
                server.refuse.add(server.issued[board.leaf])
            if random.random() < 0.2:
                board.start(subject=f"CN=board-{random.randrange(1000)}")
            elif random.random() < 0.5:
                board.start()
            lasts = random.uniform(HOUR, random.choice((DAY, DAY, 100 * DAY)))
            if board.clock.time() < life.START:
                lasts = min(lasts, 3 * DAY)
            board.at(lasts, over)
            return lasts

        def over():
            server.unlucky = None
            server.refuse_new = server.down = False
            server.refuse = set()
            server.status = None
            server.date = 0
            board.cut_chance = 0
            board.calm()

        self.often(board, 5 * DAY, 60 * DAY, storm)


def ten_years(name, seed, tell=None, orders=None):
    """Counts of one board in the world of that name. orders: end after about so many."""
    random = Random(f"{name} {seed}")
    weather = WORLDS[name](random)
    server = life.Server(seed=f"{name} {seed}", **weather.policy)
    if orders:
        weather.years = min(weather.years, max(orders * server.lifetime * 2 / 3, 100 * DAY))
        weather.years = min(weather.years, max(orders * server.lifetime * 2 / 3, 2 * DAY))
    board = life.Board(server, f"{name} {seed}", **weather.options)
    board.tell = tell and (lambda *told: tell(server.now - life.START, *told))
    weather.begin(server, board)
    try:
        board.live(weather.years)
        weather.end(server, board)
        if weather.gapless and board.counts["gap"] > 1:
            raise Broken(f"a certificate ends {board.counts['gap']:.0f} s before the next is used")
        if board.calm_since is not None and not board.works():
            raise Broken("an identity outlives everything: there is none")
    except Broken as error:
        error.add_note(f"{(server.now - life.START) / DAY:.3f} days on")
        raise
    board.counts["boards"] = 1
    board.counts["years"] = weather.years / life.YEAR
    return board.counts


def run(sample=None, seed=1, worlds=None, orders=None):
    """{"counts": {world: {name: count}}, "failures": [text]} of `sample` boards in each world.

    orders: a life ends after about so many certificates; None for ten years in any case.
    """
    counts = {}
    failures = []
    with life.laboratory():
        for name in worlds or WORLDS:
            total = counts[name] = Counter()
            for number in range(seed, seed + (sample or WORLDS[name].whole)):
                try:
                    found = ten_years(name, number, orders=orders)
                except Broken as error:
                    total["broken"] += 1
                    ended = f" --orders {orders}" if orders else ""
                    failures.append(
                        f"{error}; {error.__notes__[0]}; tests/faults/ten_years.py {name} {number}"
                        + ended
                    )
                    continue
                life.add(total, found)
    return {"counts": {name: dict(found) for name, found in counts.items()}, "failures": failures}


# Columns of a table: what they are called, and of which counts.
_COLUMNS = {
    "boards": "boards",
    "years": "years",
    "orders": "orders",
    "identities": "identities",
    "given up": "ended",
    "failed": "failed",
    "cuts": "power cuts",
    "aside": "aside",
    "unproven": "unproven at the end",
    "gaps": "gaps",
    "stranded": "stranded",
    "broken": "broken",
}


def table(counts):
    """A row of a table of the counts of a world."""
    return {title: round(counts.get(name, 0)) for title, name in _COLUMNS.items()}


@click.command()
@click.argument("name", type=click.Choice(list(WORLDS)))
@click.argument("seed", type=int)
@click.option("--orders", type=int)
def main(name, seed, orders):
    """Show the life of one board."""

    def tell(seconds, event, detail):
        click.echo(f"{seconds / DAY:12.5f} {event} {str(detail)[:200]}")

    with life.laboratory():
        try:
            counts = ten_years(name, seed, tell, orders)
        except Broken:
            traceback.print_exc()
            sys.exit(1)
    click.echo(counts)


if __name__ == "__main__":
    main()
