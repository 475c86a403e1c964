"""Files onto a board over its link: what `mpest flash` does by mpremote, in one session."""

import base64
import zlib
from collections.abc import Iterator

from mpest.flash.application import File
from mpest.flash.target import Remote
from mpest.station.device import only
from mpest.station.link import Link

_SECONDS = 60.0  # for a look or a move; reading 200 KB and hashing it takes an RP2040 two
_CHUNK = 4096  # bytes of a file that travel at once; four times as much heap holds them
_WINDOW = 12  # of deflate: 4 KB, of which the board's heap holds one
# Each piece closes its file: none is left open where the station is killed between two of them.
_WRITE = """
import binascii, deflate, io
packed = io.BytesIO(binascii.a2b_base64({data!r}))
with open({path!r}, {mode!r}) as file:
    file.write(deflate.DeflateIO(packed, deflate.RAW, {window}).read())
"""


class OverLink(Remote):
    """An mpest.flash.target.Target over a link, for the board of that number alone."""

    def __init__(self, link: Link, unique_id: str) -> None:
        super().__init__(link.name)
        self._link = link
        self._only = only(unique_id)

    def write(self, files: list[File]) -> Iterator[File]:
        for file in files:
            yield file
            for at in range(0, len(file.data) or 1, _CHUNK):
                data = _packed(file.data[at : at + _CHUNK])
                mode = "ab" if at else "wb"
                self._exec(_WRITE.format(data=data, window=_WINDOW, path=file.path, mode=mode))

    def restart(self) -> None:
        self._link.reset(again=True)

    def leave(self) -> None:
        """Nothing: the station goes on with the board, and starts its program at the end."""

    def answers(self) -> None:
        """Nothing: the link finds out when it is used."""

    def _exec(self, code: str) -> str:
        return self._link.run(self._only + code, _SECONDS)


def _packed(piece: bytes) -> bytes:
    # A serial line is what takes the time: .mpy files travel in two thirds of it, sources in less.
    deflate = zlib.compressobj(zlib.Z_BEST_COMPRESSION, zlib.DEFLATED, -_WINDOW)
    return base64.b64encode(deflate.compress(piece) + deflate.flush())
