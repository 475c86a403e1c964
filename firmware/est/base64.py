"""Base64 that is decoded as it arrives (RFC 4648, RFC 8951 3.1)."""

import binascii

from est.errors import PeerError


class Decoder:
    """Decodes base64 fed in pieces, white space and line ends anywhere, into `out`."""

    _rest = b""
    _ended = False

    def __init__(self, out):
        self.out = out

    def feed(self, data):
        # libest ends the base64 of /csrattrs with a NUL.
        text = self._rest + b"".join(bytes(data).replace(b"\0", b" ").split())
        length = len(text) & ~3
        self._rest = text[length:]
        if not text:
            return
        text = text[:length]
        try:
            decoded = binascii.a2b_base64(text)
        except ValueError:
            decoded = b""
        # binascii skips foreign characters; only canonical text encodes back to itself.
        if self._ended or binascii.b2a_base64(decoded)[:-1] != text:
            # It is not shown: it may be of a key.
            reason = "base64: malformed"
            try:
                from est.reasons import not_base64
            except ImportError:
                pass  # an optional part
            else:
                reason = not_base64(text)
            raise PeerError(reason)
        self._ended = text.endswith(b"=")
        self.out.extend(decoded)

    def end(self):
        if self._rest:
            raise PeerError("base64: truncated")


def encode(data):
    """`data` as 64-column base64 lines, the last one ended too. libest reads no longer ones."""
    lines = [binascii.b2a_base64(data[at : at + 48]) for at in range(0, len(data), 48)]
    return b"".join(lines)
