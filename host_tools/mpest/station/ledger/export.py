"""A batch in the form that another system takes, by a template: those of this package or a file.

Templates are Jinja2's, in its sandbox: a file from elsewhere reads the batch and nothing else.
They see `batch` and `boards` of the manifest's document, and have the filters below.
"""

import csv
import io
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mpest.exits import CliError
from mpest.station.ledger.record import Document
from mpest.text import printable, text_of

_SHIPPED = resources.files("mpest.station.ledger") / "templates"
_SUFFIX = ".j2"
_MAX_TEMPLATE = 1 << 20
_MAX_REASON = 200
# What a mistake in a template raises while it is filled in.
_MISTAKES = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    re.error,
)


def names() -> list[str]:
    """The templates that come with this package."""
    return sorted(
        entry.name.removesuffix(_SUFFIX)
        for entry in _SHIPPED.iterdir()
        if entry.name.endswith(_SUFFIX)
    )


def export(template: str, document: Document) -> str:
    """The document as `template` says: a name of `names`, or a file. Raises CliError."""
    text = _read(template)
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False
    )
    environment.filters.update(
        csv=_csv, json=_json, matching=_matching, certificates=_certificates
    )
    try:
        return environment.from_string(text).render(
            batch=document["batch"], boards=document["boards"], made=document["made"]
        )
    except TemplateSyntaxError as error:
        raise CliError(f"{template}, line {error.lineno}: {_reason(error)}") from None
    except _MISTAKES as error:
        line = _line(error)
        where = f"{template}, line {line}" if line else template
        raise CliError(f"{where}: {_reason(error)}") from None


def _read(template: str) -> str:
    if template in names():
        return (_SHIPPED / f"{template}{_SUFFIX}").read_text("utf-8")
    path = Path(template)
    try:
        with path.open("rb") as file:
            return text_of(file.read(_MAX_TEMPLATE))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise CliError(
            f"can't read the template {printable(template)}: {reason}; "
            f"those that come with mpest: {', '.join(names())}"
        ) from None


def _reason(error: BaseException) -> str:
    return printable(" ".join((str(error) or type(error).__name__).split()))[:_MAX_REASON]


def _line(error: BaseException) -> int | None:
    """Of the template, where the error came from it."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _csv(cell: object) -> str:
    """One cell as RFC 4180 has it."""
    out = io.StringIO()
    csv.writer(out).writerow([_given(cell)])
    return out.getvalue().removesuffix("\r\n") if str(cell) else ""


def _json(value: object) -> str:
    return json.dumps(_given(value))


def _matching(text: object, pattern: str) -> str:
    """The text itself, which must fit the other system's pattern."""
    if not re.fullmatch(pattern, str(_given(text))):
        raise ValueError(f"{str(text)!r} doesn't match {pattern}")
    return str(text)


def _certificates(pem: object) -> list[str]:
    """The certificates of a PEM bundle, one by one."""
    end = "-----END CERTIFICATE-----\n"
    return [part + end for part in str(_given(pem)).split(end) if part]


def _given(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)  # raises what is missing
    return value
