"""The settings: config.json with the keys of a board, and those of a Linux board. docs/linux.md
describes them.
"""

import json
import os

from micropython import const

from est.errors import UsageError

# Texts in all keys, hooks included, take less.
_MAX_SIZE = const(65536)
_MAX_SECRET = const(8192)
STATE = const("/var/lib/mpest")
# A shell could wait for a year; a hook that takes longer than an hour hangs.
_MAX_SECONDS = const(3600)
_TEXT = const('must be text in "..."')
# Secrets, which may come as "NAME_file" instead.
_SECRETS = const(("secret", "token", "enrolment_code"))
# What names files of the configuration's folder.
_PATHS = const(("anchors", "factory_certificate", "factory_key"))
# man 7 signal, those of POSIX and more of Linux.
_SIGNALS = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM CHLD CONT STOP TSTP "
    "TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
# Of boards alone, and without meaning here.
_BOARD = const(("ssid", "password", "country", "ntp", "app"))


def board_rules():
    """The module `configuration`, the rules for the keys of a board."""
    try:
        import configuration
    except ImportError:
        # Installed by pip, it lies with the files for boards.
        import sys

        from mpest import shipped

        sys.path.append(str(shipped.folder("firmware")))
        import configuration
    return configuration


def _text(value):
    return board_rules()._text(value)


def _one_of(*texts):
    return lambda value: None if value in texts else "must be one of " + " ".join(texts)


def _mode(value):
    if not isinstance(value, str) or not value or value.strip("01234567") or len(value) > 4:
        return 'must be an octal mode as text, such as "640"'


def _host_port(value):
    wrong = _text(value)
    if not wrong:
        host, colon, port = value.rpartition(":")
        if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
            wrong = 'must be "HOST:PORT"'
    return wrong


def _verify(value):
    wrong = _text(value)
    if not wrong and _host_port(value[9:] if value[:9] == "postgres:" else value):
        wrong = 'must be "HOST:PORT" or "postgres:HOST:PORT"'
    return wrong


def _proxy(value):
    wrong = _text(value)
    if not wrong:
        user, at, place = value[7:].rstrip("/").rpartition("@")
        if ":" in user:
            return "holds a password: write that into a file, and name it in proxy_password_file"
        if value[:7] != "http://" or _host_port(place) or (at and not user):
            wrong = "must be http://HOST:PORT or http://USER@HOST:PORT"
    return wrong


def _seconds(value):
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MAX_SECONDS:
        return "must be a whole number of seconds from 1 to %d" % _MAX_SECONDS


def _texts(value):
    if not isinstance(value, list) or not value or any(map(_text, value)):
        return 'must be a list of texts: ["..."]'


def _commands(value):
    wrong = 'must be a command, ["COMMAND", "ARGUMENT"...], or a list of commands'
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, list) or not value:
        return wrong
    for command in value if isinstance(value[0], list) else [value]:
        if _texts(command):
            return wrong


def _signal(value):
    wrong = _text(value)
    if not wrong:
        name = value.upper()
        if name[:3] == "SIG":
            name = name[3:]
        if name not in _SIGNALS and not (name.isdigit() and 0 < int(name) < 65):
            wrong = 'must be the name of a signal, such as "HUP"'
    return wrong


def _reloads(value):
    for reload in value if isinstance(value, list) else [value]:
        if isinstance(reload, str):
            wrong = _text(reload)
        elif isinstance(reload, dict) and sorted(reload) == ["pid_file", "signal"]:
            wrong = _signal(reload["signal"])
            if wrong:
                return "signal " + wrong
            wrong = _text(reload["pid_file"])
        elif isinstance(reload, dict) and sorted(reload) == ["touch"]:
            wrong = _text(reload["touch"])
        else:
            wrong = True
        if wrong:
            return (
                'must be "COMMAND...", {"signal": "HUP", "pid_file": FILE}, {"touch": FILE}, '
                "or a list of these"
            )


def _file_name(value):
    wrong = _text(value)
    if not wrong and ("/" in value or value[0] == "."):
        wrong = "must be the name of a file, without / and no dot first"
    return wrong


def _absolute(value):
    wrong = _text(value)
    if not wrong and value[0] != "/":
        wrong = "must begin with /"
    return wrong


