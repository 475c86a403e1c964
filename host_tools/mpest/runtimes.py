"""`python -m mpest.runtimes`, and the names for it: see mpest.toolchain.runtimes."""

from mpest.toolchain.runtimes import Program, RuntimeMissing, find, main, names

__all__ = ["Program", "RuntimeMissing", "find", "main", "names"]

if __name__ == "__main__":
    main(prog_name="python -m mpest.runtimes")
