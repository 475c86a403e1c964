"""`mpest ledger`: what a person asks of a ledger, and does with it."""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from click.core import ParameterSource

from mpest.exits import CliError, Exit
from mpest.options import Completed
from mpest.sim.inputs import read_secret
from mpest.station.ledger import decide, inputs, showing
from mpest.station.ledger import export as templates
from mpest.station.ledger import manifest as manifests
from mpest.station.ledger import report as reports
from mpest.station.ledger import revoke as revoking
from mpest.station.ledger import verify as verifying
from mpest.station.ledger.database import address
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.record import document, moment
from mpest.station.ledger.units import State
from mpest.text import printable, text_of

_Function = TypeVar("_Function", bound=Callable[..., Any])

_STATES = get_args(State)
# A list of the certificates of a large CA; more is no list.
_MAX_LIST = 1 << 30

_batch = click.option("--batch", metavar="NAME", required=True, help="The batch.")
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")


def _file(*names: str, text: str, required: bool = False) -> Callable[[_Function], _Function]:
    kind = click.Path(path_type=Path, dir_okay=False)
    return click.option(*names, type=kind, required=required, metavar="FILE", help=text)


@click.group()
@click.option(
    "--ledger",
    "url",
    required=True,
    metavar="URL",
    envvar="MPEST_LEDGER",
    show_envvar=True,
    help="A file, or postgresql://USER@HOST/NAME with the password in ~/.pgpass.",
)
@click.pass_context
def ledger(ctx: click.Context, url: str) -> None:
    """Show what a line of stations made, and report, export, verify and revoke it."""
    if ctx.get_parameter_source("url") == ParameterSource.COMMANDLINE and address(url).password:
        raise CliError(
            "everybody on this computer can read a password on a command line: put it into "
            "~/.pgpass or PGPASSWORD, or the whole URL into MPEST_LEDGER"
        )
    ctx.obj = ctx.with_resource(Ledger(url, create=False, patience=timedelta(0)))


@ledger.command("list")
@click.option("--batch", metavar="NAME", help="Its boards; without it all batches.")
@click.option("--state", type=click.Choice(_STATES), help="Only boards in this state.")
@_json
@click.pass_obj
def list_(ledger: Ledger, batch: str | None, state: State | None, as_json: bool) -> None:
    """List the batches, or the boards of one."""
    if batch is None and state is None:
        entries = [
            {
                "event": "batch",
                "name": one.name,
                "opened": moment(one.opened),
                **asdict(ledger.counts(one.name)),
            }
            for one in ledger.batches()
        ]
        shown = ("name", "quantity", "done", "working", "failed", "rework", "aside", "scrapped")
        showing.listed(entries, as_json, shown, "the ledger has no batch")
        return
    boards = [showing.board_entry(unit) for unit in ledger.units(batch, state)]
    columns = ("serial", "state", "unique_id", "failures", "label", "station", "port")
    showing.listed(boards, as_json, columns, "no such boards")


@ledger.command()
@click.argument("serial")
@_json
@click.pass_obj
def show(ledger: Ledger, serial: str, as_json: bool) -> None:
    """Show a board: its certificates and all that was done to it."""
    board = showing.board_entry(ledger.unit(serial))
    certificates = [showing.certificate_entry(one) for one in ledger.certificates(serial=serial)]
    history = [
        {**asdict(event), "at": moment(event.at), "event": "history", "what": event.event}
        for event in ledger.history(serial)
    ]
    if as_json:
        showing.listed([board, *certificates, *history], True, (), "")
        return
    for name, value in board.items():
        if name not in ("event", "metadata") and value not in ("", None):
            click.echo(f"{name.replace('_', ' ')}: {printable(str(value))}")
    for name, value in board["metadata"].items():
        click.echo(f"{printable(name)}: {printable(value)}")
    click.echo("")
    shown = ("number", "not_after", "station", "operator", "recorded", "proven", "revoked")
    showing.listed(certificates, False, shown, "no certificate")
    click.echo("")
    for event in history:
        event["seconds"] = "" if event["seconds"] is None else f"{event['seconds']:.2f}"
    columns = ("at", "what", "step", "outcome", "seconds", "station", "port", "operator")
    showing.listed(history, False, columns, "no history")


@ledger.command()
@_batch
@click.option(
    "--template",
    type=Completed(templates.names, files=True),
    metavar="NAME|FILE",
    help=f"A Jinja2 template, or one of {', '.join(templates.names())}.",
)
@click.option("--state", default="done", type=click.Choice(_STATES), show_default=True)
@click.option(
    "--manifest",
    is_flag=True,
    help="The list of all boards that were begun, and its signature in OUT.p7s.",
)
@_file("--certificate", text="PEM, with --manifest: the station's, with its chain.")
@_file("--key", text="PEM, with --manifest: its private key.")
@_file("--key-password-file", text="The key's password, in its first line.")
@_file("--out", text="Where to; without it standard output.")
@click.pass_obj
def export(
    ledger: Ledger,
    batch: str,
    template: str | None,
    state: State,
    manifest: bool,
    certificate: Path | None,
    key: Path | None,
    key_password_file: Path | None,
    out: Path | None,
) -> None:
    """Write a batch as another system takes it, or as a signed manifest."""
    if bool(template) == manifest:
        raise CliError("say what to write: --template NAME|FILE, or --manifest")
    if template:
        inputs.write(out, templates.export(template, document(ledger, batch, [state])).encode())
        return
    if certificate is None or key is None or out is None:
        raise CliError("--manifest needs --certificate FILE, --key FILE and --out FILE")
    password = read_secret(str(key_password_file)) if key_password_file else None
    signer = manifests.Signer(certificate, key, password)
    content, signature = manifests.manifest(ledger, batch, signer)
    beside = out.with_name(out.name + manifests.SUFFIX)
    inputs.write_files({beside: signature, out: content})


