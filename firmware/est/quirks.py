"""What some servers want otherwise: base64 on one line, no chain in TLS, attributes heeded."""

from est.errors import PeerError, Refused, UsageError


def orders(makers, wrap=True, single=False, csrattrs=False):
    """What est.agent.Agent takes as `orders`, of other `makers`, for a server that wants it so.

    wrap: base64 in lines of 64; else on one line. single: show the certificate alone in TLS,
        without its issuers, from the next one on. csrattrs: make no request without the server's
        attributes, which are optional else; that of est.csrattrs and est.parts is an error then.
    """

    def changed(make):
        def made():
            order = make()
            build, send, accept = order.build, order.send, order.accept

            def send_on_one_line(client):
                steps = client.steps
                client.steps = lambda operation: steps(on_one_line(operation))
                try:
                    return (yield from send(client))
                finally:
                    client.steps = steps

            def accept_single(*given):
                return (yield from accept(*given))[:2]

            if csrattrs:
                order.build = lambda fetch, *given: build(lambda: demanded(fetch), *given)
            order.one_line = not wrap
            if not wrap:
                order.send = send_on_one_line
            if single:
                order.accept = accept_single
            return order

        return made

    return tuple([changed(make) for make in makers])


def demanded(fetch):
    """What `fetch` gives, as in est.request.build; in steps. Raises UsageError without any."""
    try:
        attributes = fetch and (yield from fetch(True))
    except (PeerError, Refused) as error:
        failure = type(error)("the csrattrs that are demanded: %s" % error)
        failure.status = getattr(error, "status", 0)
        raise failure
    if not attributes:
        raise UsageError(
            "to demand csrattrs takes est.parts and est.csrattrs, with what they need"
        )
    return attributes


def on_one_line(operation):
    """A generator such as est.protocol's, whose bodies have no line ends."""
    try:
        request = next(operation)
        while True:
            if request.body:
                request.body = request.body.replace(b"\r", b"").replace(b"\n", b"")
            yield request
            request = operation.send(None)
    except StopIteration as stop:
        return stop.value
