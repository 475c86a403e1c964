"""What systemd runs the agent by: the files of units/, filled in."""

from pathlib import Path

_TEMPLATES = Path(__file__).with_name("units")
_SYSUSERS = "mpest.sysusers"
_HARDENING = "hardening"

UNITS = tuple(
    sorted(
        path.name
        for path in _TEMPLATES.iterdir()
        if path.suffix in (".service", ".timer", ".path")
    )
)


def unit(name: str, program: str) -> str:
    """The text of unit `name`, which starts `program`: the path of the command mpest."""
    hardening = (_TEMPLATES / _HARDENING).read_text()
    text = (_TEMPLATES / name).read_text()
    # In a unit a % begins a specifier.
    program = program.replace("%", "%%")
    return (
        text.replace("@HARDENING@\n", hardening + "\n").rstrip("\n").replace("@MPEST@", program)
        + "\n"
    )


def sysusers() -> str:
    """What systemd-sysusers makes the agent's user by."""
    return (_TEMPLATES / _SYSUSERS).read_text()
