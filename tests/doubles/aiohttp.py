"""A GET that calls asyncio as micropython-lib's aiohttp of 2026 does."""

import asyncio


class _Request:
    def __init__(self, url, ssl):
        self._url = url
        self._ssl = ssl

    async def __aenter__(self):
        protocol, _, host, path = self._url.split("/", 3)
        host, port = host.split(":")
        ssl = self._ssl if protocol == "https:" else None
        self._reader, writer = await asyncio.open_connection(host, int(port), ssl=ssl)
        await writer.awrite(b"GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n" % (path, host))
        self.status = int((await self._reader.readline()).split(None, 2)[1])
        while await self._reader.readline() not in (b"", b"\r\n"):
            pass
        return self

    async def text(self):
        return (await self._reader.read(-1)).decode()

    async def __aexit__(self, *_):
        await self._reader.aclose()


class ClientSession:
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    def get(self, url, ssl=None):
        return _Request(url, ssl)