_LINUX = {
    "state": _absolute,
    "proxy": _proxy,
    "proxy_password_file": _text,
    "identity_certificate": _text,
    "identity_key": _text,
    "secret_file": _text,
    "token_file": _text,
    "enrolment_code_file": _text,
    "export": None,
    "hooks": None,
}
_EXPORT = {
    "folder": _absolute,
    "cert": _file_name,
    "chain": _file_name,
    "fullchain": _file_name,
    "key": _file_name,
    "key_form": _one_of("pkcs8", "traditional"),
    "combined": _file_name,
    "anchors": _file_name,
    "owner": _text,
    "group": _text,
    "mode": _mode,
    "folder_mode": _mode,
    "readers": _texts,
}
EXPORT_DEFAULTS = {
    "cert": "cert.pem",
    "chain": "chain.pem",
    "fullchain": "fullchain.pem",
    "key": "key.pem",
    "key_form": "pkcs8",
    "mode": "640",
    "folder_mode": "750",
    "readers": (),
}
_HOOKS = {
    "on_renewed": _commands,
    "on_failed": _commands,
    "on_stranded": _commands,
    "on_trust": _commands,
    "seconds": _seconds,
    "verify": _verify,
    "reload": _reloads,
    "log": _absolute,
}


def read(path):
    """(settings or None, lines that say what is wrong, notes) of the file at `path`.

    settings: dict of the board's keys, secrets read from their files; "state"; "export", a list of
    dicts with all keys; "hooks", a dict. Names of files are as seen from the file's folder.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_SIZE + 1)
        readable_by_others = os.stat(path)[0] & 0o007
    except OSError as error:
        return None, ["%s: cannot be read (%s)" % (path, error)], []
    if len(data) > _MAX_SIZE:
        return None, ["%s: larger than %d octets" % (path, _MAX_SIZE)], []
    try:
        text = data.decode().lstrip("\ufeff").rstrip()
        config = json.loads(text)
        if isinstance(config, dict) and text[-1] != "}":
            raise ValueError("it is cut off")  # which MicroPython does not mind
    except ValueError as error:
        return None, ["%s: malformed (%s)" % (path, str(error) or "not UTF-8")], []
    folder, _, name = (path if "/" in path else "./" + path).rpartition("/")
    if name[-5:] == ".json":
        name = name[:-5]
    settings, lines, notes = parse(config, folder or "/", name)
    if not lines and readable_by_others:
        for key in _SECRETS:
            if config.get(key) is not None:
                text = "others can read %s in %s: chmod o-r it, or give %s_file"
                notes.append(text % (key, path, key))
    return settings, ["%s: %s" % (path, line) for line in lines], notes


def parse(config, folder=".", unit=""):
    """As `read`, of what JSON gave. folder: from which files are named. unit: the file's name,
    which systemd's units give to the folder of the state."""
    if not isinstance(config, dict):
        return None, ["must be an object: {...}"], []
    rules = board_rules()
    board = {key: value for key, value in config.items() if key not in _LINUX}
    linux = {key: value for key, value in config.items() if key in _LINUX and value is not None}
    lines = []
    for key, value in linux.items():
        wrong = _LINUX[key] and _LINUX[key](value)
        if wrong:
            lines.append("%s %s" % (key, wrong))
    for key in _SECRETS:
        name = key + "_file"
        if _text(linux.get(name)):
            continue  # absent, or told
        if board.get(key) is not None:
            lines.append("%s and %s: one of them is enough" % (key, name))
            continue
        secret, wrong = _secret(_from(folder, linux[name]))
        board[key] = secret
        if wrong:
            lines.append("%s: %s" % (name, wrong))
            board[key] = "-"  # nothing more is wrong with it
    known = list(rules._KEYS) + list(_LINUX)
    for line in rules.problems(board):
        key, words, _ = line.partition(" is unknown:")
        if words:
            line = "%s is unknown: one of %s" % (key, " ".join(sorted(known)))
        lines.append(line)
    exports = linux.get("export", [])
    exports = exports if isinstance(exports, list) else [exports]
    for at, export in enumerate(exports):
        name = "export" if len(exports) == 1 else "export %d" % (at + 1)
        lines += _object(name, export, _EXPORT)
        if isinstance(export, dict):
            lines += _export_names(name, export)
    folders = [export["folder"] for export in exports if not lines]
    if len(set(folders)) < len(folders):
        lines.append("export: two of them have the same folder")
    hooks = linux.get("hooks", {})
    lines += _object("hooks", hooks, _HOOKS)
    proxy = None
    if not [line for line in lines if line[:5] == "proxy"]:
        proxy, wrong = _parsed_proxy(folder, linux.get("proxy"), linux.get("proxy_password_file"))
        if wrong:
            lines.append(wrong)
    pair = ("identity_certificate", "identity_key")
    if (pair[0] in linux) != (pair[1] in linux):
        lines.append("%s and %s go together" % pair)
    if lines:
        return None, lines, []
    settings = {key: value for key, value in board.items() if value is not None}
    for key in _PATHS + pair:
        value = linux.get(key, settings.get(key))
        if value is not None:
            settings[key] = _from(folder, value)
    settings["state"] = (linux.get("state") or _state(unit)).rstrip("/") or "/"
    for path in folders:
        # Who mounts an export whole has all of it.
        if (settings["state"] + "/").startswith(path.rstrip("/") + "/"):
            lines.append("export: folder: %s holds the state: give it one of its own" % path)
    if lines:
        return None, lines, []
    settings["proxy"] = proxy
    settings["export"] = [_with_defaults(export) for export in exports]
    settings["hooks"] = {key: value for key, value in hooks.items() if value is not None}
    notes = []
    ignored = [key for key in _BOARD if key in settings]
    if ignored:
        notes.append("of boards alone, and without meaning here: " + " ".join(ignored))
    return settings, [], notes


