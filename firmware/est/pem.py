"""PEM armour (RFC 7468)."""

from est import base64
from est.errors import PeerError, UsageError


def encode(label, data):
    """PEM text (str) of DER `data`."""
    text = base64.encode(data).decode()
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
        if "Proc-Type:" in text[at:stop]:
            raise UsageError("PEM: encrypted in an old form; `openssl pkcs8 -topk8` makes PKCS #8")
        block = bytearray()
        decoder = base64.Decoder(block)
        try:
            decoder.feed(text[at:stop].encode())
            decoder.end()
            blocks.append(bytes(block))
        except PeerError as error:
            raise UsageError("PEM: %s" % error)
        at = stop
