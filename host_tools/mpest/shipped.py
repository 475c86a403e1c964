"""Folders that come with this code, from the checkout or installed beside it."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]


def folder(name: str) -> Path:
    """Folder `name` of the checkout, such as "firmware" or "boards". Raises FileNotFoundError."""
    # The wheel holds them beside the modules; see force-include in pyproject.toml.
    for path in (_PACKAGE / "files" / name, _CHECKOUT / name):
        if path.is_dir():
            return path
    raise FileNotFoundError(f"the folder {name} is not part of this installation")
