"""TLS contexts: what the board trusts, what it proves, and why a server was refused."""

import sys

import tls
from micropython import const

from est import clock, errors

# tls.PROTOCOL_TLS_CLIENT of every port, without the name.
_CLIENT = const(0)


class Context:
    """One way of connecting. Nothing is verified later than in the handshake.

    anchors: DER certificates, every one loaded.
    chain, key: client certificate, leaf first then its intermediates (DER), and DER key.
    bootstrap: the server is NOT verified, and the caller may fetch nothing but /cacerts, to be
        judged by a fingerprint (RFC 7030 4.1.1).
    protocol: of the platform's tls; PROTOCOL_TLS_SERVER to verify clients instead.
    ssl: the platform's SSLContext, to be made stricter before the first connection.
    leaf: DER certificate that the server showed last, or None.
    Raises UsageError for an unset clock, or certificates and keys that do not load.
    """

    def __init__(self, anchors, chain=(), key=None, bootstrap=False, protocol=_CLIENT):
        self.now = clock.now()
        self.leaf = None
        self.shown = chain
        context = tls.SSLContext(protocol)
        if not (anchors or bootstrap):
            raise errors.UsageError("no trust anchor given")
        # Not NONE for a bootstrap: the callback would see nothing.
        context.verify_mode = tls.CERT_OPTIONAL if bootstrap else tls.CERT_REQUIRED
        context.verify_callback = self._seen
        element = sys.modules.get("est.element")
        if element:
            element.attach(context, key)
        reason = "a trust anchor"
        try:
            for loading in anchors:
                # Concatenated DER would load the first only.
                context.load_verify_locations(bytes(loading))
            reason = "the certificate or key"
            for loading in chain:
                context.load_cert_chain(bytes(loading), bytes(key))
        except (ValueError, OSError) as error:
            try:
                from est.refusal import name
            except ImportError:
                pass  # an optional part
            else:
                reason += name(loading)
            raise errors.UsageError("%s does not load (%s)" % (reason, error))
        self.ssl = context
        try:
            from est.watch import attach
        except ImportError:
            pass  # an optional part
        else:
            attach(self)

    def _seen(self, cert, depth):
        if depth == 0:
            self.leaf = bytes(cert)
        return 0

    def wrap(self, sock, host):
        """TLS stream over connected `sock`; the handshake runs with the first bytes."""
        self.leaf = None
        return self.ssl.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)

    def error(self, error, host):
        """The typed error for what the TLS stream raised (OSError or ValueError)."""
        # The words follow the number, or there is only one of both.
        text = " ".join(str((error.args[1:] or (error,))[0]).split())
        number = -0x2700 if isinstance(error, ValueError) else error.errno
        # mbedTLS: -0x2700 verification failed, -0x3000 refused by the callback, -0x7A00 unusable
        # certificate message.
        refused = number in (-0x2700, -0x3000, -0x7A00)
        try:
            if refused:
                from est.refusal import reason
            else:
                from est.alerts import reason
        except ImportError:
            pass  # an optional part
        else:
            text = reason(self, host, number, text)
        if refused:
            return errors.NotTrusted("the server %s is not trusted: %s" % (host, text))
        # EPIPE, ECONNRESET, and mbedTLS's for an end of the connection and a fatal alert.
        closed = number in (32, -32, 104, -104, -0x7280, -0x7780)
        kind = errors.Closed if closed else errors.PeerError
        return kind("TLS: " + text)
