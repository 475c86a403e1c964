"""Requests bound to their TLS session by tls-unique (RFC 7030 3.5), where the platform has it.

MicroPython's TLS has it in no version; CPython's has, up to TLS 1.2. A function imports what it
needs when it runs, for on a board that is most of the package.
"""

import tls

from est import base64
from est.order import Enrolment

# Stands in the stored request for the value, which each session has its own of.
_PLACEHOLDER = "tls-unique"
_AVAILABLE = hasattr(tls, "CHANNEL_BINDING_TYPES")


class Linked(Enrolment):
    """A request linked to TLS where the server asks for a challengePassword.

    An own challengePassword in `extra` goes first. Where the platform has no tls-unique, the log
    says so and the request goes out without. `request` is the unlinked form.
    """

    kind = "linked"

    def build(self, fetch, log, wanted, leaf, key):
        """As Enrolment.build; the request has a placeholder where it is to be linked."""
        from est import extensions

        extra = list(wanted[3])

        def fetched():
            attributes = fetch and (yield from fetch())
            if attributes and attributes.challenge_password:
                placeholder = extensions.challenge(_PLACEHOLDER)
                if placeholder[0] in [oid for oid, _ in extra]:
                    pass
                elif _AVAILABLE:
                    extra.append(placeholder)
                else:
                    log(
                        "the server may want the request linked to TLS, which has no tls-unique"
                        " here"
                    )
            return attributes

        return super().build(fetched, log, wanted[:3] + (extra,), leaf, key)

    def send(self, client):
        """As Enrolment.send."""
        operation = "simplereenroll" if self.meta["leaf"] else "simpleenroll"
        sending = client.est.answer(operation, self.request)
        if self.key and holds_placeholder(self.request):
            context = client.context.ssl
            if context.maximum_version != tls.TLSVersion.TLSv1_2:
                # TLS 1.3 has no tls-unique (RFC 9266 1).
                context.maximum_version = tls.TLSVersion.TLSv1_2
                client.close()
            sending = self._bound(sending)
        self.answer = [(yield from client.steps(sending))]

    def _bound(self, sending):
        # The operation whose requests are linked to each connection that they go over, also after
        # a redirect, a challenge, or a connection that the server closed.
        try:
            request = next(sending)
            while True:
                request.encode = self._bound_encode(request)
                yield request
                request = sending.send(None)
        except StopIteration as stop:
            return stop.value

    def _bound_encode(self, request):
        # Each connection that the request goes over comes by here.
        encode = request.encode

        def bound(host):
            value = base64.encode(request.stream.get_channel_binding("tls-unique"))
            linked = link(self.request, self.key, value.decode().strip())
            request.body = base64.encode(linked)
            return encode(host)

        return bound


# What est.agent.Agent takes as `orders` to link its requests.
ORDERS = (Linked, Linked)


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
    return keys.request(keys.load(key), head[1], b"\xa0" + der.set_of(*attributes)[1:])


def _attribute(value):
    from est import asn1, der, extensions

    oid, value = extensions.challenge(value)
    return der.sequence(der.tlv(asn1.OID, oid), der.set_of(value))


def _parts(data):
    # ([version, subject, key], attributes) of a CertificationRequest, DER each.
    from est import der

    info = der.Reader(data).enter().enter()
    head = [info.element() for _ in range(3)]
    attributes = []
    # Some requests of others have no attributes at all.
    attribute_set = info.optional(0xA0)
    while attribute_set and attribute_set.more():
        attributes.append(attribute_set.element())
    return head, attributes
