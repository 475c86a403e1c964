"""Whether a server shows a certificate: what it sends in TLS, whoever trusts that."""

import hashlib
import socket

from est.errors import EstError
from est.tls import Context

# For each address of the host.
_SECONDS = 10
# PostgreSQL begins TLS when it is asked to (SSLRequest of its protocol), and says S.
_POSTGRES = "postgres:"
_SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"


def failure(address, sha256):
    """Why the server at `address` does not show the certificate, in words; None if it does.

    address: HOST:PORT or postgres:HOST:PORT. sha256: the certificate's digest in hex.
    """
    postgres = address[: len(_POSTGRES)] == _POSTGRES
    place = address[len(_POSTGRES) :] if postgres else address
    host, _, port = place.rpartition(":")
    host = host.strip("[]")
    reason = "it has no address"
    try:
        for found in socket.getaddrinfo(host, int(port), 0, socket.SOCK_STREAM):
            sock = socket.socket(found[0], socket.SOCK_STREAM)
            try:
                leaf, reason = _shown(sock, found[-1], host, postgres)
            finally:
                sock.close()
            if leaf:
                if hashlib.sha256(leaf).digest().hex() == sha256:
                    return None
                return "%s shows another certificate" % address
    except (EstError, OSError, ValueError) as error:
        reason = error
    return "%s does not show its certificate: %s" % (address, reason)


def _shown(sock, address, host, postgres):
    # (DER certificate or None, why none).
    context = Context((), bootstrap=True)
    try:
        sock.settimeout(_SECONDS)
        sock.connect(address)
        if postgres:
            sock.send(_SSL_REQUEST)
            if sock.recv(1) != b"S":
                return None, "it has no TLS"
        # An address is not to be sent as a name (RFC 6066 3).
        named = ":" not in host and host.strip("0123456789.")
        context.ssl.wrap_socket(sock, server_hostname=host if named else None).close()
    except (OSError, ValueError) as error:
        # One that wants our certificate refuses after it has shown its own.
        return context.leaf, error
    return context.leaf, "it sent none"
