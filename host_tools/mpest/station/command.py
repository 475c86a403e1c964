"""`mpest provision`: boards by a job file."""

import contextlib
import getpass
import json
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mpest.exits import CliError
from mpest.station import (
    check,
    dry_run,
    job,
    labelling,
    ledger_place,
    line,
    output,
    own_server,
    ports,
    scanning,
    terminal,
    typed,
    validate,
)
from mpest.station.events import Emit, each
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Who
from mpest.station.machine import Machine
from mpest.station.problems import JobError, one_line

if TYPE_CHECKING:
    from mpest.station.page.server import Page


class _WantedPage(NamedTuple):
    host: str
    port: int
    texts: Path | None


@click.command()
@click.argument("file", metavar="JOB.toml", type=click.Path(path_type=Path))
@click.option(
    "--dry-run",
    "is_dry_run",
    is_flag=True,
    help="Check the job, and say what each board would get.",
)
@click.option(
    "--check",
    "check_pc",
    is_flag=True,
    help="Say what will hinder on this PC; change nothing.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after N boards.")
@click.option(
    "--only-failed",
    is_flag=True,
    help="Go on with boards that failed before, and begin no others.",
)
@click.option(
    "--operator",
    metavar="NAME",
    envvar="MPEST_OPERATOR",
    help="Who works here: stands in the ledger at all that is done.",
)
@click.option(
    "--port",
    "devices",
    multiple=True,
    help="A serial port that is always there; without any, boards are found at USB as they come.",
)
@click.option(
    "--rework",
    metavar="REASON",
    help="Give a board that has its certificate a new key; one without --limit.",
)
@click.option("--wipe", is_flag=True, help="Erase boards that hold what the job does not know.")
@click.option(
    "--reprint",
    metavar="SERIAL",
    help="Print a board's label again, and end; it is to be scanned again.",
)
@click.option(
    "--page",
    "page_port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve the operator's page there; 0 for any free port.",
)
@click.option(
    "--page-host",
    default="127.0.0.1",
    show_default=True,
    help="The address that the page is served at.",
)
@click.option(
    "--page-texts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The words of the page in another language, in TOML.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event.")
def provision(
    file: Path,
    is_dry_run: bool,
    check_pc: bool,
    limit: int | None,
    only_failed: bool,
    operator: str | None,
    devices: tuple[str, ...],
    rework: str | None,
    wipe: bool,
    reprint: str | None,
    page_port: int | None,
    page_host: str,
    page_texts: Path | None,
    as_json: bool,
) -> None:
    """Make the boards of a job: firmware, settings, key and certificate, each accounted for.

    The whole job is checked before the first board is touched.
    """
    try:
        made, problems = job.read(file)
        made = own_server.with_trust(made)
        problems += validate.problems(made, ask=not is_dry_run and not check_pc)
        if problems:
            raise JobError(problems)
    except JobError as error:
        if as_json:
            for problem in error.problems:
                place = {"file": str(problem.file), "line": problem.line, "key": problem.key}
                _print({"event": "problem", **place, "text": problem.text})
        raise
    for note in validate.notes(made):
        click.echo(f"Note: {one_line(note)}", err=True)
    if check_pc:
        _check(made, as_json)
    elif is_dry_run:
        for event in dry_run.would(made, limit, only_failed):
            if as_json:
                _print(event)
            else:
                click.echo(dry_run.text(event))
    elif reprint is not None:
        _reprint(made, reprint, operator or getpass.getuser())
    else:
        terminal_there = typed.is_there()
        by_page = page_port is not None and made.page is not None and made.page.pin is not None
        asks = terminal_there or by_page
        if not (operator or asks):
            raise CliError("say who works here: --operator NAME")
        if made.devices.scan and not asks:
            raise CliError(
                "devices.scan: nobody can scan here, at a terminal or by a page with a PIN"
            )
        fixed = [ports.Port(device, device) for device in devices]
        options = line.Options(
            operator=scanning.operator_of(operator) if operator else "",
            find=(lambda: fixed) if fixed else ports.plugged,
            limit=limit or (1 if rework else None),
            rework=rework or "",
            wipe=wipe,
            only_failed=only_failed,
            asks=asks,
        )
        wanted = None if page_port is None else _WantedPage(page_host, page_port, page_texts)
        _run(made, options, wanted, as_json)


def _run(made: Job, options: line.Options, wanted_page: _WantedPage | None, as_json: bool) -> None:
    with contextlib.ExitStack() as stack:
        emits: list[Emit] = []
        if as_json:
            emits.append(stack.enter_context(output.Output()))
        else:
            emits.append(stack.enter_context(terminal.Terminal()))
        emit = each(emits)
        url = ledger_place.url(made)
        made, own = stack.enter_context(own_server.running(made))
        options = replace(options, own_server=own)
        running = line.Line(made, url, options, emit)
        if wanted_page:
            page = stack.enter_context(_page(made, url, wanted_page, running))
            emit("page", url=page.url)
            emits.append(page)
        if typed.is_there():
            stack.enter_context(typed.Typed(made, url, lambda: running.operator, running.post))
        code = running.run()
    click.get_current_context().exit(code)


def _reprint(made: Job, serial: str, operator: str) -> None:
    """Raises CliError."""
    who = Who(made.station, "", scanning.operator_of(operator))
    with Ledger(ledger_place.url(made), create=False, patience=timedelta(0)) as ledger:
        unit = scanning.unit_of(made, ledger, serial)
        labelling.again(made, unit, ledger, who)
    click.echo(f"The label of {unit.serial} was printed again.", err=True)


def _page(made: Job, url: str, wanted: _WantedPage, running: line.Line) -> "Page":
    """Raises CliError."""
    # aiohttp takes its time to load.
    from mpest.station.page import server, texts

    words = texts.load(wanted.texts)
    return server.Page(made, url, words, wanted.host, wanted.port, running.post)


def _print(event: dict[str, Any]) -> None:
    click.echo(json.dumps(event))


def _check(made: Job, as_json: bool) -> None:
    """Raises CliError where something hinders."""
    machine = Machine()
    found = list(check.findings(made, machine))
    rules = check.rules(made.profile, machine)
    if as_json:
        for finding in found:
            _print({"event": "finding", **asdict(finding)})
        _print({"event": "rules", "file": check.RULES_FILE, "text": rules})
    else:
        for finding in found:
            click.echo(check.text(finding) + "\n")
        click.echo(f"Rules for udev, to be put into {check.RULES_FILE}:\n\n{rules}\n")
    if found:
        raise CliError(f"what hinders the line: {len(found)}, see above")
    click.echo("Nothing hinders the line.", err=True)
