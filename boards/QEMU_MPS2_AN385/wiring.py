"""ARM MPS2 with AN385 (Cortex-M3), emulated by QEMU: what there is to wire is in its firmware."""

import qemu


class Board(qemu.Board):
    pass
