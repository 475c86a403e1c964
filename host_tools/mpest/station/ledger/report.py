"""The report of a batch: one HTML page without scripts or anything from elsewhere."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.record import moment
from mpest.station.ledger.units import Counts, Event

STEPS = (
    *("wait", "identify", "firmware", "settings", "key", "request"),
    *("enrol", "install", "prove", "accept", "label"),
)
"""In the order in which a board goes through them."""

# Of bars: in the units of the drawing, which the page scales.
_WIDTH = 600
_HIGHEST = 120
# A week of hours; an older batch shows its last ones, and says so.
_MAX_HOURS = 168
_MAX_REASONS = 20


@dataclass(frozen=True)
class Bar:
    """A row of a drawing. length: in its units."""

    name: str
    text: str
    length: float


def bars(rows: Sequence[tuple[str, float, str]], longest: float = _WIDTH) -> list[Bar]:
    """Of (name, value, value as text): the highest value has the full length."""
    highest = max((value for _, value, _ in rows), default=0) or 1
    return [Bar(name, text, round(longest * value / highest, 1)) for name, value, text in rows]


def report(ledger: Ledger, batch: str, now: datetime) -> str:
    """The page. Raises CliError where there is no such batch."""
    counts = ledger.counts(batch)
    (row,) = [one for one in ledger.batches() if one.name == batch]
    events = ledger.history(batch=batch)
    environment = Environment(
        loader=PackageLoader("mpest.station.ledger"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        batch=row,
        opened=moment(row.opened),
        made=moment(now),
        counts=counts,
        **_yield(counts),
        failures=_failures(events),
        reasons=_reasons(events),
        seconds=_seconds(events),
        stations=_stations(events),
        hours=_hours(events),
        highest=_HIGHEST,
        width=_WIDTH,
    )


def _yield(counts: Counts) -> dict[str, Any]:
    """Of the boards that were begun: how many were done, and how many at once."""
    begun = counts.made + counts.aside + counts.scrapped
    return {
        "begun": begun,
        "first_pass": _percent(counts.first_pass, begun),
        "final": _percent(counts.done, begun),
    }


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none yet"


def _in_order(steps: Counter[str] | dict[str, Any]) -> list[str]:
    known = [step for step in STEPS if step in steps]
    return known + sorted(steps.keys() - set(known))


def _failures(events: Sequence[Event]) -> list[Bar]:
    steps = Counter(event.step for event in events if event.event == "fail")
    return bars([(step, steps[step], str(steps[step])) for step in _in_order(steps)])


def _reasons(events: Sequence[Event]) -> list[tuple[str, str, int]]:
    """(step, reason, how often) of the most frequent failures."""
    reasons = Counter((event.step, event.outcome) for event in events if event.event == "fail")
    return [(*key, number) for key, number in reasons.most_common(_MAX_REASONS)]


def _seconds(events: Sequence[Event]) -> list[tuple[Bar, str, str, int]]:
    """(bar of the median, 95th percentile, longest, how often) of each step that was done."""
    times = defaultdict(list)
    for event in events:
        if event.event == "step" and event.outcome == "done" and event.seconds is not None:
            times[event.step].append(event.seconds)
    medians = [(step, statistics.median(times[step])) for step in _in_order(times)]
    rows = []
    for bar in bars([(step, median, f"{median:.2f} s") for step, median in medians]):
        taken = times[bar.name]
        rows.append((bar, f"{_percentile(taken):.2f} s", f"{max(taken):.2f} s", len(taken)))
    return rows


def _percentile(values: list[float]) -> float:
    """The 95th."""
    return sorted(values)[min(len(values) - 1, round(0.95 * len(values)))]


def _stations(events: Sequence[Event]) -> list[tuple[Bar, int, str]]:
    """(bar of the boards done, failed runs, seconds of steps for each board done)."""
    done, failed = Counter[str](), Counter[str]()
    spent: defaultdict[str, float] = defaultdict(float)
    for event in events:
        done[event.station] += event.event == "finish"
        failed[event.station] += event.event == "fail"
        if event.event == "step" and event.seconds is not None:
            spent[event.station] += event.seconds
    names = [station for station in sorted(done) if done[station] or failed[station]]
    each = [f"{spent[name] / done[name]:.1f} s" if done[name] else "" for name in names]
    drawn = bars([(name, done[name], str(done[name])) for name in names])
    return [(bar, failed[bar.name], seconds) for bar, seconds in zip(drawn, each, strict=True)]


def _hours(events: Sequence[Event]) -> list[tuple[str, int, int, float, float]]:
    """(hour in UTC, boards done, failed runs, height of both) of each hour in which something
    ended, oldest first.
    """
    done, failed = Counter[datetime](), Counter[datetime]()
    for event in events:
        if event.event in ("finish", "fail"):
            hour = event.at.replace(minute=0, second=0, microsecond=0)
            done[hour] += event.event == "finish"
            failed[hour] += event.event == "fail"
    hours = sorted(done)[-_MAX_HOURS:]
    highest = max((done[hour] + failed[hour] for hour in hours), default=0) or 1
    scale = _HIGHEST / highest
    return [
        (
            f"{hour:%Y-%m-%d %H}:00",
            done[hour],
            failed[hour],
            round(done[hour] * scale, 1),
            round(failed[hour] * scale, 1),
        )
        for hour in hours
    ]
