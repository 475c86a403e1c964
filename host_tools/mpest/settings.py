"""Settings that a file or a command gives, checked by a pydantic model: errors in plain words."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, NamedTuple, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ValidationError
from pydantic_core import ErrorDetails

from mpest.exits import CliError

_Settings = TypeVar("_Settings", bound=BaseModel)

HIDDEN = "hidden"
"""The type of a PydanticCustomError that is about a secret: what was found is not shown."""

# What is allowed, by pydantic's name for what is wrong; filled in from the error's context.
_ALLOWED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a table",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_attributes_type": "a table",
    "model_type": "a table",
    "string_type": "text in quotes",
    "too_short": "a list of {min_length} or more",
    "union_tag_invalid": "{expected_tags}",
}
# Characters of it that are shown.
_MAX_FOUND = 60
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=36525)


def check(
    kind: type[_Settings], content: Mapping[str, Any], source: object = None, **given: object
) -> _Settings:
    """`content`, and what is `given` by others, as a `kind`.

    source: where `content` is from, to begin the message with.

    Raises CliError that names the first entry that is wrong, what was found there and what is
    allowed. Of a `kind` with `hide_input_in_errors` nothing is shown that may be a secret.
    """
    checked = check_all(kind, content, **given)
    if isinstance(checked, list):
        start = f"{source}: " if source else ""
        more = f" (and {len(checked) - 1} more)" if len(checked) > 1 else ""
        raise CliError(f"{start}{checked[0]}{more}")
    return checked


class Wrong(NamedTuple):
    """An entry that is wrong: the keys that lead to it, and what was found and is allowed."""

    path: tuple[int | str, ...]
    text: str

    @property
    def key(self) -> str:
        """The path as people write it: `boards[0].name`."""
        keys = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path)
        return "".join(keys).lstrip(".")

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.key, self.text)))


def check_all(
    kind: type[_Settings], content: Mapping[str, Any], context: object = None, **given: object
) -> _Settings | list[Wrong]:
    """As `check`, but all that is wrong. context: for validators of pydantic that ask for it."""
    try:
        return kind.model_validate({**content, **given}, context=context)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        return [_explain(kind, content, entry, given) for entry in errors]


def matching(pattern: str, words: str) -> AfterValidator:
    """Text that matches `pattern` as a whole; `words` say of any other what is allowed."""

    def validate(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{words} is expected")
        return text

    return AfterValidator(validate)


def lifetime(text: object) -> timedelta:
    """The time that `90d`, `12h`, `30m` or `45s` says. Raises ValueError in plain words."""
    if isinstance(text, timedelta):
        return text
    text = str(text)
    if text.isdigit():
        raise ValueError(f"{text} has no unit: {text}d are days; or h, m, s")
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 90d, 12h, 30m or 45s")
    time = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if time > _LONGEST:
        raise ValueError(f"{text} is longer than certificates of this CA live")
    return time


Lifetime = Annotated[timedelta, BeforeValidator(lifetime)]


def _explain(
    kind: type[BaseModel], content: object, error: ErrorDetails, given: Collection[str]
) -> Wrong:
    problem, location = error["type"], [*error["loc"]]
    context = {name: str(value) for name, value in error.get("ctx", {}).items()}
    absent = problem in ("missing", "extra_forbidden", "union_tag_not_found")
    is_about_key = location[-1:] == ["[key]"]
    if "discriminator" in context:  # says which member of a union is meant
        location.append(context["discriminator"].strip("'"))
    path, content_in_words = _follow(content, location, absent)
    if kind.model_config.get("hide_input_in_errors"):
        path, content_in_words = location[:1], None
    if is_about_key:
        content_in_words = None
    if problem == "extra_forbidden":
        entries = _fields(kind, location[:-1])
        if len(location) == 1:
            entries -= set(given)
        message = f"no such entry, known are {', '.join(sorted(entries))}"
    elif absent:
        message = "is missing"
    elif problem in _ALLOWED:
        message = f"allowed is {_ALLOWED[problem].format(**context)}"
    else:
        message = error["msg"].removeprefix("Value error, ")
        if message.startswith("'") or content_in_words in ("a table", "a list"):
            content_in_words = None  # these words say it themselves
    if content_in_words and not absent and problem != HIDDEN:
        message = f"found {content_in_words}, {message}"
    return Wrong(tuple(path), message)


def _follow(
    content: Any, location: list[int | str], absent: bool
) -> tuple[list[int | str], str | None]:
    """The keys of `location` that lead through `content`, and what is there, in words.

    Pydantic names the members of unions too, which no file does. absent: the last key may lead
    nowhere. What is there is None where the error is about several entries together.
    """
    path = []
    for key in location:
        if isinstance(content, str):  # one word in place of a list
            continue
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            if not absent or key is not location[-1]:
                continue
        path.append(key)
    if isinstance(content, dict | list):
        return path, ("a table" if isinstance(content, dict) else "a list") if path else None
    text = json.dumps(content, ensure_ascii=False, default=str)
    return path, text if len(text) <= _MAX_FOUND else text[:_MAX_FOUND] + "..."


def _fields(kind: type[BaseModel], location: list[int | str]) -> set[str]:
    """What may stand at `location` of a `kind`."""
    models = [kind]
    for key in location:
        inner = [model.model_fields[key] for model in models if key in model.model_fields]
        if inner:
            models = [model for field in inner for model in _models(field.annotation)]
        elif isinstance(key, str):  # the member of a union, by its tag
            models = [model for model in models if key in _tags(model)]
    return {name for model in models for name in model.model_fields}


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _tags(model: type[BaseModel]) -> set[object]:
    return {tag for field in model.model_fields.values() for tag in get_args(field.annotation)}
