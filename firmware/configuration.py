"""The settings of main.py: what config.json may hold, and the agent that it asks for.

docs/board.md describes the keys. What is in config.new.json is tried before it takes the place of
config.json. `mpest flash` runs this file too, so of the board nothing but est is imported here.
"""

import binascii
import json
import os

FILE = "config.json"
NEW = "config.new.json"
BAD = "config.bad.json"

# Long texts in all keys take less.
_MAX_SIZE = 8192
_TEXT = 'must be text in "..."'


def _text(value):
    if not isinstance(value, str) or not value:
        return _TEXT
    if min(value.encode()) < 0x20:
        return "must hold no control characters"


def _secret(value):
    return _text(value) if value != "" else None


def _url(value):
    from est.errors import UsageError
    from est.url import parse

    wrong = _text(value)
    if not wrong:
        try:
            parse(value)
        except UsageError:
            wrong = "must be https://HOST[:PORT][/.well-known/est[/LABEL]]"
    return wrong


def _label(value):
    wrong = _text(value)
    if not wrong and (
        "/" in value or not 0x21 <= min(value.encode()) <= max(value.encode()) < 127
    ):
        wrong = "must be a part of the URL, without / and spaces"
    return wrong


def _fingerprint(value):
    wrong = _text(value)
    digits = "" if wrong else value.replace(":", "").lower()
    if not wrong and (len(digits) != 64 or digits.strip("0123456789abcdef")):
        wrong = "must be 64 hexadecimal digits"
    return wrong


def _names(value):
    kinds = ("DNS:", "IP:", "URI:", "email:")
    if not isinstance(value, list):
        return 'must be a list of texts: ["DNS:a.example"]'
    for name in value:
        if _text(name) or not any(name.startswith(kind) for kind in kinds):
            return "must hold texts that begin with one of %s" % " ".join(kinds)


def _country(value):
    return _text(value) or (len(value) != 2 and "must be two letters" or None)


def _one_of(*texts):
    return lambda value: None if value in texts else "must be one of " + " ".join(texts)


def _percent(least, most):
    def check(value):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            return "must be a whole number from %d to %d, in per cent" % (least, most)

    return check


_KEYS = {
    "url": _url,
    "label": _label,
    "subject": _text,
    "sha256": _fingerprint,
    "anchors": _text,
    "user": _text,
    "secret": _secret,
    "token": _text,
    "enrolment_code": _text,
    "factory_certificate": _text,
    "factory_key": _text,
    "san": _names,
    "key": _one_of("P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"),
    "share": _percent(10, 90),
    "spread": _percent(0, 90),
    "ssid": _text,
    "password": _secret,
    "country": _country,
    "ntp": _text,
    "app": _one_of("restart", "report"),
}


def problems(config):
    """What is wrong with the settings (what JSON gave): a list of lines that name their keys."""
    if not isinstance(config, dict):
        return ["must be an object: {...}"]
    lines = []
    for key in ("url", "subject"):
        if config.get(key) is None:
            lines.append("%s is missing" % key)
    if config.get("sha256") is None and config.get("anchors") is None:
        lines.append("sha256 is missing, or anchors")
    for key, value in config.items():
        if key not in _KEYS:
            lines.append("%s is unknown: one of %s" % (key, " ".join(sorted(_KEYS))))
        elif value is not None:
            wrong = _KEYS[key](value)
            if wrong:
                lines.append("%s %s" % (key, wrong))
    for key, partner in (("user", "secret"), ("factory_certificate", "factory_key")):
        if (config.get(key) is None) != (config.get(partner) is None):
            lines.append("%s and %s go together" % (key, partner))
    if config.get("user") is not None and config.get("token") is not None:
        lines.append("user and token: one of them is enough")
    if not lines and (config.get("spread") or 0) >= (config.get("share") or 66):
        lines.append("spread must be less than share")
    return lines


def parse(data):
    """(settings or None, lines that say what is wrong) of a file's octets."""
    try:
        # With or without a byte order mark.
        text = data.decode().lstrip("\ufeff").rstrip()
        config = json.loads(text)
        if isinstance(config, dict) and text[-1] != "}":
            raise ValueError("it is cut off")  # which MicroPython does not mind
    except ValueError as error:
        return None, ["is malformed (%s)" % (str(error) or "not UTF-8")]
    lines = problems(config)
    return None if lines else config, lines


