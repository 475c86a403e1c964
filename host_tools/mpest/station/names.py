"""Subjects and alternative names of boards: whether they are well-formed."""

from urllib.parse import urlsplit

from mpest.sim import cpython

cpython.install()
from est import extensions, names  # noqa: E402
from est.errors import UsageError  # noqa: E402
from est.url import parse  # noqa: E402

_MAX_HOST = 253  # characters of a DNS name (RFC 1035 3.1, as text)


def url_problem(url: str) -> str | None:
    """What is wrong with the URL of an EST server."""
    try:
        parse(url)
    except UsageError as error:
        return str(error)
    return None


def subject_problem(subject: str) -> str | None:
    """What is wrong with a subject (RFC 4514), by the code that a board makes its request with."""
    try:
        names.name(subject)
    except UsageError as error:
        return str(error).removeprefix("subject: ")
    return None


def attributes(subject: str) -> list[str]:
    """The attributes of a subject, such as CN, in its order. Raises UsageError."""
    parts = names.text(names.name(subject)).split(",")
    return [part.partition("=")[0] for part in parts]


def alternative_problem(name: str) -> str | None:
    """What is wrong with an alternative name (RFC 5280 4.2.1.6) such as DNS:a.example."""
    try:
        extensions.requested([name])
    except UsageError as error:
        return str(error).removeprefix("alternative name: ")
    kind, _, value = name.partition(":")
    match kind.lower():
        case "dns" if len(value) > _MAX_HOST:
            return f"a DNS name has {_MAX_HOST} characters at most, not {len(value)}"
        case "email" if value.count("@") != 1 or not all(value.split("@")):
            return f"{value!r} is no mail address"
        case "uri" if not _is_uri(value):
            return f"{value!r} is no URI with a scheme, such as urn:serial:A1"
    return None


def _is_uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.path))
