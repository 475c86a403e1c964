"""What an error in TLS most likely means. Boards have no names for alerts, and TLS 1.2 alone."""

from micropython import const

# mbedTLS: a fatal alert, what is no record of TLS, a parameter that it did not offer.
_ALERT = const(-0x7780)
_RECORD = const(-0x7200)
_VERSION = const(-0x6E80)
_PARAMETER = const(-0x6600)
# ENOMEM, and mbedTLS: memory lacks for TLS, X.509, keys, ciphers, digests, curves, ASN.1,
# numbers.
_MEMORY = const((12, -0x7F00, -0x2880, -0x3F80, -0x6180, -0x5180, -0x4D80, -0x6A, -0x10))
# A certificate in the server's chain that is not even read.
_EXTENSION = const(-0x2562)
# So is one there whose key, curve or signature TLS does not know.
_UNKNOWN = const((-0x3C80, -0x3A00, -0x2600, -0x262E))
# As a server ends that wants a certificate and has none, where its alert is not read: EPIPE and
# ECONNRESET.
_UNREAD = const((32, -32, 104, -104))
# The connection ended: EPIPE, ECONNRESET, and mbedTLS's CONN_EOF.
_ENDED = const((32, -32, 104, -104, -0x7280))


def reason(context, host, number, text):
    """Text for the error `number` with `text`, in TLS of est.tls.Context `context` with `host`.

    Raises MemoryError where it was that.
    """
    if lacks_memory(number):
        raise MemoryError("too little heap for TLS (%s)" % text)
    if number == _PARAMETER:
        return (
            text + ": this TLS 1.2 takes no RSA certificate; give the server an ECDSA one, or 1.3"
        )
    if number == _EXTENSION:
        return (
            text
            + ": in the server's chain is a critical extension that this TLS does not know, such"
            " as name constraints"
        )
    if number in _UNKNOWN:
        return text + ": in the server's chain is a key or signature that this TLS does not know"
    lower = text.lower()
    if number == _RECORD or "wrong_version" in lower or "wrong version" in lower:
        return text + ": is it a port without TLS?"
    reasons = []
    # CPython has the names of alerts.
    named = "certificate_required" in lower
    if number in (_ALERT, _VERSION) and _is_address(host) and not named:
        # MicroPython sends it as a name, which RFC 6066 3 forbids.
        reasons.append("an address in place of a name: use its name in the URL")
    if number in (_ALERT, _VERSION) and not named or "version" in lower:
        reasons.append("TLS 1.2")
    if not context.shown and (number == _ALERT or number in _UNREAD):
        reasons.append("a client without a certificate")
    if number == _ALERT:
        text = "the server ended TLS with an alert (%s)" % text
    elif number in _ENDED:
        text = "the server ended the connection"
    if reasons:
        text += "; it may not take " + ", or ".join(reasons)
    return text


def lacks_memory(number):
    """Whether the `number` of an OSError says that memory lacked."""
    return number in _MEMORY


def _is_address(host):
    return ":" in host or host.replace(".", "").isdigit()
