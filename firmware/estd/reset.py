"""Forgetting all, as before an image of the card is made: the next start enrols anew."""

import os

from estd import export

_RECORDS = ("order", "aside", "retry", "identity", "anchors", "hooks", "agent")


def all_of(settings, records):
    """Erase what is stored of identity, orders, trust, hooks, and what was exported.

    Anchors, password and factory certificate of the configuration stay. Raises StorageError.
    """
    export.withdraw(settings["export"])
    # The identity's copies are overwritten by nothing: a card that is given away wants more.
    for name in _RECORDS:
        records.erase(name)
    for name in ("control", "hooks.log", "hooks.log.1"):
        try:
            os.remove("%s/%s" % (settings["state"], name))
        except OSError:
            pass
