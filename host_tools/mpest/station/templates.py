"""Templates: texts with {serial}, {mac}, {unique_id}, {batch} or the name of a column in them.

In their place comes what they are for one board, escaped for where it goes. What would be misread
there all the same is refused. `{{` and `}}` stand for braces.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from urllib.parse import quote

WORDS = ("serial", "batch", "unique_id", "mac")
"""What every template may hold; the other words are columns."""

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_DN_SPECIAL = re.compile(r'([,+"\\<>;])')  # RFC 4514 2.4
_DNS = re.compile(r"[A-Za-z0-9._-]+")
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]+")
_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*/=?^_`|~@+-]+")  # RFC 5322's atext, dots and @
_URI_LITERAL = "-._~:@!$&'()*+;="  # what a segment of a path may hold (RFC 3986 3.3), less commas

Escape = Callable[[str], str]
"""Makes of a value what stands for it in some place. Raises ValueError in plain words."""


class TemplateError(ValueError):
    """What is wrong with a template, or with a value in it, in plain words."""


def expand(template: str, values: Mapping[str, str], escape: Escape) -> str:
    """`template` with `values` in place of their names. Raises TemplateError."""
    return "".join(
        part if name is None else escaped(name, values, escape)
        for part, name in parts(template, values)
    )


def parts(template: str, known: Collection[str]) -> Iterator[tuple[str, str | None]]:
    """(text, None) of what stands for itself, ("{name}", name) of what a value stands for.

    Raises TemplateError for a name that is not `known`, and a brace that is alone.
    """
    at = 0
    for match in _PART.finditer(template):
        if match.start() > at:
            yield template[at : match.start()], None
        at = match.end()
        if match[0] in ("{{", "}}"):
            yield match[0][0], None
        elif match[1] is None:
            raise TemplateError(f"a {match[0]} is alone; write {match[0] * 2} for the sign itself")
        elif match[1] not in known:
            raise TemplateError(f"there is no {{{match[1]}}}; known are {_listed(known)}")
        else:
            yield match[0], match[1]
    if at < len(template):
        yield template[at:], None


def _listed(known: Collection[str]) -> str:
    return " ".join(f"{{{name}}}" for name in sorted(known))


def escaped(name: str, values: Mapping[str, str], escape: Escape) -> str:
    """What stands in the place of `name`. Raises TemplateError."""
    value = values[name]
    if not value:
        raise TemplateError(f"{{{name}}} is blank")
    if not value.isprintable():
        raise TemplateError(f"{{{name}}} is {value!r}: it has a character that can't be printed")
    try:
        return escape(value)
    except ValueError as error:
        raise TemplateError(f"{{{name}}} is {value!r}: {error}") from None


def text(value: str) -> str:
    """As it is: for JSON, whose writer escapes it, and for arguments of a program."""
    return value


def subject(value: str) -> str:
    """For the value of an attribute in a subject (RFC 4514 2.4)."""
    if value != value.strip():
        raise ValueError("a blank at its begin or end would be lost in the subject")
    escaped = _DN_SPECIAL.sub(r"\\\1", value)
    return "\\" + escaped if escaped.startswith("#") else escaped


def alternative(template: str) -> Escape:
    """For an alternative name, by how its template begins: DNS: IP: URI: or email:."""
    kind = template.partition(":")[0].lower()
    if kind == "uri":
        return lambda value: quote(value, safe=_URI_LITERAL)
    pattern, what = {
        "dns": (_DNS, "a DNS name"),
        "ip": (_ADDRESS, "an IP address"),
        "email": (_MAIL, "a mail address"),
    }.get(kind, (_DNS, "an alternative name"))

    def escape(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{what} can't hold that")
        return value

    return escape


def file_name(value: str) -> str:
    """For the name of a file, in whose folder it stays."""
    if ".." in value.split("/") or value.startswith("/") or "\\" in value:
        raise ValueError("it leads out of the folder")
    return value
