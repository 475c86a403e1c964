"""MQTT over asyncio that calls sockets and TLS as mqtt_as 0.8.3 does."""

import asyncio
import socket
import struct
import time

config = {
    "client_id": b"mqtt_as",
    "server": None,
    "port": 0,
    "keepalive": 60,
    "ssl": False,
    "ssl_params": {},
    "queue_len": 0,
    "quick": False,
}
# EINPROGRESS, ETIMEDOUT
_BUSY = (115, 110)


class MQTTClient:
    def __init__(self, settings):
        self._settings = settings
        self._sock = None
        self._pid = 0

    async def connect(self, quick=False):
        settings = self._settings
        self._sock = socket.socket()
        self._sock.setblocking(False)
        address = socket.getaddrinfo(settings["server"], settings["port"])[0][-1]
        try:
            self._sock.connect(address)
        except OSError as error:
            if error.args[0] not in _BUSY:
                raise
        await asyncio.sleep_ms(0)
        if settings["ssl"]:
            import ssl

            self._sock = ssl.wrap_socket(self._sock, **settings["ssl_params"])
        name = settings["client_id"]
        await self._write(
            bytes([0x10, 12 + len(name)])
            + b"\0\x04MQTT\x04\x02"
            + struct.pack("!HH", settings["keepalive"], len(name))
            + name
        )
        if (await self._read(4))[3]:
            raise OSError("refused")

    async def publish(self, topic, message, retain=False, qos=0):
        self._pid += 1
        await self._write(
            bytes([0x30 | qos << 1, 4 + len(topic) + len(message)])
            + struct.pack("!H", len(topic))
            + topic.encode()
            + struct.pack("!H", self._pid)
            + message.encode()
        )
        await self._read(4)

    async def disconnect(self):
        await self._write(b"\xe0\0")
        self._sock.close()

    def close(self):
        self._sock.close()

    async def _read(self, count):
        data = b""
        begun = time.ticks_ms()
        while len(data) < count:
            try:
                piece = self._sock.read(count - len(data))
            except OSError as error:
                piece = None
                if error.args[0] not in _BUSY:
                    raise
            if piece == b"":
                raise OSError(-1)
            if piece:
                data += piece
            elif time.ticks_diff(time.ticks_ms(), begun) > 20000:
                raise OSError(-1)
            await asyncio.sleep_ms(0)
        return data

    async def _write(self, data):
        begun = time.ticks_ms()
        while data:
            try:
                count = self._sock.write(data)
            except OSError as error:
                count = 0
                if error.args[0] not in _BUSY:
                    raise
            if count:
                data = data[count:]
            elif time.ticks_diff(time.ticks_ms(), begun) > 20000:
                raise OSError(-1)
            await asyncio.sleep_ms(0)
