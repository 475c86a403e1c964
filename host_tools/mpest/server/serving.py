"""A server that runs until it is told to stop, and says what happens."""

import asyncio
import json
import signal

import click

from mpest.server import log
from mpest.server.config import ServerConfig
from mpest.server.runner import EstServer, Event
from mpest.text import printable


async def run(
    config: ServerConfig, notes: list[str], *, as_json: bool, log_form: str | None
) -> None:
    """Serve until SIGINT or SIGTERM. Raises CliError.

    `notes` are told at the start, `as_json` writes events to standard output, `log_form` is that
    of the log on standard error: text, json or, for none beside events, None.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def say(text: str, *, err: bool = True) -> None:
        try:
            click.echo(text, err=err)
        except BrokenPipeError:
            stop.set()
        except OSError:  # the disk is full, say: boards are served all the same
            pass

    def report(event: Event) -> None:
        if as_json:
            say(json.dumps(event), err=False)
        if log_form == "json":
            say(log.as_json(event))
        elif log_form == "text" or not as_json:
            say(printable(as_line(event)))

    async with EstServer(config, report) as server:
        listening = {
            "event": "listening",
            "url": server.url,
            "urls": server.urls,
            "port": server.port,
            "ca": str(server.ca_pem),
            "fingerprint": server.fingerprint,
            "probe_port": server.probe_port or None,
        }
        if as_json:
            click.echo(json.dumps(listening))
        say(log.as_json(listening) if log_form == "json" else _welcome(server, notes))
        await stop.wait()
    say(log.as_json({"event": "stopped"}) if log_form == "json" else "Stopped.")


def _welcome(server: EstServer, notes: list[str]) -> str:
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
        *notes,
        "Enrol with:",
        f"  mpest simulate --url {server.url} --trust {server.ca_pem} --state board{credentials} "
        f"--subject CN={'NAME' if '--user' in credentials else 'device-1'} enroll",
        "Stop with Ctrl-C.",
    ]
    return "\n".join(lines)


def as_line(event: Event) -> str:
    """The event as people read it; not yet `printable`."""
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
    issued = "".join(f", {one['serial']} for {one['subject']}" for one in event["issued"])
    revoked = "".join(f", revoked {one['serial']} of {one['subject']}" for one in event["revoked"])
    why = f": {event['reason']}" if event["reason"] else ""
    return f"{event['method']} {event['path']} {event['status']}{tls}{who}{issued}{revoked}{why}"
