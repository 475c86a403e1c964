"""The true reason of what the lowest modules refuse. Without it their short texts stand."""

# As a text begins that is in none of its octets base64's; with the mark that Windows puts first.
_MARK = b"\xef\xbb\xbf"


def absent(error):
    """Name of the module, such as "est.hashes", that ImportError `error` says is not installed, or
    None where one is broken."""
    # "no module named 'est.x'"; CPython also says "cannot import name 'x' from 'est' (...)".
    words = str(error).split("'") + [""]
    name = words[1]
    if name[:4] == "est." or words[3:4] == ["est"]:
        return "est." + name.replace("est.", "")


def missing(error):
    """Text for what importing a part raised: that it is not installed, or that it is broken."""
    name = absent(error)
    if name:
        return "it needs %s, which is not installed" % name
    return "a part of est is broken, install est again: %s" % error


def not_base64(text):
    """Text for what came instead of base64; text: its first octets, which are not shown."""
    begin = text[len(_MARK) :] if text[: len(_MARK)] == _MARK else text
    if begin[:1] == b"<":
        return "base64: a web page came: check the URL, and whether a login page is in front"
    if begin[:1] == b"{":
        return "base64: JSON came: check the URL"
    if b"-----BEGIN" in text or text[:4] == b"----":
        return "base64: PEM came: the server must leave BEGIN and END out (RFC 7030 4.1.3)"
    return "base64: unexpected character or padding"
