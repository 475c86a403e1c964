"""Ways to run programs of others, and checks that OpenSSL makes."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import deployed
import pytest

from mpest import runtimes

Find = Callable[[str], runtimes.Program]


def run(*command: object, **options: object) -> str:
    """Output of a program that must succeed, standard error included."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=110,
        **{"stdin": subprocess.DEVNULL, **options},
    )
    output = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{command[0]} exited with {done.returncode}:\n{output}"
    return output


@pytest.fixture(scope="session")
def openssl() -> Callable[..., str]:
    """Runs the openssl command."""

    def openssl(*arguments: object) -> str:
        return run("openssl", *arguments)

    return openssl


@pytest.fixture
def check_pair(openssl: Callable[..., str]) -> Callable[[Path, Path, Path], None]:
    """Has OpenSSL check a certificate and its key."""

    def check(ca: Path, certificate: Path, key: Path) -> None:
        openssl("verify", "-purpose", "sslclient", "-CAfile", ca, certificate)
        openssl("pkey", "-in", key, "-noout", "-check")
        certified = openssl("x509", "-in", certificate, "-noout", "-pubkey")
        assert certified == openssl("pkey", "-in", key, "-pubout")

    return check


@pytest.fixture(scope="session")
def run_program(program: Find) -> Callable[..., str]:
    """Runs a program by name, with `env` on top of the environment; gives its output."""

    def run_program(name: str, *arguments: object, env: dict[str, str] | None = None) -> str:
        found = program(name)
        return run(*found.argv, *arguments, env={**os.environ, **found.env, **(env or {})})

    return run_program


@pytest.fixture
def machine() -> Iterator[Callable[..., deployed.Machine]]:
    """Makes a Machine, whose folder other users may enter."""
    with deployed.maker() as make:
        yield make
