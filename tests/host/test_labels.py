"""Labels: what a scanner reads of them, and that no value is a command or markup."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import job_files
import pytest
import zxingcpp
from hypothesis import example, given
from hypothesis import strategies as st
from job_files import with_line

from mpest.exits import CliError
from mpest.station import job, labels
from mpest.station.templates import TemplateError

ASCII = st.text(
    alphabet=st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40
)
PRINTABLE = st.text(min_size=1, max_size=20).filter(str.isprintable)
ZPL = "^XA^CI28^FO1,1^FH^FD{serial}^FS^FO2,2^A0N^FH\\^FD<{x}>^FS^XZ"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="9mm" height="9mm">'
    '<text id="{x}">{x}</text></svg>'
)


def scan(drawing: str) -> str:
    """What a decoder reads of the code in an SVG: its path of strokes, as pixels."""
    element = ElementTree.fromstring(drawing)
    side = int(element.get("viewBox", "").split()[2])
    (path,) = (one.get("d", "") for one in element.iter() if one.tag.endswith("path"))
    scale = 4
    pixels = [bytearray(b"\xff" * side * scale) for _ in range(side * scale)]
    x = y = 0.0
    for command, numbers in re.findall(r"([Mmh])([-\d. ]+)", path):
        first, *others = map(float, numbers.split())
        if command == "h":
            for row in range(scale):
                at = int(x) * scale
                pixels[int(y) * scale + row][at : at + int(first) * scale] = bytes(
                    int(first) * scale
                )
            x += first
        elif command == "M":
            x, y = first, others[0]
        else:
            x, y = x + first, y + others[0]
    image = memoryview(b"".join(pixels)).cast("B", (side * scale, side * scale))
    found = zxingcpp.read_barcode(image)
    assert found is not None
    return str(found.text)


@given(ASCII)
def test_qr_codes_are_read(content: str) -> None:
    assert scan(labels.qr_svg(content)) == content


def test_the_largest_code() -> None:
    content = labels.qr_content("{x}", {"x": "aZ" * 106 + "-"})
    assert scan(labels.qr_svg(content)) == content
    with pytest.raises(TemplateError, match="214 characters make a code too fine for a label"):
        labels.qr_content("-{x}", {"x": content})
    with pytest.raises(TemplateError, match="beyond ASCII, which scanners mistype"):
        labels.qr_content("{x}", {"x": "ü"})


def fields(label: str) -> list[str]:
    """The data of a ZPL label's fields as a printer takes them: hexadecimal is undone."""
    found = []
    for field in label.split("^FS"):
        match = re.search(r"\^FH(\\?)\^FD(.*)", field, re.DOTALL)
        if match:
            sign = (match[1] or "_").encode()
            pattern = re.escape(sign) + b"([0-9A-F]{2})"
            data = match[2].encode()
            found.append(
                re.sub(pattern, lambda one: bytes.fromhex(one[1].decode()), data).decode()
            )
    return found


@given(PRINTABLE, PRINTABLE)
def test_zpl_holds_the_values(serial: str, value: str) -> None:
    label = labels.zpl(ZPL, {"serial": serial, "x": value}, "q")
    assert fields(label) == [serial, f"<{value}>"]
    # Nothing of the values is a command.
    assert label.count("^") == ZPL.count("^") and "~" not in label


@pytest.mark.parametrize(
    ("template", "value", "words"),
    [
        ("x", "a", "a ZPL label begins with ^XA and ends with ^XZ"),
        ("^XA^CC/^XZ", "a", "change what is a command"),
        ("^XA~ct-^XZ", "a", "change what is a command"),
        ("^XA^FT{x}^FS^XZ", "a", "must be the data of a field, between ^FD and ^FS"),
        ("^XA^FX{x}^FS^XZ", "a", "must be the data of a field"),
        ("^XA^FDa^FS{x}^XZ", "a", "must be the data of a field"),
        ("^XA^FD{x}^FS^XZ", "a^b", "{x} is 'a^b': ^ takes ^FH before ^FD"),
        ("^XA^FD{x}^FS^XZ", "a~b", "~ takes ^FH"),
        ("^XA^FDa^FS^FH^FS^FD{x}^FS^XZ", "a^b", "^ takes ^FH"),
        ("^XA^FH^FD{x}^FS^XZ", "é", "must begin with ^CI28"),
        ("^XA^CI28^FD{x}^FS^XZ", "é", "é takes ^FH"),
        ("^XA^BCN^FH^FD{x}^FS^XZ", "a>b", "Code 128 takes > for a command"),
        ("^XA^FD{y}^FS^XZ", "a", "there is no {y}; known are {qr} {x}"),
        ("^XA^FD{x}^FS^XZ", "", "{x} is blank"),
        ("^XA^FD{x}^FS^XZ", "a\x1bb", "a character that can't be printed"),
        ("^XA^FD{x}^FS^XZ", "a\nb", "a character that can't be printed"),
    ],
)
def test_what_zpl_refuses(template: str, value: str, words: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(words)):
        labels.zpl(template, {"x": value}, "q")


def test_zpl_in_small_letters() -> None:
    made = labels.zpl("^xa^fh^fd{x}^fs^xz", {"x": "a_^"}, "q")
    assert made == "^xa^fh^fda_5F_5E^fs^xz"


@example("'<&\"")
@given(PRINTABLE)
def test_svg_holds_the_values(value: str) -> None:
    root = ElementTree.fromstring(labels.svg(SVG, {"x": value}, ""))
    (text,) = root
    assert (text.text, text.get("id")) == (value, value)


