"""`mpest simulate`: a board as a process, against any EST server."""

import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import click
from cryptography import x509
from rich.console import Console

from mpest.exits import CliError
from mpest.sim import attributes, inputs
from mpest.sim.board_process import RUNTIMES, Event, exit_code, run_board

_KEY_TYPES = ("P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096")
_OPERATIONS = (
    "cacerts",
    "csrattrs",
    "enroll",
    "reenroll",
    "serverkeygen",
    "revoke",
    "show",
)
# Those that make an identity or show the one that is there.
_OF_IDENTITY = ("enroll", "reenroll", "serverkeygen", "revoke")


@click.command()
@click.option("--url", required=True, help="https://HOST[:PORT][/.well-known/est[/LABEL]]")
@click.option(
    "--trust",
    multiple=True,
    metavar="FILE|sha256:HEX",
    help="CA certificates (PEM or DER), or the SHA-256 of the CA's; both if TLS has another CA.",
)
@click.option("--state", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--user", help="User name for Basic or Digest.")
@click.option("--password-file", help="File whose first line is the password.")
@click.option("--token-file", help="File whose first line is a bearer token.")
@click.option("--cert", help="PEM or DER file: a certificate to enrol with, and its chain.")
@click.option("--key", help="PEM or DER file: its private key.")
@click.option("--subject", help='Such as "CN=device-1,O=Example".')
@click.option("--san", multiple=True, help="Such as DNS:a.example, IP:192.0.2.1; repeatable.")
@click.option("--csr", help="PEM or DER file: a request to send as it is; needs its key.")
@click.option("--own-key", help="PEM or DER file: the key to enrol, instead of a new one.")
@click.option("--secure-element", help="PEM or DER file: an EC key as in hardware, unseen.")
@click.option("--challenge-file", help="File whose first line is the challengePassword to send.")
@click.option("--key-type", type=click.Choice(_KEY_TYPES), help="Else what the server asks for.")
@click.option("--same-key", is_flag=True, help="reenroll keeps the key instead of a new one.")
@click.option("--decrypt-key", help="serverkeygen: RSA or EC key (PEM or DER) to encrypt to.")
@click.option("--decrypt-secret-file", help="serverkeygen: file with the shared AES key in hex.")
@click.option("--decrypt-id", help="serverkeygen: what the server knows key or secret by, in hex.")
@click.option("--decrypt-password-file", help="serverkeygen: file with the key's password.")
@click.option("--require-cmc-ra", is_flag=True, help="Refuse servers without id-kp-cmcRA.")
@click.option("--require-csrattrs", is_flag=True, help="No request without the server's csrattrs.")
@click.option("--cmc", is_flag=True, help="Enrol and renew by full CMC messages.")
@click.option("--no-wrap", is_flag=True, help="Send base64 on one line.")
@click.option("--single-certificate", is_flag=True, help="Show no chain in TLS, from the next on.")
@click.option("--reason", default="unspecified", help="revoke: such as keyCompromise, superseded.")
@click.option("--timeout", type=click.IntRange(1, 3600), default=30, show_default=True)
@click.option("--runtime", type=click.Choice(RUNTIMES), default="micropython", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event.")
@click.argument("operations", nargs=-1, required=True, type=click.Choice(_OPERATIONS))
def simulate(
    url: str,
    trust: tuple[str, ...],
    state: Path,
    user: str | None,
    password_file: str | None,
    token_file: str | None,
    cert: str | None,
    key: str | None,
    subject: str | None,
    san: tuple[str, ...],
    csr: str | None,
    own_key: str | None,
    secure_element: str | None,
    challenge_file: str | None,
    key_type: str | None,
    same_key: bool,
    decrypt_key: str | None,
    decrypt_secret_file: str | None,
    decrypt_id: str | None,
    decrypt_password_file: str | None,
    require_cmc_ra: bool,
    require_csrattrs: bool,
    cmc: bool,
    no_wrap: bool,
    single_certificate: bool,
    reason: str,
    timeout: int,
    runtime: str,
    as_json: bool,
    operations: tuple[str, ...],
) -> None:
    """Run OPERATIONS on a simulated board, with the code a real board runs.

    The board lives in the folder --state and remembers what it trusts and who it is.
    """
    if urlsplit(url).scheme != "https":
        raise CliError(f"--url must begin with https://, EST runs over TLS only: {url}")
    if bool(user) != bool(password_file):
        raise CliError("--user and --password-file go together")
    if user and token_file:
        raise CliError("--user and --token-file exclude each other")
    if bool(cert) != bool(key):
        raise CliError("--cert and --key go together")
    if "enroll" in operations and not (subject or csr):
        raise CliError("enroll needs a --subject such as CN=device-1, or a --csr")
    if own_key and secure_element:
        raise CliError("--own-key and --secure-element exclude each other")
    if own_key and same_key:
        raise CliError("--own-key and --same-key exclude each other")
    if (own_key or secure_element) and "serverkeygen" in operations:
        option = "--own-key" if own_key else "--secure-element"
        raise CliError(f"serverkeygen has the server make the key: leave out {option}")
    if key_type and (own_key or secure_element):
        raise CliError("--key-type is for keys that the board makes, not for one that is given")
    if csr:
        made = {"--subject": subject, "--san": san, "--challenge-file": challenge_file}
        made["--key-type"] = key_type
        for option, value in made.items():
            if value:
                raise CliError(f"the request in --csr is sent as it is: leave out {option}")
        if {"enroll", "reenroll"} & set(operations) and not (own_key or secure_element):
            raise CliError("--csr goes with its key, which --own-key or --secure-element names")
    if (subject or san) and not {"enroll", "serverkeygen"} & set(operations):
        # A renewal keeps the names; other ones would make it another request than one that waits.
        click.echo("Note: --subject and --san are for enroll and serverkeygen alone", err=True)
        subject, san = None, ()
    for text in (url, subject or "", *san):
        if not text.isprintable():
            raise CliError(f"a character that cannot be printed in {text!r}")
    config: Event = {"url": url, "operations": operations, "subject": subject, "san": san}
    config |= {"key_type": key_type, "rekey": not same_key, "timeout": timeout, "user": user}
    config |= {"cmc_ra": require_cmc_ra, "cmc": cmc, "reason": reason}
    config["csrattrs"] = require_csrattrs
    config |= {"no_wrap": no_wrap, "single": single_certificate}
    config |= inputs.read_trust(trust)
    if password_file:
        config["password"] = inputs.read_secret(password_file)
    first = next((one for one in operations if one in _OF_IDENTITY), "enroll")
    if cert and key:
        config |= inputs.read_factory(cert, key)
        # Renewed first, it is the identity of another program, if the board has none.
        config["adopt"] = first == "reenroll"
    config |= inputs.read_own(csr, own_key, secure_element)
    if first != "enroll":
        inputs.check_element(state, secure_element)
    if challenge_file:
        config["challenge"] = inputs.read_secret(challenge_file)
    if token_file:
        config["token"] = inputs.read_secret(token_file)
    config |= inputs.read_decryption(
        decrypt_key, decrypt_secret_file, decrypt_id, decrypt_password_file
    )
    failed: Event | None = None
    noted: set[str] = set()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for event in run_board(config, runtime, state):
        if as_json:
            click.echo(json.dumps(event))
        elif event["event"] == "note":
            # A board says each time what it meets in its storage.
            if event["text"] not in noted:
                console.print(f"Note: {event['text']}", markup=False)
            noted.add(event["text"])
        elif event["event"] != "error":
            console.print(summary(event), markup=False)
        if event["event"] == "error":
            failed = event
    if failed:
        later = f" (try again in {failed['seconds']} s)" if failed["seconds"] else ""
        text = in_words(failed) + not_accepted(failed, state)
        if not text.startswith(f"{failed['operation']}: "):
            text = f"{failed['operation']}: {text}"
        click.echo(f"Error: {text}{later}", err=True)
        sys.exit(exit_code(failed))


# MicroPython has the numbers of all errors of the operating system, and the names of some.
_ERRNO = re.compile(r"\[Errno (\d+)\] E[A-Z0-9]+\b|(?<=: )(\d+)$")
# CPython has the words beside the number.
_NUMBER = re.compile(r"\[Errno -?\d+\] ")
# MicroPython gives this error of mbedTLS without its name.
_CONNECTION_EOF = "TLS: -29312"

# What helps, where all copies of a record are lost.
_DAMAGED = {
    "the stored identity: damaged": "enroll again",
    "the stored anchors: damaged": "give --trust again",
}
_NO_TRUST = "nothing to trust: give anchors or a fingerprint"


def in_words(failed: Event) -> str:
    """The message of the `error` event, with the operating system's words for its errors."""
    if failed["message"] == _NO_TRUST:
        return "nothing to trust: give --trust, a file or a fingerprint"
    if failed["type"] not in ("PeerError", "StorageError") or "HTTP" in failed["message"]:
        return str(failed["message"])
    text = _ERRNO.sub(lambda found: os.strerror(int(found[1] or found[2])), failed["message"])
    text = _NUMBER.sub("", text)
    if text in _DAMAGED:
        text += "; " + _DAMAGED[text]
    return text.replace(_CONNECTION_EOF, "TLS: the other side closed the connection")


def not_accepted(failed: Event, state: Path) -> str:
    """What to add where the server may have refused the board's certificate in TLS.

    Of that a client often learns no more than that the connection ended.
    """
    words = ("TLS", "closed the connection")
    perhaps = failed["type"] == "PeerError" and any(word in failed["message"] for word in words)
    refused = failed["type"] == "Refused" and "accept the board's certificate" in failed["message"]
    if not (perhaps or refused):
        return ""
    try:
        leaf = x509.load_pem_x509_certificate((state / "cert.pem").read_bytes())
    except (OSError, ValueError):
        return ""
    if leaf.not_valid_after_utc < datetime.now(UTC):
        return f"; the board's certificate expired at {leaf.not_valid_after_utc}: enrol again"
    if refused:
        return "; enrol again"
    return (
        "; if the server's log says that it does not accept the board's certificate, enrol again"
    )


def summary(event: Event) -> str:
    """One line for people; more for what a server asks for."""
    name = event["event"]
    if name == "cacerts":
        known = [found["sha256"] for found in event["anchors"]]
        text = "; ".join(
            f"{found['subject']} (SHA-256 {found['sha256'][:8]}"
            + (", trusted)" if found["sha256"] in known else ")")
            for found in event["certificates"]
        )
    elif name == "csrattrs":
        asked = attributes.lines(event)
        kind = "a template to fill in" if event["template"] else "attributes"
        text = "\n    ".join([f"{kind}:", *asked]) if asked else "the server asks for nothing"
    elif event["certificate"] is None:
        text = "no identity yet"
    else:
        found = event["certificate"]
        until = datetime.fromtimestamp(found["not_after"], UTC).date()
        text = f"{found['subject']}, serial {found['serial']}, valid until {until}"
        if name == "revoke":
            text = f"{found['subject']}, serial {found['serial']}, revoked and forgotten"
    return f"{name:9} {event['ms']:5} ms  {text}"
