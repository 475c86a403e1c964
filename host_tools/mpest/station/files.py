"""Files onto a board over its link: what `mpest flash` does by mpremote, in one session."""

import base64
from collections.abc import Iterator

from mpest.flash.application import File
from mpest.flash.target import Remote
from mpest.station.device import only
from mpest.station.link import Link

_SECONDS = 60.0  # for a look or a move; reading 200 KB and hashing it takes an RP2040 two
_CHUNK_SECONDS = 20.0  # for a piece of a file: some erasures of flash, and 4 KB of serial line
_CHUNK = 3072  # bytes of a file that travel at once; the board's heap holds them three times


class OverLink(Remote):
    """An mpest.flash.target.Target over a link, for the board of that number alone."""

    def __init__(self, link: Link, unique_id: str) -> None:
        super().__init__(link.name)
        self._link = link
        self._only = only(unique_id)

    def write(self, files: list[File]) -> Iterator[File]:
        for file in files:
            yield file
            pieces = [file.data[at : at + _CHUNK] for at in range(0, len(file.data), _CHUNK)]
            self._exec(f"file = open({file.path!r}, 'wb')")
            for piece in pieces:
                encoded = base64.b64encode(piece)
                self._exec(f"import binascii; file.write(binascii.a2b_base64({encoded!r}))")
            self._exec("file.close()")

    def restart(self) -> None:
        self._link.reset(again=True)

    def leave(self) -> None:
        """Nothing: the station goes on with the board, and starts its program at the end."""

    def answers(self) -> None:
        """Nothing: the link finds out when it is used."""

    def _exec(self, code: str) -> str:
        return self._link.run(self._only + code, _SECONDS)