def _parsed_proxy(folder, url, name):
    # (What estd.addresses has of it, what is wrong or None). name: of the file of the password.
    from estd import addresses

    if ("@" in (url or "")) != bool(name):
        return (
            None,
            "proxy_password_file and a user in proxy (http://USER@HOST:PORT) go together",
        )
    password, wrong = _secret(_from(folder, name)) if name else (None, None)
    if wrong:
        return None, "proxy_password_file: " + wrong
    try:
        return addresses.parse_proxy(url, password), None
    except UsageError as error:
        return None, "proxy: %s" % error


def _state(name):
    # The folder that systemd made for the unit of this name, also for who asks how it stands.
    path = (os.getenv("STATE_DIRECTORY") or "").split(":")[0]
    if path or not name:
        return path or STATE
    try:
        os.stat("%s/%s" % (STATE, name))
    except OSError:
        return STATE
    return "%s/%s" % (STATE, name)


def _object(name, value, rules):
    if not isinstance(value, dict):
        return ["%s must be an object: {...}" % name]
    lines = []
    for key, item in value.items():
        if key not in rules:
            lines.append("%s: %s is unknown: one of %s" % (name, key, " ".join(sorted(rules))))
        elif item is not None:
            wrong = rules[key](item)
            if wrong:
                lines.append("%s: %s %s" % (name, key, wrong))
    return lines


def _export_names(name, export):
    # One file each: what has the name of another would replace it.
    if export.get("folder") is None:
        return ["%s: folder is missing" % name]
    names = []
    for key in ("cert", "chain", "fullchain", "key", "combined", "anchors"):
        value = export.get(key, EXPORT_DEFAULTS.get(key))
        if value is not None and value in names:
            return ["%s: two files have the name %s" % (name, value)]
        names.append(value)
    return []


def _with_defaults(export):
    whole = dict.fromkeys(_EXPORT)
    whole.update(EXPORT_DEFAULTS)
    # null leaves a file out.
    whole.update(export)
    return whole


def _from(folder, path):
    return path if path[0] == "/" else folder + "/" + path


def _secret(path):
    # (First line of the file, what is wrong or None).
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_SECRET)
        line = data.decode().lstrip("\ufeff").split("\n")[0].rstrip("\r")
    except OSError as error:
        return None, "%s cannot be read (%s)" % (path, error)
    except ValueError:
        return None, "%s is not text" % path
    return line, None if line else "%s is empty" % path
