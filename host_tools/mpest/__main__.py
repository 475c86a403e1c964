"""Starts the `mpest` command: nothing is imported before Ctrl-C is heeded."""

import sys


def run() -> None:
    """The command; Ctrl-C ends it in one line from the first import on."""
    try:
        from mpest.cli import main

        main(prog_name="mpest")
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
