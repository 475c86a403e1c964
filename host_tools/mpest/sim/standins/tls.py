"""MicroPython's tls for CPython, over ssl: DER arguments, streams without blocking, its errors."""

import os
import ssl
from contextlib import contextmanager

from est import pem

CERT_NONE = 0
CERT_OPTIONAL = 1
CERT_REQUIRED = 2
PROTOCOL_TLS_CLIENT = 0
# What MicroPython has not, under the names of CPython's ssl.
CHANNEL_BINDING_TYPES = ["tls-unique"]
TLSVersion = ssl.TLSVersion


class SSLContext:
    def __init__(self, protocol):
        if protocol != PROTOCOL_TLS_CLIENT:
            raise ValueError("only PROTOCOL_TLS_CLIENT is imitated")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        # mbedTLS takes any certificate it was given as an anchor, self-signed or not.
        self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._chain = []
        self.verify_callback = None

    @property
    def verify_mode(self):
        return int(self._context.verify_mode)

    @verify_mode.setter
    def verify_mode(self, mode):
        # For a client, ssl takes OPTIONAL for REQUIRED; mbedTLS goes on whatever it finds.
        self._context.check_hostname = mode == CERT_REQUIRED
        self._context.verify_mode = ssl.CERT_REQUIRED if mode == CERT_REQUIRED else ssl.CERT_NONE

    @property
    def maximum_version(self):
        return self._context.maximum_version

    @maximum_version.setter
    def maximum_version(self, version):
        self._context.maximum_version = version

    def load_verify_locations(self, cadata):
        try:
            self._context.load_verify_locations(cadata=bytes(cadata))
        except ssl.SSLError as error:
            raise ValueError("invalid cert") from error

    def load_cert_chain(self, cert, key):
        # Called again it appends, as MicroPython does; ssl reads files only.
        try:
            self._chain.append(ssl.DER_cert_to_PEM_cert(cert))
            with _private_file() as (file, path):
                file.write("".join(self._chain) + pem.encode(_label(key), key))
                file.flush()
                self._context.load_cert_chain(path)
        except ssl.SSLError as error:
            raise ValueError("invalid key or cert") from error

    def wrap_socket(self, sock, server_hostname=None, do_handshake_on_connect=True):
        stream = self._context.wrap_socket(
            sock, server_hostname=server_hostname, do_handshake_on_connect=False
        )
        wrapped = _Stream(stream, self.verify_callback)
        if do_handshake_on_connect:
            wrapped.handshake()
        return wrapped


@contextmanager
def _private_file():
    """(A file for what no medium shall keep, if the system has such, and a path to read it by)."""
    try:
        number = os.memfd_create("key")
    except (AttributeError, OSError):
        import tempfile

        with tempfile.NamedTemporaryFile("w") as file:
            yield file, file.name
        return
    with os.fdopen(number, "w") as file:
        yield file, f"/proc/self/fd/{number}"


def _label(key):
    """What PEM calls a private key of this DER: by what follows its version."""
    at = 2 + (key[1] & 0x7F if key[1] & 0x80 else 0)
    kind = key[at + 3]
    return {0x02: "RSA PRIVATE KEY", 0x04: "EC PRIVATE KEY"}.get(kind, "PRIVATE KEY")


class _Stream:
    def __init__(self, stream, callback):
        self._stream = stream
        self._callback = callback
        self._ready = False

    def handshake(self):
        try:
            self._stream.do_handshake()
        except ssl.SSLCertVerificationError as error:
            self._show(self._stream._sslobj.get_unverified_chain() or ())
            raise ValueError(error.verify_message) from error
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            # A server that wants a certificate has shown its own before.
            self._show(self._stream._sslobj.get_unverified_chain() or ())
            raise
        # As mbedTLS the chain that was verified, with its anchor.
        session = self._stream._sslobj
        self._show(session.get_verified_chain() or session.get_unverified_chain() or ())
        self._ready = True

    def _show(self, chain):
        for depth in range(len(chain) - 1, -1, -1):
            der = chain[depth].public_bytes(2)
            if self._callback and self._callback(der, depth):
                raise OSError(-0x3000, "refused by verify_callback")

    def _try(self, action, argument):
        try:
            if not self._ready:
                self.handshake()
            return action(argument)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLEOFError:
            raise
        except ssl.SSLError as error:
            alert = "ALERT" in (error.reason or "")
            raise OSError(-0x7780 if alert else -0x7100, error.reason) from error

    def read(self, count):
        try:
            return self._try(self._stream.recv, count)
        except ssl.SSLEOFError:
            return b""

    def readline(self, limit=-1):
        # One byte at a time: what follows the line stays unread.
        line = b""
        while len(line) != limit and not line.endswith(b"\n"):
            octet = self.read(1)
            if not octet:
                return line or octet
            line += octet
        return line

    def write(self, data):
        try:
            return self._try(self._stream.send, data)
        except ssl.SSLEOFError as error:
            raise OSError(-0x7280, error.reason) from error

    def get_channel_binding(self, kind):
        return self._stream.get_channel_binding(kind)

    def close(self):
        self._stream.close()
