import sys

from est import keys, store
from est.identity import Identity


def stored(place):
    """The est.identity.Identity in a folder, or of two files: certificates and key."""
    if isinstance(place, list):
        return of_files(*place)
    records = store.Store(place)
    identity = Identity(records)
    identity.take(store.unpack(records.load("identity")))
    return identity


def of_files(certificate, key):
    # As config.json's factory certificate is read.
    identity = Identity(None)
    if exists(certificate) and exists(key):
        from configuration import FILES

        sys.modules.pop("configuration", None)
        with open(certificate, "rb") as file:
            identity.chain = FILES["factory_certificate"](file.read())
        with open(key, "rb") as file:
            identity.key = FILES["factory_key"](file.read())
    return identity


def key_hash(key):
    # Of the SubjectPublicKeyInfo.
    return store.digest(bytes(keys.load(key).spki()))


def show(place):
    """Hash of the key and chain of what is stored; None where there is none."""
    identity = stored(place)
    if identity.chain:
        return key_hash(identity.key), [base64(der) for der in identity.chain]


def sign(place, message):
    """(chain, signature) by the identity's key, of a message in hex."""
    identity = stored(place)
    if identity.chain:
        _, signature = keys.load(identity.key).sign(binascii.unhexlify(message))
        return [base64(der) for der in identity.chain], base64(signature)


def forget(folders, files):
    """Erase identities, orders and files; which of them are still there."""
    from est import status

    for path in files:
        if exists(path):
            os.remove(path)
    left = [path for path in files if exists(path)]
    for folder in folders:
        status.erase(stored(folder))
        for name in ("identity", "order", "aside", "retry"):
            if store.Store(folder).load(name):
                left.append(folder + "/" + name)
    return left


def place_files(folder, certificate, key):
    """Have what was issued in a folder be those two files; the folder goes once they are whole.

    Whether there was anything.
    """
    from est import pem, status

    identity = stored(folder)
    if not identity.chain:
        return False
    text = "".join([pem.encode("CERTIFICATE", der) for der in identity.chain])
    for path, data in ((certificate, text.encode()), (key, identity.key)):
        with open(path, "wb") as file:
            file.write(data)
    written = of_files(certificate, key)
    if written.chain != identity.chain or written.key != identity.key:
        raise OSError("%s or %s reads back wrong" % (certificate, key))
    status.erase(identity)
    for name in os.listdir(folder):
        os.remove(folder + "/" + name)
    os.rmdir(folder)
    return True
