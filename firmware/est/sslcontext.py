"""What est.context is on CPython: an ssl.SSLContext, as asyncio and everybody wants there."""

import os
import ssl
import sys
import tempfile

from est import key_forms, keys, pem, source
from est.errors import EstError, UsageError

# What the application may set. check_hostname comes first: without verify_mode it cannot stay.
_SETTINGS = (
    "check_hostname",
    "verify_mode",
    "verify_flags",
    "options",
    "minimum_version",
    "maximum_version",
)


class Context(ssl.SSLContext):
    """See est.source.begin. What `wrap_socket` and `wrap_bio` show and trust is stored by then.

    Options, flags and versions that are set on it count; ciphers and ALPN do not. Fails with
    OSError.
    """

    def __new__(cls, identity, anchors=None, server_side=False, name=None, anonymous=False):
        return super().__new__(cls, _protocol(server_side))

    def __init__(self, identity, anchors=None, server_side=False, name=None, anonymous=False):
        self._source = _Source()
        source.begin(self._source, identity, anchors, server_side, name, anonymous)
        self.minimum_version = ssl.TLSVersion.TLSv1_2
        self.verify_mode = ssl.CERT_REQUIRED
        # As on a board, an intermediate may be the anchor.
        self.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

    def wrap_socket(self, sock, server_side=False, *arguments, server_hostname=None, **others):
        try:
            context, side, host = self._next(server_side, server_hostname)
        except OSError:
            sock.close()
            raise
        return context.wrap_socket(sock, side, *arguments, server_hostname=host, **others)

    def wrap_bio(self, incoming, outgoing, server_side=False, server_hostname=None, session=None):
        context, side, host = self._next(server_side, server_hostname)
        return context.wrap_bio(incoming, outgoing, side, host, session)

    def _next(self, server_side, server_hostname):
        est_context = self._source
        try:
            host, material = source.look(est_context, server_hostname, server_side)
            if material:
                est_context.built = _built(est_context.server_side, *material[1:])
                est_context.digest = material[0]
        except EstError as error:
            raise OSError(22, str(error)) from error  # EINVAL
        context = est_context.built
        for name in _SETTINGS:
            setattr(context, name, getattr(self, name))
        return context, est_context.server_side, host


class _Source:
    """The attributes that est.source.begin gives."""


def _built(server_side, chain, key, anchors):
    context = ssl.SSLContext(_protocol(server_side))
    try:
        for anchor in anchors:
            context.load_verify_locations(cadata=anchor)
        if chain:
            _load(context, chain, key)
    except ssl.SSLError as error:
        raise UsageError("a certificate or key does not load (%s)" % error) from error
    return context


def _protocol(server_side):
    return ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT


def _load(context, chain, key):
    element = sys.modules.get("est.element")
    if element:
        element.attach(context, key)
    # ssl reads files alone. This one is for its owner alone (mode 600), and gone at once.
    text = pem.encode("PRIVATE KEY", key_forms.pkcs8(keys.load(key)))
    for certificate in chain:
        text += pem.encode("CERTIFICATE", certificate)
    handle, path = tempfile.mkstemp()
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        context.load_cert_chain(path)
    finally:
        os.remove(path)
