"""The events of a simulated board in words."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mpest.sim import attributes, inputs
from mpest.sim.board_process import Event

# MicroPython has the numbers of all errors of the operating system, and the names of some.
_ERRNO = re.compile(r"\[Errno (\d+)\] E[A-Z0-9]+\b|(?<=: )(\d+)$")
# CPython has the words beside the number.
_NUMBER = re.compile(r"\[Errno -?\d+\] ")
# MicroPython gives this error of mbedTLS without its name.
_CONNECTION_EOF = "TLS: -29312"
# And this one, of what is a certificate for a server by all else that est looks at.
_BAD_CERTIFICATE = "refused (-31232)"

# What helps, where all copies of a record are lost.
_DAMAGED = {
    "the stored identity: damaged": "enroll again",
    "the stored anchors: damaged": "give --trust again",
}
# Algorithms and curves that boards do not have, by the object identifier that their texts show.
_ALGORITHMS = {
    "1.2.840.10040.4.1": "DSA",
    "1.3.36.3.3.2.8.1.1.7": "brainpoolP256r1",
    "1.3.36.3.3.2.8.1.1.11": "brainpoolP384r1",
    "1.3.36.3.3.2.8.1.1.13": "brainpoolP512r1",
    "1.3.101.110": "X25519",
    "1.3.101.111": "X448",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
    "1.3.132.0.10": "secp256k1",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}
_OID = re.compile(r"\b\d(?:\.\d+){3,}\b")
_NO_TRUST = "nothing to trust: give anchors or a fingerprint"
_INDENT = "\n    "


def in_words(failed: Event) -> str:
    """The message of the `error` event, with the operating system's words for its errors."""
    if failed["message"] == _NO_TRUST:
        return "nothing to trust: give --trust, a file or a fingerprint"
    if failed["type"] == "Unsupported":
        return _OID.sub(_with_name, failed["message"])
    if failed["message"].endswith(_BAD_CERTIFICATE):
        return str(failed["message"]).removesuffix("(-31232)") + (
            "(its keyUsage lacks digitalSignature, or TLS does not take its key)"
        )
    if failed["type"] not in ("PeerError", "StorageError") or "HTTP" in failed["message"]:
        return str(failed["message"])
    text = _ERRNO.sub(lambda found: os.strerror(int(found[1] or found[2])), failed["message"])
    text = _NUMBER.sub("", text)
    if text in _DAMAGED:
        text += "; " + _DAMAGED[text]
    return text.replace(_CONNECTION_EOF, "TLS: the other side closed the connection")


def _with_name(oid: re.Match[str]) -> str:
    name = _ALGORITHMS.get(oid[0])
    return f"{oid[0]} ({name})" if name else oid[0]


def kept(failed: Event) -> str:
    """What to add where a certificate came that may yet become good."""
    if not failed["kept"] or failed["type"] == "RetryLater":  # whose text says so
        return ""
    return (
        f"; the certificate that came is kept, and judged again by the next {failed['operation']}"
    )


def not_accepted(failed: Event, state: Path) -> str:
    """What to add where the server may have refused the board's certificate in TLS.

    Of that a client often learns no more than that the connection ended.
    """
    words = ("TLS", "closed the connection")
    perhaps = failed["type"] == "PeerError" and any(word in failed["message"] for word in words)
    refused = failed["type"] == "Refused" and "accept the board's certificate" in failed["message"]
    if not (perhaps or refused):
        return ""
    ends = inputs.end_of(state / "cert.pem")
    if ends is None:
        return ""
    if ends < datetime.now(UTC):
        return f"; the board's certificate expired at {ends}: enrol again"
    if refused:
        return "; enrol again"
    return (
        "; if the server's log says that it does not accept the board's certificate, enrol again"
    )


def summary(event: Event) -> str:
    """One line for people; more for what a server asks for and for an identity that is shown."""
    name = event["event"]
    if name == "cacerts":
        trusted = [anchor["sha256"] for anchor in event["anchors"]]
        text = "; ".join(
            f"{certificate['subject']} (SHA-256 {certificate['sha256'][:8]}"
            + (", trusted)" if certificate["sha256"] in trusted else ")")
            for certificate in event["certificates"]
        )
    elif name == "csrattrs":
        lines = attributes.lines(event)
        kind = "a template to fill in" if event["template"] else "attributes"
        text = _INDENT.join([f"{kind}:", *lines]) if lines else "the server asks for nothing"
    elif event["certificate"] is None:
        text = "no identity is stored"
    elif name == "show":
        text = _INDENT.join(_shown(event["certificate"]))
    elif name == "revoke":
        text = f"{_name(event['certificate'])}, revoked and forgotten"
    else:
        certificate = event["certificate"]
        until = datetime.fromtimestamp(certificate["not_after"], UTC).date()
        text = f"{_name(certificate)}, valid until {until}"
    return f"{name:9} {event['ms']:5} ms  {text}"


def _name(certificate: dict[str, Any]) -> str:
    return f"{certificate['subject']}, serial {certificate['serial']}"


def _shown(certificate: dict[str, Any]) -> list[str]:
    times = {
        name: f"{datetime.fromtimestamp(certificate[name], UTC):%Y-%m-%d %H:%M:%S} UTC"
        for name in ("not_before", "not_after", "due")
    }
    return [
        certificate["subject"],
        f"names:   {', '.join(certificate['names']) or 'none'}",
        f"issuer:  {certificate['issuer']}",
        f"serial:  {certificate['serial']}",
        f"key:     {certificate['key']}",
        f"valid:   {times['not_before']} to {times['not_after']}",
        f"renewal: due at {times['due']}",
    ]
