"""What a connection of the application's shows and trusts, read right before it (est.context).

`context` is an est.context.Context here, or what has its attributes.
"""

from micropython import const

from est import store
from est.errors import StorageError, UsageError, missing

# Numbers of OSErrors: EINVAL; mbedTLS's for a certificate that is not trusted; ENOMEM.
_EINVAL = const(22)
_NOT_TRUSTED = const(-0x2700)
_ENOMEM = const(12)


def begin(context, identity, anchors=None, server_side=False, name=None, anonymous=False):
    """Give a new `context` its attributes.

    identity: est.identity.Identity. anchors: PEM or DER of certificates, several in one or in a
        list; None for the Explicit anchors that are stored.
    server_side: whether to be the server, whose clients must show certificates of these anchors.
    name: what the server's certificate must be for where an address is dialled.
    anonymous: connect without a certificate while there is none.
    Raises UsageError where there is no identity or nothing to trust, StorageError.
    """
    context.identity = identity
    context.server_side = server_side
    context.name = name
    context.anonymous = anonymous
    context.given = anchors if anchors is None else _given(anchors)
    # Of what is stored, and the platform's context made of it.
    context.digest = context.built = None
    _read(context)


def _given(data):
    try:
        from est import anchors
    except ImportError as error:
        raise missing(error)
    return anchors.load(data)


def _read(context):
    # (chain, key, anchors), as stored.
    identity = context.identity
    try:
        record = store.unpack(identity.store.load("identity"))
    except StorageError:
        record = ()
    # What is in memory outlives a damaged store.
    chain, key = (record[2:], record[1]) if record else identity
    if not chain and not context.anonymous:
        raise UsageError("no certificate yet: enrol first")
    anchors = context.given
    if anchors is None:
        anchors = store.unpack(identity.store.load("anchors", 0))[1:]
        if not anchors:
            raise UsageError("no trust anchors are stored")
    return chain, key, anchors


def look(context, dialled, server_side):
    """(name to demand of the server, None as a server; what the next connection takes).

    That is (digest, chain, key, anchors), or None where `context.built` still does. Raises
    UsageError, StorageError.
    """
    if context.server_side:
        dialled = None
    elif server_side:
        raise UsageError("a server: context(server_side=True)")
    else:
        address = not dialled or ":" in dialled or dialled.replace(".", "").isdigit()
        dialled = context.name if address and context.name else dialled
        if not dialled:
            raise UsageError("server_hostname is missing")
    chain, key, anchors = _read(context)
    digest = store.digest(b"".join([key or b""] + chain + anchors))
    return dialled, None if digest == context.digest else (digest, chain, key, anchors)


def failure(context, error, host):
    """The OSError for what ended a connection to `host`; None for a lack of memory."""
    number = _EINVAL
    if isinstance(error, (OSError, ValueError)):
        number = error.errno if isinstance(error, OSError) else _NOT_TRUSTED
    lacking = number == _ENOMEM
    try:
        from est.alerts import lacks_memory
    except ImportError:
        pass  # an optional part
    else:
        lacking = lacks_memory(number)
    if lacking or isinstance(error, MemoryError):
        return None
    if context.built and host and number != _EINVAL:
        error = context.built.error(error, host)
    return OSError(number, str(error))
