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
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)
from rich.console import Console

from mpest.exits import CliError
from mpest.sim import attributes
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


def read_trust(text: str) -> Event:
    """The board's trust fields from "sha256:HEX" or the name of a PEM or DER file."""
    if text.lower().startswith("sha256:"):
        digits = text[7:].replace(":", "")
        if not re.fullmatch("[0-9a-fA-F]{64}", digits):
            raise CliError("--trust sha256: takes 64 hexadecimal digits")
        return {"fingerprint": digits.lower()}
    return {"anchors": read_certificates(text)}


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}") from None


def read_certificates(path: str) -> list[str]:
    """DER in hex of each certificate in the PEM or DER file at `path`."""
    data = _read(path)
    try:
        if b"-----BEGIN" in data:
            found = x509.load_pem_x509_certificates(data)
        else:
            found = [x509.load_der_x509_certificate(data)]
    except ValueError:
        raise CliError(f"{path} holds no certificate in PEM or DER") from None
    if b"-----BEGIN" in data and len(found) != data.count(b"-----BEGIN CERTIFICATE-----"):
        raise CliError(f"a certificate in {path} is cut off or damaged")
    return [one.public_bytes(Encoding.DER).hex() for one in found]


def read_key(path: str) -> str:
    """PKCS#8 DER in hex of the private key in the PEM or DER file at `path`."""
    data = _read(path)
    load = load_pem_private_key if b"-----BEGIN" in data else load_der_private_key
    try:
        found = load(data, None)
        return found.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).hex()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        message = f"{path} holds no private key in PEM or DER, or one with a password"
        raise CliError(message) from None


def read_secret(path: str) -> str:
    """First line of the file at `path`."""
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise CliError(f"cannot read {path}: {reason}") from None
    if not lines or not lines[0]:
        raise CliError(f"{path} is empty")
    return lines[0]


def read_decryption(
    key: str | None, secret_file: str | None, identifier: str | None, password_file: str | None
) -> Event:
    """The board's fields that say what serverkeygen decrypts with."""
    if key and secret_file:
        raise CliError("--decrypt-key and --decrypt-secret-file exclude each other")
    if identifier and not (key or secret_file):
        raise CliError("--decrypt-id goes with --decrypt-key or --decrypt-secret-file")
    fields: Event = {}
    if key:
        fields["decrypt_key"] = read_key(key)
    if secret_file:
        fields["decrypt_secret"] = _hex(read_secret(secret_file), secret_file)
    if identifier:
        fields["decrypt_identifier"] = _hex(identifier, "--decrypt-id")
    if password_file:
        fields["decrypt_password"] = read_secret(password_file)
    return fields


def _hex(text: str, where: str) -> str:
    try:
        return bytes.fromhex(text.replace(":", "")).hex()
    except ValueError:
        raise CliError(f"{where} takes hexadecimal digits") from None


@click.command()
@click.option("--url", required=True, help="https://HOST[:PORT][/.well-known/est[/LABEL]]")
@click.option("--trust", help="CA certificates (PEM or DER file), or sha256:HEX of the CA's.")
@click.option("--state", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--user", help="User name for Basic or Digest.")
@click.option("--password-file", help="File whose first line is the password.")
@click.option("--token-file", help="File whose first line is a bearer token.")
@click.option("--cert", help="PEM or DER file: a certificate to enrol with, and its chain.")
@click.option("--key", help="PEM or DER file: its private key.")
@click.option("--subject", help='Such as "CN=device-1,O=Example".')
@click.option("--san", multiple=True, help="Such as DNS:a.example, IP:192.0.2.1; repeatable.")
@click.option("--challenge-file", help="File whose first line is the challengePassword to send.")
@click.option("--key-type", type=click.Choice(_KEY_TYPES), help="Else what the server asks for.")
@click.option("--same-key", is_flag=True, help="reenroll keeps the key instead of a new one.")
@click.option("--decrypt-key", help="serverkeygen: RSA or EC key (PEM or DER) to encrypt to.")
@click.option("--decrypt-secret-file", help="serverkeygen: file with the shared AES key in hex.")
@click.option("--decrypt-id", help="serverkeygen: what the server knows key or secret by, in hex.")
@click.option("--decrypt-password-file", help="serverkeygen: file with the key's password.")
@click.option("--require-cmc-ra", is_flag=True, help="Refuse servers without id-kp-cmcRA.")
@click.option("--cmc", is_flag=True, help="Enrol and renew by full CMC messages.")
@click.option("--reason", default="unspecified", help="revoke: such as keyCompromise, superseded.")
@click.option("--timeout", type=click.IntRange(1, 3600), default=30, show_default=True)
@click.option("--runtime", type=click.Choice(RUNTIMES), default="micropython", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event.")
@click.argument("operations", nargs=-1, required=True, type=click.Choice(_OPERATIONS))
def simulate(
    url: str,
    trust: str | None,
    state: Path,
    user: str | None,
    password_file: str | None,
    token_file: str | None,
    cert: str | None,
    key: str | None,
    subject: str | None,
    san: tuple[str, ...],
    challenge_file: str | None,
    key_type: str | None,
    same_key: bool,
    decrypt_key: str | None,
    decrypt_secret_file: str | None,
    decrypt_id: str | None,
    decrypt_password_file: str | None,
    require_cmc_ra: bool,
    cmc: bool,
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
    if "enroll" in operations and not subject:
        raise CliError("enroll needs a --subject such as CN=device-1")
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
    if trust:
        config |= read_trust(trust)
    if password_file:
        config["password"] = read_secret(password_file)
    if cert and key:
        config |= {"factory_chain": read_certificates(cert), "factory_key": read_key(key)}
        leaf = x509.load_der_x509_certificate(bytes.fromhex(config["factory_chain"][0]))
        owner = load_der_private_key(bytes.fromhex(config["factory_key"]), None)
        if owner.public_key() != leaf.public_key():
            raise CliError(f"{key} is not the key of the certificate in {cert}")
    if challenge_file:
        config["challenge"] = read_secret(challenge_file)
    if token_file:
        config["token"] = read_secret(token_file)
    config |= read_decryption(decrypt_key, decrypt_secret_file, decrypt_id, decrypt_password_file)
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
        click.echo(f"Error: {failed['operation']}: {text}{later}", err=True)
        sys.exit(exit_code(failed))


# MicroPython has the numbers of all errors of the operating system, and the names of some.
_ERRNO = re.compile(r"\[Errno (\d+)\] E[A-Z0-9]+\b|(?<=: )(\d+)$")


def in_words(failed: Event) -> str:
    """The message of the `error` event, with the operating system's words for its errors."""
    if failed["type"] not in ("PeerError", "StorageError") or "HTTP" in failed["message"]:
        return str(failed["message"])
    return _ERRNO.sub(lambda found: os.strerror(int(found[1] or found[2])), failed["message"])


def not_accepted(failed: Event, state: Path) -> str:
    """What to add where the server may have refused the board's certificate in TLS.

    Of that a client learns no more than that the connection ended.
    """
    words = ("TLS", "closed the connection")
    if failed["type"] != "PeerError" or not any(word in failed["message"] for word in words):
        return ""
    try:
        leaf = x509.load_pem_x509_certificate((state / "cert.pem").read_bytes())
    except (OSError, ValueError):
        return ""
    if leaf.not_valid_after_utc < datetime.now(UTC):
        return f"; the board's certificate expired at {leaf.not_valid_after_utc}: enrol again"
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
