"""RISC-V board virt, emulated by QEMU: what there is to wire is in its firmware."""

import qemu


class Board(qemu.Board):
    pass
