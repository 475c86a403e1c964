"""One board, from its claim to its commit.

Nothing is done before what it follows from is in the ledger: the claim before the board is
written, the key before its request is sent, the certificate before it is installed. So whatever
is cut, the same board begins anew, here or at another station, and finds the same key, the same
request and the same certificate.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mpest.exits import CliError, Exit
from mpest.flash import application
from mpest.station import certifying, contents, finishing, starting, withdrawing
from mpest.station.authority import Later, Unreachable
from mpest.station.board_run import Bench, BoardRun
from mpest.station.errors import Gone, OtherBoard
from mpest.station.events import Emit
from mpest.station.ledger import record
from mpest.station.ledger.units import (
    LeaseLost,
    LedgerError,
    NotForThisBoard,
    NothingOpen,
    Provisioned,
    QuantityReached,
    ReaderWrong,
    Unit,
)
from mpest.station.link import Link
from mpest.station.outcome import AGAIN, Outcome, Stopped, Waiting
from mpest.station.ports import Port

_EACH_TIME = ("step", "request")
_MAX_LINES = 20  # of a board's life: each browser gets them with each change on the page
_LONGEST = 300.0  # seconds that a Retry-After is obeyed at most, before it is asked again


class Making:
    """The board at the other end of `link`, at `port`."""

    def __init__(
        self,
        bench: Bench,
        port: Port,
        link: Link,
        emit: Emit,
        stopping: Callable[[], bool],
    ) -> None:
        self._run = BoardRun(bench, port, link, emit, stopping)

    @property
    def unit(self) -> Unit | None:
        """What it is in the ledger, once it has been claimed."""
        return self._run.claimed

    def run(self) -> Outcome:
        """Make it, as far as it goes now. Raises nothing that a board, a server, a disk or a
        database can cause."""
        outcome = self._outcome()
        if outcome.kind in ("done", "known"):
            run = self._run
            with contextlib.suppress(LedgerError):  # it is tried again when the board is seen
                withdrawing.withdraw(run.bench, outcome.serial, run.emit)
        if outcome.kind in ("known", "refused") and outcome.serial:
            with contextlib.suppress(LedgerError):
                return replace(outcome, history=self._life(outcome.serial))
        return outcome

    def _life(self, serial: str) -> tuple[dict[str, Any], ...]:
        """What became of a board, without what it went through each time."""
        history = self._run.ledger.history(serial)
        lines = [record.line(event) for event in history if event.event not in _EACH_TIME]
        return tuple(lines[-_MAX_LINES:])

    def _outcome(self) -> Outcome:
        try:
            return self._make()
        except Waiting as error:
            return self._ended("waiting", error, seconds=error.seconds)
        except (Unreachable, Later) as error:
            seconds = min(getattr(error, "seconds", AGAIN), _LONGEST)
            return self._ended("waiting", error, seconds=max(seconds, 1.0))
        except Stopped as error:
            self._release()
            return self._ended("stopped", error)
        except LedgerError as error:
            return self._ended("waiting", error, seconds=AGAIN)
        except (ReaderWrong, QuantityReached, NothingOpen) as error:
            return self._ended("stop", error)
        except Provisioned as error:
            return self._ended("known", error, serial=error.unit.serial)
        except (Gone, OtherBoard) as error:
            self._release()
            return self._ended("unplugged", error)
        except LeaseLost as error:
            return self._ended("refused", error)
        except NotForThisBoard as error:
            if self.unit is None:
                serial = error.units[0].serial if error.units else ""
                return self._ended("refused", error, serial=serial)
            return self._failed(error)
        except CliError as error:
            if self.unit is None and error.exit_code == Exit.NETWORK:  # it may still be starting
                kind = "waiting" if self._run.port.board() else "unplugged"
                return self._ended(kind, error, seconds=AGAIN)
            return self._failed(error)

    def _make(self) -> Outcome:
        run, board = self._run, self._run.board
        starting.check_server(run.bench)
        new = contents.start_blank(run)
        identity = contents.identify(run)
        unit = run.unit = starting.claim(run, identity)
        run.after("wait")
        run.after("identify")
        starting.refuse_interrupted(run)
        identity = contents.write_firmware(run, identity, new=new)
        records = set(application.records(run.job.profile)) & set(identity.files)
        if unit.generation > 1 and not unit.key_hash and records:
            run.run("key", board.forget)  # a rework gives it a new one
            identity = board.identify()
        files = run.files()
        run.run("settings", lambda: contents.install(run, identity, files))
        if identity.provisioned and identity.key_hash == unit.key_hash:
            chain = list(identity.chain)
            if not unit.chain:  # by its own network, and then the station was cut
                run.unit = run.ledger.record_certificate(unit, run.who, chain)
            for step in ("key", "request", "enrol", "install"):
                run.skip(step, "it was done before")
        else:
            chain = certifying.certify(run, files)
        run.run("prove", lambda: board.prove(chain))
        finishing.accept(run, files)
        finishing.label(run)
        run.unit = run.ledger.finish(run.unit, run.who, chain)
        board.leave()
        return self._ended("done", None)

    def _ended(
        self, kind: str, error: CliError | None, *, serial: str = "", seconds: float = 0.0
    ) -> Outcome:
        serial = self.unit.serial if self.unit else serial
        message = error.message if error else ""
        return Outcome(kind, message, serial, self._run.step, seconds)

    def _failed(self, error: CliError) -> Outcome:
        if self.unit is None:
            return self._ended("refused", error)
        run = self._run
        with contextlib.suppress(LedgerError, LeaseLost):  # then the lease ends by itself
            run.ledger.fail(self.unit, run.who, run.step, error.message)
        return self._ended("failed", error)

    def _release(self) -> None:
        if self.unit:
            with contextlib.suppress(LedgerError, LeaseLost):
                self._run.ledger.release(self.unit, self._run.who)
