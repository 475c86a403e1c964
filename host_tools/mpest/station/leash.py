"""A program that must not outlive who started it: `python leash.py PROGRAM [ARGUMENT]...`.

Standard input is the leash. Where it ends, for the other end was closed or its process killed, the
program is killed, with all that it started in its process group. Else this ends as the program
does, with its exit code, or 128 and the number of the signal that ended it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

CANNOT_RUN = 127


def main(command: list[str]) -> int:
    try:
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    except OSError as error:
        print(f"it cannot be run: {error.strerror}")
        return CANNOT_RUN
    threading.Thread(target=_hold, args=(program.pid,), daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


def _hold(group: int) -> None:
    while os.read(0, 1):
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
