"""`mpest serve`: the test server as a command."""

import asyncio
import logging
from pathlib import Path

import click

from mpest import settings
from mpest.exits import CliError
from mpest.options import Completed
from mpest.server import desk, faults, inputs, serving
from mpest.server.config import Limits, ServerConfig
from mpest.server.csrattrs import CsrAttrsPolicy
from mpest.server.log import OneLine
from mpest.server.policy import Policy
from mpest.server.serverkeygen import ServerKeygenPolicy
from mpest.server.users import read_tokens, read_users

_STOP_SECONDS = 10.0  # a container is killed after so many
_NEEDS = {"basic": "--users", "digest": "--users", "token": "--token-file"}


@click.command()
@click.option(
    "--dir",
    "directory",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the CA lives; made if missing.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="0 picks a free one.")
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
    "--hash-password",
    is_flag=False,
    flag_value="basic",
    is_eager=True,
    expose_value=False,
    callback=inputs.hash_password,
    type=click.Choice(["basic", "digest", "token"]),
    help="Copy such a file from stdin to stdout with hashes in place of secrets, and end.",
)
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
    "--behind-proxy",
    metavar="HEADER",
    help="Take client certificates from this header of a proxy that ends TLS.",
)
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    callback=inputs.networks,
    metavar="ADDRESS",
    help="Where such proxies are, as 10.0.0.7 or 10.0.0.0/24.",
)
@click.option(
    "--approve-after",
    callback=inputs.seconds,
    default="0",
    metavar="SECONDS|manual",
    help="Answer 202 to each new request for so long, or until --approve.",
)
@click.option(
    "--list",
    "list_all",
    is_flag=True,
    help="Print what was issued and what waits in DIR, and end.",
)
@click.option(
    "--approve",
    metavar="ID",
    help="Let a waiting request of DIR through, as --list names it, and end.",
)
@click.option(
    "--deny",
    metavar="ID",
    help="Turn a waiting request of DIR away for a day, and end.",
)
@click.option("--revoke", metavar="SERIAL", help="Revoke a certificate of DIR, and end.")
@click.option("--label", help="Serve under /.well-known/est/LABEL/ only.")
@click.option(
    "--fault",
    "fault_specs",
    multiple=True,
    type=Completed(lambda: ["help", *sorted(faults.DESCRIPTIONS)]),
    metavar="NAME[@OPERATION]",
    callback=inputs.fault_names,
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
    callback=inputs.lifetime,
    metavar="TIME",
    default="90d",
    show_default=True,
    help="Of the certificates issued.",
)
@click.option("--chain-length", type=click.Choice(["1", "2"]), default="1", show_default=True)
@click.option(
    "--key-password-file",
    "key_password",
    callback=inputs.key_password,
    metavar="FILE|-",
    help="The CA's keys in DIR are encrypted by its first line; - asks for it.",
)
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
@click.option(
    "--max-connections",
    type=click.IntRange(1),
    metavar="N",
    help="In all; 2048 without it, and at most 3/4 of `ulimit -n`.",
)
@click.option(
    "--max-connections-per-address",
    "max_of_one_address",
    type=click.IntRange(1),
    metavar="N",
    help="Of each client address; half of all without it.",
)
@click.option("--mtls-probe", is_flag=True, help="Open a second port for certificate holders.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event on stdout.")
@click.option(
    "--log",
    "log_form",
    type=click.Choice(["text", "json"]),
    help="Form of the log on stderr; without it text, and with --json none.",
)
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
    log_form: str | None,
    list_all: bool,
    approve: str | None,
    deny: str | None,
    revoke: str | None,
    max_connections: int | None,
    max_of_one_address: int | None,
    **options: object,
) -> None:
    """Run a test EST server with its own CA until interrupted.

    Not for production: its CA key lies in DIR, unencrypted without --key-password-file.
    """
    directory = Path(str(options["directory"]))
    decisions = [
        (decide, named)
        for decide, named in ((desk.approve, approve), (desk.deny, deny), (desk.revoke, revoke))
        if named is not None
    ]
    if list_all or decisions:
        if list_all + len(decisions) > 1:
            raise CliError(
                "--list, --approve, --deny and --revoke are each for themselves: leave others out"
            )
        for decide, named in decisions:
            decide(directory, named)
        if list_all:
            desk.show(directory, as_json=as_json)
        return
    if options["port"] is None:
        raise click.UsageError("Missing option '--port'.")
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
    if bool(options["behind_proxy"]) != bool(options["proxies"]):
        raise CliError("--behind-proxy HEADER needs --proxy ADDRESS, and the other way round")
    if options["behind_proxy"] and options["require_pop"]:
        raise CliError("--require-pop can't be checked behind a proxy that ends TLS")
    if options["fault_times"] is not None and not fault_specs:
        raise CliError("--fault-times needs --fault NAME")
    if options["label"] in faults.OPERATIONS:
        raise CliError(f"--label {options['label']} is the name of an operation (RFC 7030 3.2.2)")
    if options["enforce_csrattrs"] and not csrattrs:
        raise CliError("--enforce-csrattrs needs --csrattrs FILE")
    known = read_users(users, str(options["auth"])) if users else []
    tokens = read_tokens(token_file) if token_file else []
    config = settings.check(
        ServerConfig,
        options,
        users={user.name: user.kept for user in known},
        once={user.name for user in known if user.once},
        tokens={str(token) for token in tokens},
        policy=inputs.read_policy(policy_file, Policy) if policy_file else None,
        open=is_open or options["auth"] == "none",
        factory_ca=inputs.read_cas(factory_ca) if factory_ca else None,
        faults=fault_specs,
        wrap=64 if wrap else 0,
        csrattrs=inputs.read_policy(csrattrs, CsrAttrsPolicy) if csrattrs else None,
        serverkeygen=inputs.read_policy(serverkeygen or "default", ServerKeygenPolicy),
        chain_length=int(chain_length),
        stop_within=_STOP_SECONDS,
        limits=Limits(
            connections=max_connections or Limits().connections,
            connections_of_one_address=max_of_one_address,
        ),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(log_form == "json"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    plain = any(entry.in_the_clear for entry in (*known, *tokens))
    notes = inputs.in_the_clear(users or token_file, config.auth) if plain else []
    asyncio.run(serving.run(config, notes, as_json=as_json, log_form=log_form))
