"""What the line tells while it works: dictionaries, which --json prints one a line.

| event | fields |
|---|---|
| page | url, of the operator's page |
| line | batch, station, operator, units (0: as they come) |
| port | port, device, state: free, here, gone |
| step | port, serial, step, outcome: begun, done, again, failed, skipped; seconds, message |
| progress | port, serial, step, fraction: 0 to 1 |
| board | port, serial, outcome: a kind of outcome.Outcome; step, message, seconds; history |
| operator | operator: who works here from now on; "" where somebody is to say so |
| scan | port, state: wanted (the next scan is for the board there), turn (others first), over |
| decision | serial, operator; what was decided on the page: rework, scrap, label; label |
| revoke | port, serial, number: of a replaced certificate; outcome: done, left; message |
| note | port, message |
| stop | message |
| counts | quantity, open, working, failed, done, rework, aside, first_pass, labels: boards |
| end | message, and what counts has |
| lost | count: events that nobody read in time, on standard output alone |

history: of a board that is left alone, oldest first, as ledger.record.line has each.
"""

from collections.abc import Iterable
from typing import Any, Protocol

Event = dict[str, Any]


class Emit(Protocol):
    def __call__(self, event: str, /, **fields: Any) -> None: ...


def each(emits: Iterable[Emit]) -> Emit:
    """One that tells all that there are by then."""

    def emit(event: str, /, **fields: Any) -> None:
        for one in emits:
            one(event, **fields)

    return emit
