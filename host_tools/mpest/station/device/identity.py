from est import keys, store
from est.identity import Identity


def stored(folder):
    """The est.identity.Identity in a folder."""
    records = store.Store(folder)
    identity = Identity(records)
    identity.take(store.unpack(records.load("identity")))
    return identity


def key_hash(key):
    # Of the SubjectPublicKeyInfo.
    return store.digest(bytes(keys.load(key).spki()))


def show(folder):
    """Hash of the key and chain of what is stored; None where there is none."""
    identity = stored(folder)
    if identity.chain:
        return key_hash(identity.key), [base64(der) for der in identity.chain]


def sign(folder, message):
    """(chain, signature) by the identity's key, of a message in hex."""
    identity = stored(folder)
    if identity.chain:
        _, signature = keys.load(identity.key).sign(binascii.unhexlify(message))
        return [base64(der) for der in identity.chain], base64(signature)


def forget(folder):
    """Erase identity and orders; which of their files are still there."""
    from est import status

    status.erase(stored(folder))
    names = ("identity", "order", "aside", "retry")
    return [name for name in names if store.Store(folder).load(name)]
