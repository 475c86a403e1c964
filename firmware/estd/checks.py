"""What would fail later by settings that are well-formed: told before anything is sent."""

import os

from est.errors import EstError
from estd import export, hardware

# Of stat's mode: what kind it is, a folder.
_KIND = 0xF000
_FOLDER = 0x4000


def settings(settings):
    """What is wrong with settings (estd.config) on this system: a list of lines."""
    from est import csr, extensions

    number = hardware.number() or "0"  # estd.life tells where there is none
    lines = []
    tries = [("subject", lambda: csr.name(settings["subject"].replace("{id}", number)))]
    for name in settings.get("san") or ():
        name = name.replace("{id}", number)
        tries.append(("san", lambda name=name: extensions.requested([name], ())))
    for wanted in settings["export"]:
        for of in export.OWNERS:
            tries.append(("export", lambda wanted=wanted, of=of: export.number(wanted, *of)))
    for key, attempt in tries:
        try:
            attempt()
        except (EstError, ValueError) as error:
            text = str(error)
            lines.append(text if text.startswith(key) else "%s: %s" % (key, text))
    return lines


def disk(settings):
    """What lies in the place of the folders that are to be: a list of lines."""
    lines = []
    for path in [settings["state"]] + [wanted["folder"] for wanted in settings["export"]]:
        path = path.rstrip("/")
        while path:
            try:
                if os.stat(path)[0] & _KIND != _FOLDER:
                    lines.append("%s is no folder" % path)
                break
            except OSError:
                path = path.rpartition("/")[0]
    return lines
