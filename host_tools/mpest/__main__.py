"""Starts the `mpest` command: nothing is imported before Ctrl-C is heeded."""

import sys


def run() -> None:
    """The command; Ctrl-C and a full disk end it in one line from the first import on."""
    try:
        from mpest.cli import main

        main(prog_name="mpest")
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        # Without a file's name it is standard output that failed.
        what = error.filename or "cannot write the output"
        print(f"Error: {what}: {error.strerror or error}", file=sys.stderr)
        sys.exit(7)


if __name__ == "__main__":
    run()
