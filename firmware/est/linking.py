"""Requests bound to their TLS session by tls-unique (RFC 7030 3.5), where the platform has it.

MicroPython's TLS has it in no version; CPython's has, up to TLS 1.2. A function imports what it
needs when it runs, for on a board that is most of the package.
"""

import time

import tls

from est import agent

# Stands in the stored request for the value, which each session has its own of.
_PLACEHOLDER = "tls-unique"
_AVAILABLE = hasattr(tls, "CHANNEL_BINDING_TYPES")


class Agent(agent.Agent):
    """An est.agent.Agent that links its requests where the server asks for a challengePassword.

    An own challengePassword in `extra` goes first. Where the platform has no tls-unique, the log
    says so and the request goes out without.
    """

    def client(self, identity=None):
        client = super().client(identity)
        if _AVAILABLE and not hasattr(client, "linked"):
            client.linked = True
            send = client._send
            # Each connection that a request goes over comes by here, also after a redirect, a
            # challenge, or a connection that the server closed.
            client._send = lambda request: self._send(client, request, send)
        return client

    def order(self, name, identity, leaf, key, module="est.request"):
        if module == "est.request":
            module = __name__
        return super().order(name, identity, leaf, key, module)

    def _send(self, client, request, send):
        from est import base64

        body = request.body
        pending = body and self.load("pending")
        if pending and pending[2] and holds_placeholder(pending[3]):
            value = base64.encode(_unique(client)).decode().strip()
            request.body = base64.encode(link(pending[3], pending[2], value))
        try:
            send(request)
        finally:
            request.body = body


def build(attributes, log, subject, san, eku, extra, leaf, key):
    """As est.request.build; the request has a placeholder where it is to be linked."""
    from est import extensions, request

    if attributes and attributes.challenge_password and not isinstance(subject, bytes):
        placeholder = extensions.challenge(_PLACEHOLDER)
        if placeholder[0] not in [oid for oid, _ in extra]:
            if _AVAILABLE:
                extra = list(extra) + [placeholder]
            else:
                log("the server may want the request linked to TLS, which has no tls-unique here")
    return request.build(attributes, log, subject, san, eku, extra, leaf, key)


def accept(issued, others, key, anchors, now):
    """As est.request.accept."""
    from est import request

    return request.accept(issued, others, key, anchors, now)


def holds_placeholder(data):
    """Whether CertificationRequest DER `data` is to be linked before it is sent."""
    return _attribute(_PLACEHOLDER) in _parts(data)[1]


def link(data, key, value):
    """CertificationRequest DER `data` with challengePassword `value` for its placeholder.

    key: DER of the key that signed it, to sign it again.
    """
    from est import der, keys

    head, attributes = _parts(data)
    attributes.remove(_attribute(_PLACEHOLDER))
    attributes.append(_attribute(value))
    info = der.sequence(*head, b"\xa0" + der.set_of(*attributes)[1:])
    algorithm, signature = keys.load(key).sign(info)
    return der.sequence(info, algorithm, der.bits(signature))


def _attribute(value):
    from est import der, extensions

    oid, value = extensions.challenge(value)
    return der.sequence(der.tlv(der.OID, oid), der.set_of(value))


def _parts(data):
    # ([version, subject, key], attributes) of a CertificationRequest, DER each.
    from est import der

    info = der.Reader(data).enter().enter()
    head = [info.element() for _ in range(3)]
    attributes = []
    listed = info.enter(0xA0)
    while listed.more():
        attributes.append(listed.element())
    return head, attributes


def _unique(client):
    # tls-unique of the connection that the next request goes over, for which TLS 1.3 has none
    # (RFC 9266 1). The handshake runs here, not with the first bytes.
    context = client.context.ssl
    if context.maximum_version != tls.TLSVersion.TLSv1_2:
        context.maximum_version = tls.TLSVersion.TLSv1_2
        client.close()
    try:
        client._deadline = time.ticks_add(time.ticks_ms(), client._timeout * 1000)
        if client._stream is None:
            client._connect()
        while client._stream.write(b"") is None:
            client._wait()
    except (OSError, ValueError) as error:
        raise client.context.error(error, client._host)
    return client._stream.get_channel_binding("tls-unique")
