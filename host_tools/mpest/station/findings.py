"""What hinders a station."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """kind: a word for machines. what there is, why it hinders, and what to do about it."""

    kind: str
    what: str
    why: str
    do: str
