"""The words of the page, in a TOML file that can be translated."""

import re
import tomllib
from pathlib import Path
from typing import Any

from mpest.exits import CliError
from mpest.text import text_of

OWN = Path(__file__).parent / "files" / "texts.toml"
_MAX_BYTES = 256 << 10  # the English ones take 6 KiB

Texts = dict[str, Any]
"""Words, or tables of them."""


def load(file: Path | None = None) -> Texts:
    """English, with what `file` says in other words. Raises CliError."""
    own = tomllib.loads(OWN.read_text(encoding="utf-8"))
    if file is None:
        return own
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise CliError(f"{file}: has more than {_MAX_BYTES >> 10} KiB")
        return _merged(own, tomllib.loads(text_of(content).replace("\r\n", "\n")), file, "")
    except OSError as error:
        raise CliError(f"{file} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CliError(f"{file} is not UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise CliError(f"{file}: {error}") from None


def _merged(own: Texts, other: Texts, file: Path, path: str) -> Texts:
    merged = dict(own)
    for key, value in other.items():
        where = f"{file}: {path}{key}"
        if key not in own:
            raise CliError(f"{where}: the page has no such text: {', '.join(own)}")
        if isinstance(own[key], dict) and isinstance(value, dict):
            merged[key] = _merged(own[key], value, file, f"{path}{key}.")
        elif isinstance(own[key], str) and isinstance(value, str):
            unknown = _places(value) - _places(own[key])
            if unknown:
                raise CliError(f"{where}: nothing fills {{{unknown.pop()}}} here")
            merged[key] = value
        else:
            kind = "a table" if isinstance(own[key], dict) else "text, in quotes,"
            raise CliError(f"{where}: {kind} is expected")
    return merged


def _places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))