def read(name):
    """(settings or None, lines that say what is wrong) of file `name`."""
    try:
        with open(name, "rb") as file:
            data = file.read(_MAX_SIZE + 1)
    except OSError as error:
        return None, ["%s is missing (%s)" % (name, error)]
    if len(data) > _MAX_SIZE:
        return None, ["%s is larger than %d octets" % (name, _MAX_SIZE)]
    config, lines = parse(data)
    return config, ["%s: %s" % (name, line) for line in lines]


def adopt():
    """Have config.new.json take the place of config.json. Raises OSError.

    It is copied: on FAT a cut amid a rename may leave two names of one content, which removing
    one of them frees.
    """
    with open(NEW, "rb") as file:
        data = file.read()
    with open(FILE, "wb") as file:
        file.write(data)
        file.flush()
    os.remove(NEW)


def put_aside():
    """Have config.new.json, which is of no use, be config.bad.json. Raises OSError."""
    os.rename(NEW, BAD)


def agent(make, config, store, number, **others):
    """The agent that `config` asks for, made by est.agent.Agent `make`. Raises UsageError.

    number: what "{id}" in subject and san stands for. others: more for the Agent.
    """
    extra = ()
    if config.get("enrolment_code") is not None:
        from est import extensions

        extra = [extensions.challenge(_without_mark(config["enrolment_code"]))]
    ca = config.get("sha256")
    trust = ca = ca and binascii.unhexlify(ca.replace(":", ""))
    if config.get("anchors") is None:
        ca = None
    else:
        trust = read_der(config, "anchors")
    factory = None
    if config.get("factory_key") is not None:
        chain = read_der(config, "factory_certificate")
        factory = chain, read_der(config, "factory_key")
    new_agent = make(
        store,
        _url_with_label(config),
        config["subject"].replace("{id}", number),
        [name.replace("{id}", number) for name in config.get("san") or ()],
        trust=trust,
        ca=ca,
        credentials=_login(config),
        factory=factory,
        extra=extra,
        key=config.get("key"),
        **others,
    )
    share = config.get("share")
    spread = config.get("spread")
    new_agent.share = share and share * 65536 // 100
    new_agent.spread = None if spread is None else spread * 65536 // 100
    return new_agent


def _url_with_label(config):
    url = config["url"].rstrip("/")
    label = config.get("label")
    if label is None:
        return url
    return url + ("" if "/" in url[8:] else "/.well-known/est") + "/" + label


def _login(config):
    from est import auth

    if config.get("token") is not None:
        return auth.Token(_without_mark(config["token"]))
    if config.get("user") is not None:
        return auth.Password(config["user"], _without_mark(config["secret"]))


def _without_mark(text):
    # What some editors put before a text that is copied from a file.
    return text.lstrip("\ufeff")


def read_der(config, key):
    from est.errors import EstError, UsageError

    try:
        with open(config[key], "rb") as file:
            return FILES[key](file.read())
    except (EstError, OSError) as error:
        raise UsageError("%s: %s: %s" % (key, config[key], error))
    except ValueError:
        raise UsageError("%s: %s: it is neither PEM nor DER" % (key, config[key]))


def _certificates(data):
    # DER of what is PEM, or DER of one.
    from est import pem
    from est.errors import UsageError

    certificates = [data] if data[:1] == b"0" else pem.decode(data.decode(), "CERTIFICATE")
    if not certificates:
        raise UsageError("no certificate in PEM or DER")
    return certificates


def _key(data):
    from est import keys, pem
    from est.errors import UsageError

    if data[:1] != b"0":
        for kind in ("", "EC ", "RSA ", "ENCRYPTED "):
            blocks = pem.decode(data.decode(), kind + "PRIVATE KEY")
            if blocks:
                data = blocks[0]
                break
        else:
            raise UsageError("no private key in PEM or DER")
    return keys.load(data).der()


# Keys that name files, and what makes DER, or a list of it, of their content or raises EstError or
# ValueError.
FILES = {
    "anchors": _certificates,
    "factory_certificate": _certificates,
    "factory_key": _key,
    "identity_certificate": _certificates,
    "identity_key": _key,
}
