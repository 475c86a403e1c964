"""One spelling for names that are one (RFC 5280 7.1)."""

import re
import unicodedata

# What nobody sees (RFC 4518 2.2): soft hyphens, joiners and the like, and these beside them.
_IGNORED = ("Cc", "Cf")
_IGNORED_SIGNS = {0x034F, 0x1806, *range(0x180B, 0x180F), *range(0xFE00, 0xFE10), 0xFFFC}


def canonical(text: str) -> str:
    """One spelling for all that X.520 has as the same: in capitals or not, by any number of
    spaces, in each form of Unicode (RFC 4518 2)."""
    if text.isascii() and text.isprintable():  # the same, but fast
        return " ".join(text.lower().split())
    shown = "".join(
        " " if character.isspace() else character
        for character in text
        if character.isspace() or not _is_ignored(character)
    )
    folded = unicodedata.normalize("NFKC", shown.casefold()).casefold()
    return " ".join(folded.split())


def _is_ignored(character: str) -> bool:
    return unicodedata.category(character) in _IGNORED or ord(character) in _IGNORED_SIGNS


def canonical_subject(text: str) -> str:
    """The same of each value in a text of RFC 4514."""
    rdns = _split(text, ",")
    return ",".join("+".join(sorted(map(_attribute, _split(rdn, "+")))) for rdn in rdns)


def _split(text: str, sign: str) -> list[str]:
    """The parts between signs that have no backslash."""
    return re.findall(rf"(?:\\.|[^{sign}\\])+", text, re.DOTALL)


def _attribute(text: str) -> str:
    kind, _, value = text.partition("=")
    unescaped = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
    return f"{kind}={canonical(unescaped)}"
