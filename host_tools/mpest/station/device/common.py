"""Runs on a board: who it is, and how it answers the station."""

import binascii
import json
import os


def exists(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def unique_id():
    # As the board's wiring tells it.
    try:
        import machine

        return binascii.hexlify(machine.unique_id()).decode()
    except (ImportError, AttributeError):
        pass
    try:
        with open("/unique_id") as file:  # of an emulated board, which has no number of its own
            return file.read()
    except OSError:
        return ""


def report(expected, function, *arguments):
    """Print what `function(*arguments)` gives, if the board is still the one that is expected."""
    unique = unique_id()
    try:
        if expected not in (None, unique):
            answer = {"other": unique}
        else:
            answer = {"result": function(*arguments)}
    except Exception as error:
        answer = {"error": type(error).__name__, "text": str(error)}
        if isinstance(error, OSError):
            answer["errno"] = error.errno
    print("mpest-station " + json.dumps(answer))


def base64(data):
    return binascii.b2a_base64(data).decode().strip()
