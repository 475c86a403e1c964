"""Labels by templates: ZPL for label printers, SVG for anything else, each with a QR code.

The templates are the user's; what comes in from boards and lists is escaped, so that no value can
be a command of the printer or markup. `{qr}` is the QR code in SVG, and its content in ZPL.
"""

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape as xml_escape

import segno

from mpest.exits import CliError, Exit
from mpest.station import templates
from mpest.station.entries import OURS
from mpest.station.job import AnyUnit, Job
from mpest.station.templates import Escape, TemplateError
from mpest.text import text_of

QR = "qr"

_MAX_TEMPLATE = 256 << 10  # bytes; printers have less memory
# Octets that a code of version 10 holds at level M: of 57 modules on a side, 0.4 mm each on 23 mm.
_MAX_QR = 213
_PRINT_SECONDS = 60

_REDEFINES = re.compile(r"[\^~]C[CDT]", re.IGNORECASE)
_HEX_ON = re.compile(r"\^FH([^\s^])?", re.IGNORECASE)
_DATA_ON = re.compile(r"\^F[DV]", re.IGNORECASE)
_FIELD_END = re.compile(r"\^FS", re.IGNORECASE)
_UTF8_ON = re.compile(r"\^CI28", re.IGNORECASE)
_CODE_128 = re.compile(r"\^BC", re.IGNORECASE)
_ZPL_SPECIAL = "^~\\"
_SVG = "{http://www.w3.org/2000/svg}"
_MARKUP_DECLARATION = re.compile(r"<!(?!--|\[CDATA\[)")


@dataclass(frozen=True)
class Label:
    """A board's label, in the forms that the job has."""

    qr: str
    zpl: str | None
    svg: str | None


def make(job: Job, unit: AnyUnit, *, draw: bool = True) -> Label:
    """The label of a board; the same again for a reprint. Raises CliError.

    draw: else the drawing lacks its QR code, which takes the most time.
    """
    assert job.label
    values = job.values(unit)
    where = "label.qr"
    made: dict[str, str] = {}
    try:
        content = qr_content(job.label.qr, values)
        if job.label.zpl:
            where = "label.zpl"
            made["zpl"] = zpl(_template(job.label.zpl, "zpl"), values, content)
        if job.label.svg:
            where = "label.svg"
            code = qr_svg(content) if draw else ""
            made["svg"] = svg(_template(job.label.svg, "svg"), values, code)
    except TemplateError as error:
        raise CliError(f"{where}: {error}") from None
    return Label(content, made.get("zpl"), made.get("svg"))


