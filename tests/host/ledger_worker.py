"""A worker of a line without boards: makes all boards of a file with others, until all are done.

It prints `working` after its first claims; told to hold, it then waits with them to be killed.
"""

import pickle
import random
import sys
import time
from datetime import timedelta
from pathlib import Path

from ledger_boards import Authority, Board

from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Leased, LeaseLost, Provisioned, Who

HELD = 3


def main() -> None:
    url, batch, path, number, lease, hold = sys.argv[1:]
    boards: list[Board] = pickle.loads(Path(path).read_bytes())
    authority = Authority()
    issued = Path(path).with_suffix(".issued")
    who = Who(f"station-{int(number) % 2}", number, "ann")
    random.Random(int(number)).shuffle(boards)
    length = timedelta(seconds=float(lease))
    with Ledger(url) as ledger:
        if hold == "hold":
            for board in boards[:HELD]:
                unit = ledger.claim(batch, who, board.unique_id, lease=length)
                ledger.record_request(unit, who, board.key_hash, board.csr)
            print("working", flush=True)
            time.sleep(600)
        while boards:
            left = []
            for board in boards:
                try:
                    unit = ledger.claim(batch, who, board.unique_id, lease=length)
                    if len(left) == 0:
                        print("working", flush=True)
                    unit = ledger.record_request(unit, who, board.key_hash, board.csr)
                    if not unit.chain:
                        with issued.open("a") as file:
                            file.write(f"{board.unique_id}\n")
                        chain = authority.issue(board.csr)
                        unit = ledger.record_certificate(unit, who, chain)
                    ledger.step(unit, who, "install", "done", 0.25)
                    ledger.finish(unit, who, unit.chain)
                except Provisioned:
                    continue
                except (Leased, LeaseLost):
                    left.append(board)
            boards = left
            time.sleep(0.1)


if __name__ == "__main__":
    main()
