"""`mpest demo`: a board enrols, proves itself and renews, all on this machine."""

import json
import secrets
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from mpest.exits import CliError, Exit
from mpest.relay import running_relay
from mpest.runtimes import RuntimeMissing, find
from mpest.server import EstServer, ServerConfig, running_server
from mpest.sim.board_process import Event, exit_code, run_board
from mpest.sim.words import summary


@click.command()
def demo() -> None:
    """Enrol a simulated board with a test server, step by step."""
    try:
        program = find("micropython")
        runtime = "micropython"
        click.echo(f"Board: MicroPython {program.version} ({program.origin})")
    except RuntimeMissing as error:
        runtime = "cpython"
        click.echo(f"Board: CPython, since MicroPython can't be had: {error.message}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mpest-demo-") as folder:
        password = secrets.token_urlsafe(12)
        config = ServerConfig(
            directory=Path(folder) / "ca",
            port=0,
            auth="basic",
            users={"board": password},
            mtls_probe=True,
        )
        with running_server(config) as server, running_relay(server.port) as relay:
            board = {
                "url": server.url.replace(f":{server.port}/", f":{relay.port}/"),
                "fingerprint": server.fingerprint,
                "subject": "CN=demo-board,O=mpest demo",
                "user": "board",
                "password": password,
            }
            state = Path(folder) / "board"
            click.echo(f"Server: {server.url}, CA sha256:{server.fingerprint}\n")
            serials = []
            for operation, title in (
                ("cacerts", "Bootstrap by fingerprint"),
                ("enroll", "Enrol with a password"),
                ("reenroll", "Renew with the certificate, new key"),
            ):
                click.echo(title)
                bytes_before = relay.sent, relay.received
                event = _step(board, operation, runtime, state, server)
                sent, received = relay.sent - bytes_before[0], relay.received - bytes_before[1]
                click.echo(f"  on the wire, TLS included: {sent} B out, {received} B in")
                if operation != "cacerts":
                    serials.append(event["certificate"]["serial"])
                    _prove(server, state, event["certificate"])
            if len(set(serials)) != 2:
                raise CliError("the renewed certificate is the old one", Exit.NETWORK)
    click.echo(f"\nAll of it worked, in {time.monotonic() - started:.1f} s.")


def _step(
    board: Event,
    operation: str,
    runtime: str,
    state: Path,
    server: EstServer,
) -> Event:
    event_count = len(server.events)
    events = list(run_board({**board, "operations": [operation]}, runtime, state))
    event = events[-1] if events else {"event": "none"}
    if event["event"] == "error":
        click.echo(f"Error: {operation}: {event['message']}", err=True)
        sys.exit(exit_code(event))
    if event["event"] != operation:
        raise CliError(f"{operation} did not end", Exit.NETWORK)
    click.echo("  " + summary(event))
    for request in server.events[event_count:]:
        if request["event"] == "request":
            click.echo("  " + _request(request))
    return event


def _request(request: dict[str, Any]) -> str:
    name = request["path"].rsplit("/", 1)[-1]
    return f"{request['method']:4} {name:15} {request['status']}  {request['tls']}"


def _prove(server: EstServer, state: Path, certificate: Event) -> None:
    """Show the board's certificate to a server that demands one."""
    context = ssl.create_default_context(cafile=str(server.ca_pem))
    context.load_cert_chain(state / "chain.pem", state / "key.pem")
    try:
        with (
            socket.create_connection(("127.0.0.1", server.probe_port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            secured.sendall(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b"".join(iter(lambda: secured.recv(4096), b""))
            version = secured.version()
    except OSError as error:
        raise CliError(
            f"mutual TLS with the new certificate failed: {error}", Exit.NETWORK
        ) from None
    head, _, body = answer.decode().partition("\r\n\r\n")
    if " 200 " not in head.splitlines()[0]:
        raise CliError("the mutual TLS endpoint refused the new certificate", Exit.REFUSED)
    if int(json.loads(body)["serial"], 16) != int(certificate["serial"], 16):
        raise CliError("the mutual TLS endpoint saw another certificate", Exit.NETWORK)
    holder = f"{certificate['subject']}, serial {certificate['serial']}"
    click.echo(f"  proven by mutual TLS ({version}): {holder}")
