"""TLS for the application's own connections, with the identity and trust that are stored by then.

est.parts.Known.context makes one. Before each connection it reads the records `identity` and
`anchors`, never the network: after a renewal the next connection shows the new certificate, and
those that are open go on. What only connecting takes is est.source, in the heap just then.
"""

import gc

from micropython import const

from est import apart
from est.errors import EstError

_ENOMEM = const(12)


class Context:
    """As the platform's SSLContext for whoever calls `wrap_socket`, on MicroPython.

    See est.source.begin for what it takes and raises.
    """

    def __init__(self, identity, anchors=None, server_side=False, name=None, anonymous=False):
        apart(_source, "begin", self, identity, anchors, server_side, name, anonymous)

    def build(self, chain, key, anchors):
        import tls

        from est.tls import Context

        kind = tls.PROTOCOL_TLS_SERVER if self.server_side else tls.PROTOCOL_TLS_CLIENT
        context = Context(anchors, chain, key, False, kind)
        context.shown = len(chain)  # TLS has its copy
        return context

    def wrap_socket(
        self, sock, server_side=False, do_handshake_on_connect=True, server_hostname=None
    ):
        """As SSLContext.wrap_socket. Fails with OSError alone; `sock` is closed then."""
        try:
            server_hostname, material = apart(_source, "look", self, server_hostname, server_side)
            if material:
                self.digest = self.built = None  # two of them are much for a small heap
                self.built = self.build(*material[1:])
                self.digest = material[0]
                material = None
            gc.collect()  # TLS takes 17 KB in one piece
            stream = self.built.ssl.wrap_socket(
                sock,
                server_side=self.server_side,
                do_handshake_on_connect=do_handshake_on_connect,
                server_hostname=server_hostname,
            )
            self.built.leaf = None
            return stream
        except (EstError, MemoryError, OSError, ValueError) as error:
            sock.close()
            raise self._failure(error, server_hostname)

    def _failure(self, error, host):
        gc.collect()
        try:
            error = apart(_source, "failure", self, error, host)
        except MemoryError:
            error = None
        if error is None:
            error = OSError(_ENOMEM, "no memory for a TLS connection")
            if getattr(self.identity, "tell", None):
                self.identity.tell("memory", operation="context", text=error.args[1])
        return error


def _source(name, *arguments):
    from est import source

    return getattr(source, name)(*arguments)
