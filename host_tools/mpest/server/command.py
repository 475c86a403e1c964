"""`mpest serve`: the test server as a command."""

import asyncio
import json
import logging
import signal
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import click
from cryptography import x509
from pydantic import BaseModel

from mpest import settings
from mpest.exits import CliError
from mpest.options import Completed
from mpest.server import faults
from mpest.server.config import ServerConfig
from mpest.server.csrattrs import CsrAttrsPolicy
from mpest.server.policy import Policy
from mpest.server.runner import EstServer, Event
from mpest.server.serverkeygen import ServerKeygenPolicy
from mpest.text import text_of

_Policy = TypeVar("_Policy", bound=BaseModel)

_NEEDS = {"basic": "--users", "digest": "--users", "token": "--token-file"}


def _lifetime(_ctx: click.Context, _param: click.Parameter, value: str) -> timedelta:
    try:
        return settings.lifetime(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _list_faults(ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> set[str]:
    if "help" in values:
        width = max(map(len, faults.DESCRIPTIONS))
        for name, description in sorted(faults.DESCRIPTIONS.items()):
            needed = f" (needs {faults.NEEDS[name]})" if name in faults.NEEDS else ""
            click.echo(f"{name:{width}}  {description}{needed}")
        ctx.exit()
    return set(values)


@click.command()
@click.option(
    "--dir",
    "directory",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the CA lives; made if missing.",
)
@click.option("--port", required=True, type=click.IntRange(0, 65535), help="0 picks a free one.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 is all of this computer.",
)
@click.option(
    "--auth",
    type=click.Choice(["none", "basic", "digest", "token", "mtls"]),
    default="none",
    show_default=True,
    help="What simpleenroll demands.",
)
@click.option("--users", type=click.Path(path_type=Path), help="File of name:password lines.")
@click.option("--token-file", type=click.Path(path_type=Path), help="File of tokens, one a line.")
@click.option(
    "--policy",
    "policy_file",
    type=Completed(list, files=True),
    metavar="FILE",
    help="Who may have what, in TOML or JSON; without it a user NAME may have CN=NAME.",
)
@click.option(
    "--open",
    "is_open",
    is_flag=True,
    help="For a lab: who is let in may have any name but the server's and the CA's.",
)
@click.option(
    "--factory-ca",
    type=click.Path(path_type=Path),
    help="CA certificates (PEM); with --auth mtls theirs enrol too.",
)
@click.option(
    "--approve-after",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="Answer 202 to each new request for so long.",
)
@click.option("--label", help="Serve under /.well-known/est/LABEL/ only.")
@click.option(
    "--fault",
    "fault_specs",
    multiple=True,
    type=Completed(lambda: ["help", *sorted(faults.DESCRIPTIONS)]),
    metavar="NAME[@OPERATION]",
    callback=_list_faults,
    help="Misbehave; several combine, or are refused. --fault help lists the names.",
)
@click.option(
    "--fault-times", type=click.IntRange(1), metavar="N", help="Only for the next N requests."
)
@click.option("--wrap/--no-wrap", default=True, help="Base64 replies in lines of 64, or in one.")
@click.option(
    "--csrattrs",
    type=Completed(lambda: ["default"], files=True),
    metavar="FILE|default",
    help="Policy for /csrattrs in TOML or JSON; without it the answer is 204.",
)
@click.option("--require-pop", is_flag=True, help="Demand tls-unique in each CSR (TLS 1.2).")
@click.option("--enforce-csrattrs", is_flag=True, help="Refuse a CSR that lacks what it asks for.")
@click.option(
    "--serverkeygen",
    type=Completed(list, files=True),
    metavar="FILE",
    help="Policy for /serverkeygen in TOML or JSON; without it keys are not encrypted.",
)
@click.option(
    "--lifetime",
    callback=_lifetime,
    metavar="TIME",
    default="90d",
    show_default=True,
    help="Of the certificates issued.",
)
@click.option("--chain-length", type=click.Choice(["1", "2"]), default="1", show_default=True)
@click.option("--rollover", is_flag=True, help="Start with a new root, linked with the old one.")
@click.option("--cmc-ra", is_flag=True, help="Serve as id-kp-cmcRA (RFC 7030 3.6.1).")
@click.option("--tls-max", type=click.Choice(["1.2", "1.3"]), default="1.3", show_default=True)
@click.option("--crl-url", metavar="URL", help="Put this CRL address into certificates.")
@click.option(
    "--cmc-signer",
    type=click.Choice(["ca", "ra"]),
    default="ca",
    show_default=True,
    help="Who signs the answers of /fullcmc.",
)
@click.option("--mtls-probe", is_flag=True, help="Open a second port for certificate holders.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event on stdout.")
def serve(
    users: Path | None,
    token_file: Path | None,
    policy_file: str | None,
    is_open: bool,
    factory_ca: Path | None,
    fault_specs: set[str],
    wrap: bool,
    csrattrs: str | None,
    serverkeygen: str | None,
    chain_length: str,
    as_json: bool,
    **options: object,
) -> None:
    """Run a test EST server with its own CA until interrupted.

    Not for production: its CA key lies unencrypted in DIR.
    """
    needed = _NEEDS.get(str(options["auth"]))
    if (needed == "--users" and not users) or (needed == "--token-file" and not token_file):
        raise CliError(f"--auth {options['auth']} needs {needed} FILE")
    if users and needed != "--users":
        raise CliError("--users needs --auth basic or digest")
    if token_file and needed != "--token-file":
        raise CliError("--token-file needs --auth token")
    if policy_file and (is_open or options["auth"] == "none"):
        other = "--open" if is_open else "--auth none"
        raise CliError(
            f"--policy says who may have what, {other} that everybody may: leave one out"
        )
    if factory_ca and options["auth"] != "mtls":
        raise CliError("--factory-ca needs --auth mtls")
    if options["fault_times"] is not None and not fault_specs:
        raise CliError("--fault-times needs --fault NAME")
    if options["label"] in faults.OPERATIONS:
        raise CliError(f"--label {options['label']} is the name of an operation (RFC 7030 3.2.2)")
    if options["enforce_csrattrs"] and not csrattrs:
        raise CliError("--enforce-csrattrs needs --csrattrs FILE")
    config = settings.check(
        ServerConfig,
        options,
        users=_read_users(users) if users else {},
        tokens=set(_lines(token_file)) if token_file else set(),
        policy=_read_policy(policy_file, Policy) if policy_file else None,
        open=is_open or options["auth"] == "none",
        factory_ca=_read_cas(factory_ca) if factory_ca else None,
        faults=fault_specs,
        wrap=64 if wrap else 0,
        csrattrs=_read_policy(csrattrs, CsrAttrsPolicy) if csrattrs else None,
        serverkeygen=_read_policy(serverkeygen or "default", ServerKeygenPolicy),
        chain_length=int(chain_length),
    )
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    asyncio.run(_run(config, as_json))


async def _run(config: ServerConfig, as_json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def report(event: Event) -> None:
        try:
            click.echo(json.dumps(event) if as_json else _line(event), err=not as_json)
        except BrokenPipeError:
            stop.set()

    async with EstServer(config, report) as server:
        if as_json:
            report(
                {
                    "event": "listening",
                    "url": server.url,
                    "urls": server.urls,
                    "port": server.port,
                    "ca": str(server.ca_pem),
                    "fingerprint": server.fingerprint,
                    "probe_port": server.probe_port or None,
                }
            )
        click.echo(_welcome(server), err=True)
        await stop.wait()
    click.echo("Stopped.", err=True)


def _welcome(server: EstServer) -> str:
    lines = [
        f"EST server at {server.url}",
        *(f"from other machines {url}" for url in server.urls if url != server.url),
        f"CA certificate {server.ca_pem}",
        f"SHA-256 {server.fingerprint}",
    ]
    if server.probe_port:
        lines.append(f"certificate probe at https://{server.config.host}:{server.probe_port}/")
    credentials = {
        "basic": " --user NAME --password-file FILE",
        "digest": " --user NAME --password-file FILE",
        "token": " --token-file FILE",
        "mtls": " --cert FILE --key FILE",
    }.get(server.config.auth, "")
    if server.config.rollover:
        lines += [
            f"This root is new and follows the one with SHA-256 {server.old_fingerprint};",
            "start without --rollover, or each start makes another.",
        ]
    if server.config.rules is None:
        who = "everybody" if server.config.auth == "none" else "whoever is let in"
        lines.append(f"Open: {who} may have any name but the server's and the CA's.")
    lines += [
        "Enrol with:",
        f"  mpest simulate --url {server.url} --trust {server.ca_pem} --state board{credentials} "
        f"--subject CN={'NAME' if '--user' in credentials else 'device-1'} enroll",
        "Stop with Ctrl-C.",
    ]
    return "\n".join(lines)


def _line(event: Event) -> str:
    if event["event"] == "handshake":
        return f"TLS handshake failed: {event['reason']}"
    if event["event"] == "connection":
        return f"connection of {event['address'] or 'anybody'}: {event['reason']}"
    if event["event"] == "certificate":
        return f"new certificate of this server until {event['not_after']}: {event['reason']}"
    if event["event"] == "storage":
        return f"the folder cannot be written: {event['reason']}"
    if event["event"] == "left out":
        return f"{event['count']} more failures, left out: too many at a time"
    tls = f" {event['tls']}" if event["tls"] else ""  # nothing once the client has gone
    who = f" as {event['client']}" if event["client"] else ""
    why = f": {event['reason']}" if event["reason"] else ""
    return f"{event['method']} {event['path']} {event['status']}{tls}{who}{why}"


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in text_of(path.read_bytes()).splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise CliError(f"can't read {path}: {reason}") from error


def _read_cas(path: Path) -> str:
    pem = "\n".join(_lines(path))
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise CliError(f"{path} holds no certificate in PEM") from error
    return pem


def _read_users(path: Path) -> dict[str, str]:
    users: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        name, colon, password = line.partition(":")
        if not colon or not name or not password:
            raise CliError(f"{path}: entry {number} is not name:password")
        users[name] = password
    if not users:
        raise CliError(f"{path} names no user: it takes lines of name:password")
    return users


def _read_policy(source: str, kind: type[_Policy]) -> _Policy:
    if source == "default":
        return kind()
    text = "\n".join(_lines(Path(source)))
    try:
        content = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except ValueError as error:
        raise CliError(f"{source} is neither TOML nor JSON: {error}") from None
    return settings.check(kind, content, source)
