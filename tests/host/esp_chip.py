"""A stand-in for an ESP32's boot loader behind a TCP socket, for the real esptool to talk to.

It speaks the ROM's serial protocol, and that of the flasher stub which esptool loads, as far as
flashing needs it: https://docs.espressif.com/projects/esptool/en/latest/esp32/advanced-topics/serial-protocol.html
"""

import hashlib
import itertools
import os
import select
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

SYNC, READ_REG, WRITE_REG, SECURITY_INFO = 0x08, 0x0A, 0x09, 0x14
MEM_END, DEFL_BEGIN, DEFL_DATA, MD5, ERASE = 0x06, 0x10, 0x11, 0x13, 0xD0
CHANGE_BAUD = 0x0F
MAGIC_REG = 0x40001000
SPI_USR = 1 << 18  # in the SPI controller's command register: runs a flash command
READ_ID = 0x9F

MAC = "0a0b0c00aa01"

# Magic of the chip, its number where it tells one, its SPI controller, offsets of USR2 and W0, and
# where the MAC address lies.
CHIPS = {
    "esp32": (0x00F01D83, None, 0x3FF42000, 0x24, 0x80, 0x3FF5A004),
    "esp32c3": (0x1B31506F, 5, 0x60002000, 0x20, 0x58, 0x60008844),
    "esp32s3": (0x00000009, 9, 0x60002000, 0x20, 0x58, 0x60007044),
}


class Chip:
    """`flash` is what has been written; `erased` whether all was erased before."""

    def __init__(self, name: str, flash_size: int) -> None:
        self.magic, self.number, self.spi, self.usr2, self.w0, mac = CHIPS[name]
        self.flash = bytearray(b"\xff" * flash_size)
        self.erased = False
        self.commands: list[int] = []
        self.registers = {
            MAGIC_REG: self.magic,
            mac: int(MAC[4:], 16),
            mac + 4: int(MAC[:4], 16),
        }
        self.stub = False
        self.at = 0
        self.size = 0
        self.inflate = zlib.decompressobj()
        self.port = ""
        self.baud = 115_200
        self.bauds: list[int] = []
        """At which it was written to."""
        self.worst_baud = 1 << 32
        """Above it what comes is spoilt, as by a long cable."""
        self.console = ""  # serial port of the board that the firmware makes of this chip

    def serve(self, client: socket.socket) -> None:
        # esptool begins each packet with 0xC0; mpremote, once the firmware runs, with "\r".
        if self.console and client.recv(1, socket.MSG_PEEK) != b"\xc0":
            bridge(client, self.console)
            return
        buffer = b""
        while data := client.recv(65536):
            buffer += data
            *packets, buffer = buffer.split(b"\xc0")
            for packet in filter(None, packets):
                packet = packet.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
                for answer in self.answers(packet):
                    answer = answer.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
                    client.sendall(b"\xc0" + answer + b"\xc0")

    def answers(self, packet: bytes) -> Iterator[bytes]:
        _, command, _, _ = struct.unpack_from("<BBHI", packet)
        self.commands.append(command)
        value, body, failed = self.execute(command, packet[8:])
        status = (b"\x01\x05" if failed else b"\0\0") + (b"" if self.stub else b"\0\0")
        answer = struct.pack("<BBHI", 1, command, len(body + status), value) + body + status
        yield from itertools.repeat(answer, 8 if command == SYNC else 1)
        if command == MEM_END:
            self.stub = True
            yield b"OHAI"

    def execute(self, command: int, data: bytes) -> tuple[int, bytes, bool]:
        """Value, body and whether it failed."""
        if command == SYNC:
            self.stub, self.baud = False, 115_200
            return 0x20120707, b"", False
        if command == CHANGE_BAUD:
            self.baud, _ = struct.unpack("<II", data)
        if command == READ_REG:
            return self.registers.get(struct.unpack("<I", data)[0], 0), b"", False
        if command == WRITE_REG:
            address, value = struct.unpack_from("<II", data)
            self.registers[address] = value
            if address == self.spi and value & SPI_USR:
                self.registers[address] = 0
                if self.registers[self.spi + self.usr2] & 0xFF == READ_ID:
                    capacity = len(self.flash).bit_length() - 1
                    self.registers[self.spi + self.w0] = capacity << 16 | 0x40EF
        elif command == SECURITY_INFO:
            if self.number is None:
                return 0, b"", True
            return 0, struct.pack("<IB7BII", 0, 0, *bytes(7), self.number, 0), False
        elif command == DEFL_BEGIN:
            self.bauds.append(self.baud)
            self.size, _, _, self.at = struct.unpack_from("<IIII", data)
            self.inflate = zlib.decompressobj()
        elif command == DEFL_DATA:
            if self.baud > self.worst_baud:
                return 0, b"", True
            plain = self.inflate.decompress(data[16:])
            self.flash[self.at : self.at + len(plain)] = plain
            self.at += len(plain)
        elif command == MD5:
            address, size = struct.unpack_from("<II", data)
            digest = hashlib.md5(self.flash[address : address + size], usedforsecurity=False)
            return 0, digest.digest(), False
        elif command == ERASE:
            self.erased = True
        return 0, b"", False


def bridge(client: socket.socket, console: str) -> None:
    """Carry bytes between a socket and a serial port until the socket closes."""
    tty = os.open(console, os.O_RDWR | os.O_NOCTTY)
    try:
        while True:
            for ready in select.select([client, tty], [], [])[0]:
                if ready is client:
                    if not (data := client.recv(65536)):
                        return
                    while data:
                        data = data[os.write(tty, data) :]
                else:
                    client.sendall(os.read(tty, 65536))
    except ConnectionError:
        pass
    finally:
        os.close(tty)


@contextmanager
def running_chip(name: str, flash_size: int) -> Iterator[Chip]:
    """A `Chip` that esptool reaches at `chip.port`."""
    chip = Chip(name, flash_size)
    with socket.create_server(("127.0.0.1", 0)) as server:
        chip.port = f"socket://127.0.0.1:{server.getsockname()[1]}"

        def accept() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    chip.serve(client)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield chip
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)
