"""The words of errors in TLS, which MicroPython and CPython raise in several shapes."""

from est.errors import Closed, NotTrusted, PeerError
from est.tls import Context


class Fake:
    """What Context.error needs of a Context that no server has shown a certificate."""

    leaf = None
    shown = ()


def test_words():
    for error, kind, words in (
        (OSError(-0x7100, "MBEDTLS_ERR_SSL_BAD"), PeerError, "TLS: MBEDTLS_ERR_SSL_BAD"),
        (OSError(-0x7100), PeerError, "TLS: -28928"),
        (
            OSError(-0x7780, "A_FATAL_ALERT"),
            PeerError,
            "an alert (A_FATAL_ALERT); it may not take TLS 1.2, or a client without a certificate",
        ),
        (OSError(-0x3C80, "-15488"), PeerError, "a key or signature that this TLS does not know"),
        (
            OSError(104, "ECONNRESET"),
            Closed,
            "the server ended the connection; it may not take a client without a certificate",
        ),
        (OSError(-0x7280, "-29312"), Closed, "TLS: the server ended the connection"),
        (OSError("broken  pipe"), PeerError, "TLS: broken pipe"),
        (OSError(), PeerError, "TLS: "),
        (OSError(-0x2700, "MBEDTLS_ERR_X509_BAD"), NotTrusted, "trusted: MBEDTLS_ERR_X509_BAD"),
        (ValueError("not signed\n by"), NotTrusted, "h is not trusted: not signed by"),
    ):
        found = Context.error(Fake(), error, "h")
        assert isinstance(found, kind), repr(found)
        assert str(found).endswith(words), str(found)
