"""PEM armour (RFC 7468) and base64 that is decoded as it arrives (RFC 4648, RFC 8951 3.1)."""

import binascii

from est.errors import PeerError, UsageError


class Base64Decoder:
    """Decodes base64 fed in pieces, white space and line ends anywhere, into `out`."""

    def __init__(self, out):
        self._out = out
        self._rest = b""
        self._ended = False

    def feed(self, data):
        # libest ends the base64 of /csrattrs with a NUL.
        text = self._rest + b"".join(bytes(data).replace(b"\0", b" ").split())
        whole = len(text) & ~3
        self._rest = text[whole:]
        if not text:
            return
        if self._ended:
            raise PeerError("base64: data after the padding")
        text = text[:whole]
        try:
            decoded = binascii.a2b_base64(text)
        except ValueError:
            decoded = b""
        # binascii skips foreign characters; only canonical text encodes back to itself.
        if binascii.b2a_base64(decoded)[:-1] != text:
            raise PeerError("base64: unexpected character or padding")
        self._ended = text.endswith(b"=")
        self._out.extend(decoded)

    def end(self):
        if self._rest:
            raise PeerError("base64: truncated")


def decode_base64(text):
    """bytes of base64 `text` (bytes)."""
    out = bytearray()
    decoder = Base64Decoder(out)
    decoder.feed(text)
    decoder.end()
    return bytes(out)


def encode_base64(data):
    """`data` as 64-column base64 lines, the last one ended too. libest reads no longer ones."""
    lines = [binascii.b2a_base64(data[at : at + 48]) for at in range(0, len(data), 48)]
    return b"".join(lines)


def encode(label, data):
    """PEM text (str) of DER `data`."""
    text = encode_base64(data).decode()
    return "-----BEGIN %s-----\n%s-----END %s-----\n" % (label, text, label)


def decode(text, label):
    """List of the DER blocks with `label` in PEM `text` (str). Raises UsageError."""
    blocks = []
    at = 0
    begin = "-----BEGIN %s-----" % label
    end = "-----END %s-----" % label
    while True:
        at = text.find(begin, at)
        if at < 0:
            return blocks
        at += len(begin)
        stop = text.find(end, at)
        if stop < 0:
            raise UsageError("PEM: '%s' has no end" % begin)
        try:
            blocks.append(decode_base64(text[at:stop].encode()))
        except PeerError as error:
            raise UsageError("PEM: %s" % error)
        at = stop