@cache
def _template(file: Path, form: str) -> str:
    """Raises TemplateError."""
    if file == Path(OURS):
        file = Path(__file__).parent / "label" / f"{OURS}.{form}"
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_TEMPLATE + 1)
        text = text_of(data)
    except OSError as error:
        raise TemplateError(f"{file} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TemplateError(f"{file} is not UTF-8") from None
    if len(data) > _MAX_TEMPLATE:
        raise TemplateError(f"{file} has more than {_MAX_TEMPLATE >> 10} KiB")
    return text


def qr_content(template: str, values: Mapping[str, str]) -> str:
    """What the QR code holds. Raises TemplateError."""
    content = templates.expand(template, values, templates.text)
    # Scanners type as a keyboard does, which has few other signs, in places that differ.
    if not content.isascii():
        raise TemplateError(f"{content!r} has signs beyond ASCII, which scanners mistype")
    if len(content) > _MAX_QR:
        raise TemplateError(
            f"its {len(content)} characters make a code too fine for a label: {_MAX_QR} at most"
        )
    return content


def serial_of(scanned: str, template: str) -> str | None:
    """The serial number in what was scanned, None if it is no label by this template of `qr`."""
    pattern, named = "", False
    for part in re.split(r"(\{\{|\}\}|\{[^{}]*\})", template):
        if part == "{serial}":
            pattern += "(?P=serial)" if named else "(?P<serial>.+?)"
            named = True
        elif part in ("{{", "}}"):
            pattern += re.escape(part[0])
        else:
            pattern += ".*?" if part.startswith("{") else re.escape(part)
    match = re.fullmatch(pattern, scanned.strip("\r\n\t "))
    return match["serial"] if match and named else None


def zpl(template: str, values: Mapping[str, str], qr: str) -> str:
    """A label in ZPL II. Raises TemplateError."""
    if "^XA" not in template.upper() or "^XZ" not in template.upper():
        raise TemplateError("a ZPL label begins with ^XA and ends with ^XZ")
    if _REDEFINES.search(template):
        raise TemplateError("the commands ^CC ^CD ^CT change what is a command: leave them out")
    known = {**values, QR: qr}
    label, field = "", ""
    for part, name in templates.parts(template, known):
        if name is None:
            label += part
            field = _FIELD_END.split(field + part)[-1]
        else:
            label += templates.escaped(name, known, _for_field(field, label))
    return label


def _for_field(field: str, before: str) -> Escape:
    """For data of a field, of which `field` is the begin; `before` is all that precedes it."""
    hexadecimal = _HEX_ON.search(field)
    sign = hexadecimal and (hexadecimal[1] or "_")

    def escape(value: str) -> str:
        if not _DATA_ON.search(field):
            raise ValueError("it must be the data of a field, between ^FD and ^FS")
        if _CODE_128.search(field) and ">" in value:
            raise ValueError("Code 128 takes > for a command")
        if not value.isascii() and not _UTF8_ON.search(before):
            raise ValueError("it is beyond ASCII, so the label must begin with ^CI28")
        special = {*_ZPL_SPECIAL, sign}
        made = ""
        for letter in value:
            if letter.isascii() and letter not in special:
                made += letter
            elif not sign:
                raise ValueError(f"{letter} takes ^FH before ^FD")
            else:
                made += "".join(f"{sign}{octet:02X}" for octet in letter.encode())
        return made

    return escape


def svg(template: str, values: Mapping[str, str], qr: str) -> str:
    """A label in SVG; qr: the code, as `qr_svg` draws it. Raises TemplateError."""
    known = {**values, QR: qr}
    label = ""
    for part, name in templates.parts(template, known):
        if name is None:
            label += part
        elif name == QR:
            label += qr
        else:
            label += templates.escaped(name, known, _for_xml)
    _check_svg(label)
    return label


def _for_xml(value: str) -> str:
    return xml_escape(value, {'"': "&quot;", "'": "&apos;"})


def _check_svg(label: str) -> None:
    """Raise TemplateError unless it is a drawing, without programs and outside files."""
    if _MARKUP_DECLARATION.search(label):
        raise TemplateError("a label has no DOCTYPE and no entities")
    try:
        root = ElementTree.fromstring(label)  # noqa: S314  # there are no entities to expand
    except (ElementTree.ParseError, ValueError) as error:
        raise TemplateError(f"is no SVG: {error}") from None
    if root.tag != f"{_SVG}svg" or not {"width", "height"} <= {*root.keys()}:
        raise TemplateError("is no <svg xmlns=... width=... height=...>, in mm for a printer")
    for element in root.iter():
        tag = str(element.tag).rpartition("}")[2].lower()
        if tag in ("script", "foreignobject", "iframe"):
            raise TemplateError(f"a label has no <{tag}>")
        for name, value in element.items():
            name = name.rpartition("}")[2].lower()
            if name.startswith("on"):
                raise TemplateError(f"a label runs no programs: leave out {name}")
            if name == "href" and not value.startswith(("#", "data:image/")):
                raise TemplateError(f"a label is whole by itself: put {value[:60]!r} into it")


@lru_cache(maxsize=16)  # a page shows a label again and again
def qr_svg(content: str) -> str:
    """A QR code of what `qr_content` made, which fills the <svg> that it stands in."""
    code = segno.make_qr(content, error="m")
    return str(code.svg_inline(omitsize=True, svgclass=None, lineclass=None))


def page(labels: Iterable[str], title: str) -> str:
    """Labels in SVG on pages that a browser prints, as many on each as fit."""
    drawings = "\n".join(
        f'<div class="label">{re.sub(r"<[?]xml.*?[?]>", "", label)}</div>' for label in labels
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{_for_xml(title)}</title>
<style>
@page {{ margin: 5mm }}
body {{ margin: 0; display: flex; flex-wrap: wrap; gap: 2mm }}
.label {{ break-inside: avoid; line-height: 0 }}
</style>
</head>
<body>
{drawings}
</body>
</html>
"""


def send(command: list[str], label: Label, folder: Path) -> None:
    """Hand a label to the printer's command, in ZPL if there is one. Raises CliError."""
    text = label.zpl or label.svg or ""
    try:
        done = subprocess.run(
            command,
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PRINT_SECONDS,
            cwd=folder,
        )
    except subprocess.TimeoutExpired:
        raise CliError(f"{command[0]} does not end: is the printer on?", Exit.STORAGE) from None
    except OSError as error:
        raise CliError(f"can't run {command[0]}: {error.strerror}") from None
    if done.returncode:
        words = done.stdout.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
        raise CliError(f"the label was not printed: {command[0]}: {words[0]}", Exit.STORAGE)
