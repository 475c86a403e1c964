"""Calls of the device code on a board, and what their errors mean to the line."""

import json
import re
import secrets
from typing import Any

from mpest.exits import Exit
from mpest.station import device
from mpest.station.errors import BoardError, Failed, Garbled, OtherBoard, StorageFull
from mpest.station.link import Link

SECONDS = 60.0  # for what reads or moves files; hashing 200 KB takes an RP2040 two
_MARK = re.compile(r"^mpest-station (.*)$", re.MULTILINE)
# What an error of the board's means for the line.
_EXITS = {
    "UsageError": Exit.USAGE,
    "Unsupported": Exit.USAGE,
    "NotTrusted": Exit.NOT_TRUSTED,
    "Ended": Exit.NOT_TRUSTED,
    "NotYetValid": Exit.NOT_TRUSTED,
    "StorageError": Exit.STORAGE,
    "OtherLayout": Exit.STORAGE,
    "RetryLater": Exit.LATER,
}
_NO_SPACE = 28
# What an emulated board lacks: randomness, and TLS that certificates load into.
_EMULATED = """
import qemu, sys
qemu.inject(binascii.unhexlify({seed!r}))
class TLS:
    PROTOCOL_TLS_CLIENT = 0
    CERT_REQUIRED = 2
    SSLContext = lambda self, protocol: self
    load_verify_locations = load_cert_chain = lambda self, *loaded: None
sys.modules["tls"] = TLS()
"""


class Calls:
    """The functions of `device` on the board at `link`, each in a heap that is empty before.

    emulated: whether it is a board of QEMU's.
    """

    def __init__(self, link: Link, *, emulated: bool) -> None:
        self._link = link
        self._emulated = emulated
        self.name = f"the board at {link.name}"

    def __call__(
        self,
        expected: str | None,
        module: str,
        function: str,
        *arguments: Any,
        seconds: float = SECONDS,
    ) -> Any:
        """What a function of a file of `device` returns, within so many seconds.

        expected: the board's number, without which nothing is done; None for any.
        """
        code = device.text(module)
        if self._emulated and module != "look":
            code += _EMULATED.format(seed=secrets.token_hex(32))
        listed = "".join(f", {argument!r}" for argument in arguments)
        self._link.fresh()
        output = self._link.run(f"{code}\nreport({expected!r}, {function}{listed})", seconds)
        match = _MARK.search(output)
        try:
            answer = json.loads(match[1] if match else "")
        except ValueError:
            raise Garbled(
                f"{self.name} gives no sensible answer: try again, or plug it in again"
            ) from None
        if "other" in answer:
            raise self.other(answer["other"], expected)
        if "error" in answer:
            raise self._failed(answer)
        return answer["result"]

    def other(self, unique_id: str, expected: str | None) -> OtherBoard:
        """The error where another board answers than the expected one."""
        return OtherBoard(f"{self.name} is another by now: {unique_id}, it was {expected}")

    def _failed(self, answer: dict[str, Any]) -> BoardError:
        kind, text = answer["error"], answer["text"]
        if answer.get("errno") == _NO_SPACE or (kind == "StorageError" and "free" in text):
            return StorageFull(f"{self.name}: {text}")
        known = text if kind in _EXITS or kind == "PeerError" else f"{kind}: {text}"
        return Failed(f"{self.name}: {known}", kind, _EXITS.get(kind, Exit.NETWORK))
