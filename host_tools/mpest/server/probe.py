"""A page that only holders of a certificate of this CA can see: proof that one works."""

from aiohttp import web

from mpest.server.database import Database
from mpest.server.tls import client_certificate


def probe_application(database: Database) -> web.Application:
    """`GET /` answers `{"subject": RFC 4514 text, "serial": hex}`; serve it with client
    certificates demanded.
    """

    async def show(request: web.Request) -> web.Response:
        client = client_certificate(request)
        objection = "is missing" if client is None else database.objection(client)
        if client is None or objection:
            raise web.HTTPForbidden(text=f"the client certificate {objection}\n")
        subject = client.subject.rfc4514_string()
        return web.json_response({"subject": subject, "serial": f"{client.serial_number:x}"})

    application = web.Application()
    application.router.add_get("/", show)
    return application
