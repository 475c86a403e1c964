"""A page that only holders of a certificate of this CA can see: proof that one works."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from cryptography import x509

from mpest.server.database import Database, StoreError, trouble
from mpest.server.tls import client_certificate


def probe_application(
    database: Database, shown: Callable[[x509.Certificate], Awaitable[None]]
) -> web.Application:
    """`GET /` answers `{"subject": RFC 4514 text, "serial": hex}`; serve it with client
    certificates demanded. `shown` is told each.
    """

    async def show(request: web.Request) -> web.Response:
        client = client_certificate(request)
        if client is None:
            raise web.HTTPForbidden(text="a client certificate is required\n")
        try:
            await shown(client)
            objection = await asyncio.to_thread(database.objection, client)
        except StoreError as error:
            text = f"the database cannot be read: {trouble(error)}\n"
            raise web.HTTPServiceUnavailable(text=text) from None
        if objection:
            raise web.HTTPForbidden(text=f"the client certificate {objection}\n")
        subject = client.subject.rfc4514_string()
        return web.json_response({"subject": subject, "serial": f"{client.serial_number:x}"})

    application = web.Application()
    application.router.add_get("/", show)
    return application