def svg(inner: str) -> str:
    return SVG.partition("<text")[0] + inner + "</svg>"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("", "is no SVG: no element found"),
        ("<svg>", "is no SVG: no element found"),
        ("<svg/>", "is no <svg xmlns="),
        ('<svg xmlns="http://www.w3.org/2000/svg"/>', "is no <svg xmlns="),
        (f"<!DOCTYPE svg>{SVG}", "no DOCTYPE and no entities"),
        (svg("<script>1</script>"), "a label has no <script>"),
        (svg("<foreignObject/>"), "a label has no <foreignobject>"),
        (svg('<g onload="1"/>'), "runs no programs: leave out onload"),
        (svg('<use href="https://example.com/x"/>'), "put 'https://example.com/x' into it"),
        (
            svg('<image xmlns:l="http://www.w3.org/1999/xlink" l:href="x.png"/>'),
            "put 'x.png' into",
        ),
        (svg("<style>text{{fill:red}}</style>{y}"), "there is no {y}"),
        (svg("<style>text{fill:red}</style>"), "there is no {fill:red}; known are {qr} {x}"),
        (svg("&lt;{x"), "a { is alone"),
        (svg("&x;"), "undefined entity"),
    ],
)
def test_what_svg_refuses(template: str, words: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(words)):
        labels.svg(template, {"x": "a"}, "")


def test_what_svg_takes() -> None:
    inner = (
        '<style>text{{fill:red}}</style><image href="data:image/png;base64,AA=="/><use href="#a"/>'
    )
    assert "text{fill:red}" in labels.svg(svg(inner), {"x": "a"}, "")
    assert labels.svg(f'<?xml version="1.0"?><!-- a -->{SVG}', {"x": "a"}, "")


@pytest.mark.parametrize(
    ("template", "scanned", "serial"),
    [
        ("{serial}", "A1", "A1"),
        ("{serial}", "A1\r\n", "A1"),
        ("https://example.com/{batch}/{serial}", "https://example.com/b/A1", "A1"),
        ("https://example.com/{serial}", "http://example.com/A1", None),
        ("{serial}|{serial}", "A1|A1", "A1"),
        ("{serial}|{serial}", "A1|A2", None),
        ("{{{serial}}}", "{A1}", "A1"),
        ("S.{serial}", "SxA1", None),
        ("{serial}", "", None),
        ("none", "none", None),
    ],
)
def test_scanned(template: str, scanned: str, serial: str | None) -> None:
    assert labels.serial_of(scanned, template) == serial


@given(ASCII)
def test_what_is_scanned_is_what_was_printed(serial: str) -> None:
    serial = "A" + serial.strip()
    for template in ("{serial}", "x:{serial}", "{{{serial}}}"):
        content = labels.qr_content(template, {"serial": serial})
        assert labels.serial_of(content, template) == serial


def labelled(folder: Path, lines: str = 'zpl = "default"\nsvg = "default"') -> job.Job:
    return job.load(job_files.make(folder, with_line(lines, "label")))


def test_our_templates(tmp_path: Path) -> None:
    made = labelled(tmp_path)
    first, second = made.units()
    label = labels.make(made, first)
    assert label == labels.make(made, first)
    assert label.zpl and label.svg and label.qr == "A1"
    assert "^BQN,2,5^FH^FDMA,A1^FS" in label.zpl and "^FH^FDbatch-1^FS" in label.zpl
    assert scan(labels.qr_svg(label.qr)) in label.svg
    assert labels.make(made, second).qr == "A2"


def test_a_page_of_labels(tmp_path: Path) -> None:
    made = labelled(tmp_path, 'svg = "default"')
    drawings = [labels.make(made, unit).svg or "" for unit in made.units()]
    page = labels.page([f'<?xml version="1.0"?>\n{drawings[0]}', drawings[1]], "<batch>")
    assert page.count('<div class="label">') == 2 and "<?xml" not in page
    assert "<title>&lt;batch&gt;</title>" in page
    assert not re.search(r"(?:src|href)=|<script|https?://(?!www\.w3\.org/2000/svg)", page)


def test_printing(tmp_path: Path) -> None:
    label = labels.Label("A1", "^XA^XZ", None)
    labels.send(["sh", "-c", "cat > printed"], label, tmp_path)
    assert (tmp_path / "printed").read_text() == "^XA^XZ"
    labels.send(["sh", "-c", "cat > printed"], labels.Label("A1", None, "<svg/>"), tmp_path)
    assert (tmp_path / "printed").read_text() == "<svg/>"
    with pytest.raises(CliError, match="the label was not printed: sh: no paper"):
        labels.send(["sh", "-c", "echo no paper >&2; exit 3"], label, tmp_path)
    with pytest.raises(CliError, match="can't run mpest-none: No such file"):
        labels.send(["mpest-none"], label, tmp_path)


TEMPLATE = st.text(alphabet="^XAZFDSHCI28~{}x<>/&;\"'svg \\", max_size=40)


@given(TEMPLATE, PRINTABLE)
def test_any_template(template: str, value: str) -> None:
    """Is a label, or is refused in one line."""
    for make in (labels.zpl, labels.svg):
        for text in (template, f"^XA{template}^XZ", svg(template)):
            try:
                make(text, {"x": value}, "")
            except TemplateError as error:
                assert str(error).isprintable()
