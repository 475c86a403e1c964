"""Which key a request is made with, between what the caller wants and what the server demands."""

from micropython import const

from est import der, keys
from est.errors import UsageError

# As in est.asn1, without a look-up on the board.
_INTEGER = const(0x02)
_NULL = const(0x05)

# From what a board makes well to what takes it minutes.
_BEST = ("P-384", "P-256", "EC", "RSA-4096", "RSA-3072", "RSA-2048", "RSA")
_OIDS = {
    "P-256": b"\x2a\x86\x48\xce\x3d\x03\x01\x07",
    "P-384": b"\x2b\x81\x04\x00\x22",
    "RSA-2048": None,
    "RSA-3072": None,
    "RSA-4096": None,
}


def choose(key, renewed, demands, log):
    """A key with the methods of est.keys.P256Key, in steps.

    key: DER of the one to take, the type of the one to make (see _OIDS), or None: then that of
        `renewed`, the SubjectPublicKeyInfo (DER) of the certificate to renew, or None, if the
        server takes it; else the strongest that the server names and a board makes in seconds;
        else one that it names; else P-256.
    demands: (keys, hints, signature, digest) as in est.attributes.CsrAttrs, or None.
    log: called with a line of text where a hint is not followed, and now and then while an RSA key
        is made.
    Raises UsageError where the server demands another key or signature than the board can make.
    """
    demanded, hints, signature, digest = demands or ((), (), None, None)
    chosen_key = None
    if isinstance(key, bytes):
        chosen_key = keys.load(key)
        name = _type(chosen_key.spki())
    else:
        # A curve that is a hint is not followed: libest names P-384 so, and its TLS refuses it.
        families = [family for family in hints if family in ("EC", "RSA")]
        name = key or _open(demanded or families, signature, renewed)
    if demanded and name not in demanded and _family(name) not in demanded:
        demanded = " or ".join(demanded)
        raise UsageError("the server demands a key of type %s, not %s" % (demanded, name))
    if not chosen_key and name not in _OIDS:
        # Text that long may be a key, which is not to be seen.
        name = "such" if len(name) > 16 else name
        raise UsageError("no %s key can be made, only %s" % (name, " ".join(sorted(_OIDS))))
    size = int(digest[4:]) // 8 if digest else 0
    form = "sha%dWithRSAEncryption" if _family(name) == "RSA" else "ecdsa-with-SHA%d"
    if signature:
        sizes = [bits // 8 for bits in (256, 384, 512) if signature == form % bits]
        if not sizes:
            raise UsageError("the server demands %s, no signature by %s" % (signature, name))
        size = sizes[0]
    if hints and not demanded and name not in hints and _family(name) not in hints:
        log("the server suggests a key of type %s, this one is %s" % (" or ".join(hints), name))
    if not chosen_key:
        chosen_key = yield from _make(name, size, log)
    elif name == "P-256" and size > 32:
        from est import key_forms

        chosen_key = key_forms.load(key)
    if size:
        chosen_key.hash_size = size
    return chosen_key


def _open(named, signature, renewed):
    # The type to make where the caller does not mind.
    family = signature and ("EC" if signature[:5] == "ecdsa" else "RSA")
    if family:
        named = [name for name in named if _family(name) == family] or (named or [family])
    if renewed:
        renewed_type = _type(renewed)
        if not named or renewed_type in named or _family(renewed_type) in named:
            return renewed_type
    for name in _BEST:
        if name in named:
            return {"EC": "P-256", "RSA": "RSA-2048"}.get(name, name)
    return named[0] if named else "P-256"


def _family(name):
    return "RSA" if name[:3] == "RSA" else "EC"


def _type(spki):
    fields = der.Reader(spki).enter()
    algorithm = fields.enter()
    algorithm.oid()
    if algorithm.peek() == _NULL:
        modulus = der.Reader(fields.bit_string()).enter().bytes(_INTEGER)
        return "RSA-%d" % (8 * len(modulus.lstrip(b"\0")))
    oid = algorithm.oid()
    for name, type_oid in _OIDS.items():
        if type_oid == oid:
            return name
    from est.asn1 import oid_text

    return oid_text(oid)


def _make(name, size, log):
    if _family(name) == "RSA":
        from est import rsa_generate, rsa_key
        from est.steps import fed

        def progress(primes, tests):
            if tests % 10 == 0:
                log("making %s: prime %d of 2, candidate %d" % (name, primes + 1, tests + 1))

        making = rsa_generate.generate(int(name[4:]), progress)
        return (yield from fed(making, rsa_key.RsaKey.between))
    if name == "P-256" and size <= 32:
        return keys.P256Key()
    from est.ec_key import EcKey

    return EcKey(_OIDS[name])
