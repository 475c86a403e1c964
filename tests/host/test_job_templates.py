"""Templates: what they make, read back by what reads it later; and what they refuse."""

import json
import string

import pytest
from cryptography import x509
from hypothesis import example, given
from hypothesis import strategies as st

from mpest.sim import cpython
from mpest.station import templates
from mpest.station.templates import TemplateError, expand

cpython.install()
from est import extensions, names  # noqa: E402

PRINTABLE = st.text(min_size=1, max_size=20).filter(str.isprintable)
TRIMMED = PRINTABLE.filter(lambda text: text == text.strip())


def test_words() -> None:
    values = {"serial": "A1", "batch": "b", "Order No": "7"}
    assert expand("{serial}/{batch}-{Order No}", values, templates.text) == "A1/b-7"
    assert expand("{{serial}} }}{{", values, templates.text) == "{serial} }{"
    assert expand("", values, templates.text) == ""


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{colour}", "there is no {colour}; known are {mac} {serial}"),
        ("{}", "there is no {}"),
        ("{ serial }", "there is no { serial }"),
        ("{serial", "a { is alone; write {{ for the sign itself"),
        ("serial}", "a } is alone; write }} for the sign itself"),
        ("{{serial}", "a } is alone"),
        ("{mac}", "{mac} is blank"),
        ("{serial.__class__}", "there is no {serial.__class__}"),
    ],
)
def test_wrong(template: str, words: str) -> None:
    with pytest.raises(TemplateError) as caught:
        expand(template, {"serial": "A1", "mac": ""}, templates.text)
    assert words in str(caught.value)


@example("#a, b+c\\")
@given(TRIMMED)
def test_subjects(value: str) -> None:
    """As the board reads them, and as RFC 4514 says."""
    template = "CN=a,OU={serial},O=b"
    made = expand(template, {"serial": value}, templates.subject)
    # RFC 4514 has the last attribute first.
    values = [attribute.value for attribute in x509.Name.from_rfc4514_string(made)]
    assert values == ["b", value, "a"]
    assert value.encode() in names.name(made)


@pytest.mark.parametrize("value", [" a", "a ", "\u00a0a", "a\nb", "\0", "\ud800", "\u202e"])
def test_what_a_subject_would_lose(value: str) -> None:
    with pytest.raises(TemplateError):
        expand("CN={serial}", {"serial": value}, templates.subject)


@given(st.sampled_from(["DNS:{a}", "IP:{a}", "email:x@{a}", "URI:urn:x:{a}"]), PRINTABLE)
def test_alternative_names(template: str, value: str) -> None:
    """A value stays within its name: it is one of the same kind, or refused."""
    try:
        made = expand(template, {"a": value}, templates.alternative(template))
        extensions.requested([made])
    except (TemplateError, names.UsageError):
        return
    assert made.startswith(template.partition("{")[0])
    assert set(made) <= set(string.printable) - set(string.whitespace)


@given(PRINTABLE)
def test_json(value: str) -> None:
    made = json.dumps({"a": expand("<{a}>", {"a": value}, templates.text)})
    assert json.loads(made) == {"a": f"<{value}>"}


@given(PRINTABLE)
def test_names_of_files_stay_in_the_folder(value: str) -> None:
    try:
        made = expand("otp/{a}", {"a": value}, templates.file_name)
    except TemplateError:
        return
    assert made.startswith("otp/") and ".." not in made.split("/")


@pytest.mark.parametrize("value", ["../x", "/etc/passwd", "a/../../b", "..\\x"])
def test_names_of_files_that_lead_out(value: str) -> None:
    with pytest.raises(TemplateError, match="leads out of the folder"):
        expand("{a}", {"a": value}, templates.file_name)


@given(st.text(alphabet="{}abserial ", max_size=30))
def test_any_template(template: str) -> None:
    """Is expanded, or refused in one line."""
    values = {"serial": "A1", "a": "{serial}", "b": "}{"}
    try:
        made = expand(template, values, templates.text)
    except TemplateError as error:
        assert str(error).isprintable()
    else:
        assert len(made) <= len(template) * 4