@ledger.command()
@_batch
@_file("--out", text="Where to; without it standard output.")
@click.pass_obj
def report(ledger: Ledger, batch: str, out: Path | None) -> None:
    """Write the report of a batch: one HTML page."""
    inputs.write(out, reports.report(ledger, batch, datetime.now(UTC)).encode())


@ledger.command()
@_file("--ca", text="CA certificates in PEM.", required=True)
@click.option("--batch", metavar="NAME", help="Only its boards.")
@_file("--issued", text="The server's list: what mpest serve --list --json prints.")
@_file("--others", text="PEM, with --issued: certificates that are no boards', as stations'.")
@_json
@click.pass_obj
def verify(
    ledger: Ledger,
    ca: Path,
    batch: str | None,
    issued: Path | None,
    others: Path | None,
    as_json: bool,
) -> None:
    """Hold each certificate against the CA, the ledger, and the server's list.

    Ends with 3 where something is wrong.
    """
    findings = list(verifying.verify(ledger, inputs.certificates(ca), batch))
    if issued is not None:
        try:
            entries = verifying.read_list(text_of(inputs.read(issued, _MAX_LIST)), issued)
        except UnicodeDecodeError:
            raise CliError(f"{issued} is no text in UTF-8") from None
        passed = inputs.certificates(others) if others else []
        findings += verifying.compare(ledger, entries, passed)
    for finding in findings:
        if as_json:
            click.echo(json.dumps({"event": "finding", **asdict(finding)}))
        else:
            click.echo(f"{finding.serial or 'no board'}: {finding.what}")
    number = len(ledger.certificates(batch=batch))
    if findings:
        click.echo(f"{number} certificates, {len(findings)} findings.", err=True)
        raise click.exceptions.Exit(int(Exit.NOT_TRUSTED))
    click.echo(f"{number} certificates, nothing wrong.", err=True)


@ledger.command()
@click.option("--station", metavar="NAME", help="What it brought; with --since.")
@click.option("--since", metavar="TIME", help="As 2026-11-30T08:00, in local time or with +01:00.")
@click.option(
    "--serial", metavar="SERIAL", help="What a rework replaced, or a scrapped board has."
)
@click.option("--superseded", is_flag=True, help="The same, of all boards.")
@click.option("--reason", metavar="TEXT", default="no reason given", help="For the history.")
@click.option(
    "--ca-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Revoke in this folder of a mpest serve.",
)
@_file("--certificate", text="PEM, with --ca-dir: the station's own, which is revoked first.")
@click.option("--done", is_flag=True, help="They are revoked at the CA: note that.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
@decide.operator
@_json
@click.pass_obj
def revoke(
    ledger: Ledger,
    station: str | None,
    since: str | None,
    serial: str | None,
    superseded: bool,
    reason: str,
    ca_dir: Path | None,
    certificate: Path | None,
    done: bool,
    dry_run: bool,
    operator: str,
    as_json: bool,
) -> None:
    """Revoke what a stolen station brought, or what a board must not have any more.

    Without --ca-dir it says what to do at the CA; then the same again with --done.
    """
    ways = bool(station and since) + bool(serial) + superseded
    if ways != 1 or bool(station) != bool(since):
        raise CliError(
            "say which: --station NAME with --since TIME, --serial SERIAL, or --superseded"
        )
    if certificate and not ca_dir:
        raise CliError("--certificate needs --ca-dir DIR")
    if done and ca_dir:
        raise CliError("--done is for another CA than that of --ca-dir: leave one out")
    if serial or superseded:
        chosen = ledger.superseded(serial)
    else:
        found = ledger.certificates(station=station, since=inputs.time(since or ""))
        chosen = [one for one in found if one.revoked is None]
    if not chosen and not certificate:
        click.echo("There is nothing to revoke.", err=True)
        return
    who = decide.who(operator)
    if dry_run:
        showing.told(chosen, "certificate", as_json)
        return
    fingerprints = [one.fingerprint for one in chosen]
    if done:
        ledger.revoked(fingerprints, who)
        showing.told(chosen, "revoked", as_json)
    elif ca_dir:
        own = inputs.certificates(certificate)[0] if certificate else None
        left = []
        for one, is_revoked in revoking.at_server(ledger, chosen, ca_dir, who, reason, own):
            showing.told([one], "revoked" if is_revoked else "left", as_json)
            left += [] if is_revoked else [one]
        if left:
            raise CliError(
                f"{len(left)} certificates are not of the server in {ca_dir}: revoke them at "
                "their own",
                Exit.REFUSED,
            )
        if station and not certificate:
            click.echo("Left to do: revoke the certificate of the station itself.", err=True)
    else:
        ledger.revoking(fingerprints, who, reason)
        showing.told(chosen, "to revoke", as_json)
        click.echo(
            "Noted. Revoke these serial numbers at the CA (mpest serve --revoke SERIAL "
            "--dir DIR), and the certificate of the station itself; then the same again with "
            "--done.",
            err=True,
        )


for _command in (decide.scrap, decide.settle):
    ledger.add_command(_command)
