"""Makes boards until the ledger can't be written, then says how many, and why not more."""

import resource
import sys

from ledger_boards import Authority, board, make

from mpest.exits import CliError
from mpest.station.ledger.ledger import Ledger


def main() -> None:
    path, limit = sys.argv[1:]
    authority = Authority()
    with Ledger(path) as ledger:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
        for number in range(1000):
            try:
                make(ledger, "one", board(f"{number + 1:08x}"), authority)
            except CliError as error:
                print(number, flush=True)
                sys.exit(f"{error.exit_code} {error.message}")


if __name__ == "__main__":
    main()
