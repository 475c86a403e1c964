"""The application of a simulated board. Runs on MicroPython and CPython.

Reads one line of JSON from standard input (secrets never come by the command line), prints one
JSON object per event. Fields: url, state, operations, and optionally anchors (hex DER each),
fingerprint (hex), user and password, token, factory_chain and factory_key (hex DER), subject, san,
challenge, rekey, timeout, cmc, cmc_ra, csrattrs (demanded), no_wrap, single, reason; adopt
(factory_chain is an identity to renew); one of key_type, own_key (hex DER), with which goes
own_request (hex DER), and element (hex, the number that a secure element keeps to itself); for
serverkeygen decrypt_secret, decrypt_identifier (hex), decrypt_key (hex DER) and decrypt_password.
"""

import binascii
import gc
import hashlib
import json
import sys
import time

import est
from est import clock, der, errors, keys, order, x509
from est.agent import Agent
from est.identity import Identity
from est.store import Store, unpack

_NO_ELEMENT_IN_TLS = (
    "the TLS of this runtime cannot sign with a secure element: its key can be enrolled, not shown"
    " to a server to renew or revoke. --runtime micropython-picow-like can, as can a MicroPython"
    " built with MICROPY_PY_SSL_ECDSA_SIGN_ALT"
)


def emit(event, **fields):
    fields["event"] = event
    print(json.dumps(fields))


def kind(error):
    """Name of the class in est.errors that `error` belongs to, the narrowest that tells whose
    fault it is."""
    for name in (
        "Unsupported",
        "UsageError",
        "NotTrusted",
        "Refused",
        "RetryLater",
        "StorageError",
    ):
        if isinstance(error, getattr(errors, name)):
            return name
    return "PeerError"


def describe(data):
    certificate = x509.Certificate(data)
    return {
        "subject": str(certificate),
        "issuer": x509.name_text(certificate.issuer),
        "serial": binascii.hexlify(certificate.serial).decode(),
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
        "sha256": binascii.hexlify(hashlib.sha256(data).digest()).decode(),
    }


def show(records):
    """The stored identity as `describe` has it, with subjectAltName's value and the
    SubjectPublicKeyInfo (hex DER), and when it is to be renewed; None where there is none.
    """
    identity = Identity(records)
    identity.take(unpack(records.load("identity", 0)))
    if records.damaged:
        emit("note", text="a damaged copy of identity is passed over")
    if not identity.chain:
        return None
    description = describe(identity.chain[0])
    certificate = x509.Certificate(identity.chain[0])
    san = certificate.extension(b"\x55\x1d\x11")
    description["san"] = san and binascii.hexlify(san).decode()
    description["spki"] = binascii.hexlify(certificate.spki).decode()
    description["due"] = identity.renew_at(clock.now())
    return description


def text(value):
    """What a DER string says; hexadecimal of what is none."""
    from est import names

    said = names.string(der.Reader(value))
    return binascii.hexlify(value).decode() if said == "?" else said


def subject(config):
    request = config.get("own_request")
    return binascii.unhexlify(request) if request else config.get("subject") or ""


def extra(config):
    if not config.get("challenge"):
        return ()
    from est import extensions

    return [extensions.challenge(config["challenge"])]


def credentials(config):
    if not (config.get("token") or config.get("user")):
        return None
    from est import auth

    if config.get("token"):
        return auth.Token(config["token"])
    return auth.Password(config["user"], config["password"])


def factory(config):
    if not config.get("factory_key"):
        return None
    chain = [binascii.unhexlify(certificate) for certificate in config["factory_chain"]]
    return chain, keys.load(binascii.unhexlify(config["factory_key"])).der()


def key(config):
    """What est.agent.Agent takes as key."""
    if config.get("own_key"):
        return keys.load(binascii.unhexlify(config["own_key"])).der()
    if config.get("element"):
        return element_key(binascii.unhexlify(config["element"])).der()
    return config.get("key_type")


def element_key(private):
    """The key of a secure element, which is outside of est: a number that is signed with here."""
    import tls

    from est import element

    if len(private) == 32:
        from est.ec import P256 as curve
    else:
        from est.curves import P384 as curve
    if not hasattr(tls.SSLContext(tls.PROTOCOL_TLS_CLIENT), "ecdsa_sign_callback"):
        emit("note", text=_NO_ELEMENT_IN_TLS)
    sign = lambda digest: curve.sign(private, digest)  # noqa: E731
    return element.ElementKey(b"slot 1", curve.public(private), sign)


def serverkeygen(agent, config):
    from est.serverkeygen import Decryption, enroll, orders

    secrets = {}
    for name in ("secret", "identifier"):
        if config.get("decrypt_" + name):
            secrets[name] = binascii.unhexlify(config["decrypt_" + name])
    if config.get("decrypt_key"):
        secrets["private"] = keys.load(binascii.unhexlify(config["decrypt_key"]))
    if config.get("decrypt_password"):
        secrets["password"] = config["decrypt_password"].encode()
    return enroll(agent, makers=changed(config, orders(Decryption(**secrets))))


def authorize(config):
    if not config.get("cmc_ra"):
        return None
    from est import cmcra

    return cmcra.required


def orders(config):
    """What est.agent.Agent takes as orders."""
    if config.get("cmc"):
        from est.fullcmc import ORDERS as makers
    else:
        try:
            from est.linking import ORDERS as makers
        except ImportError:
            makers = order.SIMPLE  # the least install
    return changed(config, makers)


def changed(config, makers):
    """Orders `makers` as the server wants them."""
    no_wrap, single, csrattrs = [config.get(name) for name in ("no_wrap", "single", "csrattrs")]
    if no_wrap or single or csrattrs:
        from est import quirks

        return quirks.orders(makers, not no_wrap, single, csrattrs)
    return makers


def run(operation, agent, config):
    if operation == "cacerts":
        offered = agent.client().cacerts()
        anchors = est.run(agent.adopt(list(offered)))
        return {
            "certificates": [describe(cert.der) for cert in x509.certificates(offered)],
            "anchors": [describe(anchor) for anchor in anchors],
        }
    if operation == "csrattrs":
        from est import asn1

        attributes = agent.client().csrattrs()
        subject = getattr(attributes, "subject", None)
        return {
            "template": hasattr(attributes, "subject"),
            "subject": subject
            and [
                [[asn1.oid_text(oid), value and text(value)] for oid, value in rdn]
                for rdn in subject
            ],
            "keys": attributes.keys,
            "hints": attributes.hints,
            "signature": attributes.signature,
            "digest": attributes.digest,
            "challenge_password": attributes.challenge_password,
            "extensions": [
                [asn1.oid_text(oid), critical, value and binascii.hexlify(value).decode()]
                for oid, critical, value in attributes.extensions
            ],
            "unknown": [asn1.oid_text(oid) for oid in attributes.unknown],
        }
    if operation == "enroll":
        return {"certificate": describe(agent.enroll())}
    if operation == "reenroll":
        return {"certificate": describe(agent.reenroll(config.get("rekey", True)))}
    if operation == "serverkeygen":
        return {"certificate": describe(serverkeygen(agent, config))}
    from est import revocation

    return {"certificate": describe(revocation.revoke(agent, config.get("reason")))}


def keeps_answer(agent):
    """Whether a certificate that came is kept, to be judged again."""
    try:
        current = agent and agent.resume()
        return bool(current and current.answer)
    except errors.EstError:
        return False  # the storage is what failed


def main():
    # As an application on a small board does, or the heap is in pieces when TLS wants 17 KB of it.
    if hasattr(gc, "mem_free") and gc.mem_free() < 1 << 18:
        gc.threshold(4096)
    config = json.loads(sys.stdin.readline())
    trust = ca = None
    if config.get("fingerprint"):
        ca = binascii.unhexlify(config["fingerprint"])
    if config.get("anchors"):
        trust = [binascii.unhexlify(anchor) for anchor in config["anchors"]]
    else:
        trust = ca
    records = Store(config["state"])
    agent = None
    for operation in config["operations"]:
        started = time.ticks_ms()
        try:
            if agent is None and operation != "show":
                agent = Agent(
                    records,
                    config["url"],
                    subject(config),
                    config.get("san") or (),
                    trust=trust,
                    ca=ca,
                    credentials=credentials(config),
                    timeout=config.get("timeout", 30),
                    log=lambda text: emit("note", text=text),
                    factory=factory(config),
                    authorize=authorize(config),
                    extra=extra(config),
                    key=key(config),
                    orders=orders(config),
                    identity=factory(config) if config.get("adopt") else None,
                )
            if operation == "show":
                result = {"certificate": show(records)}
            else:
                result = run(operation, agent, config)
        except errors.EstError as error:
            emit(
                "error",
                operation=operation,
                type=kind(error),
                message=str(error),
                seconds=getattr(error, "seconds", None),
                kept=keeps_answer(agent),
            )
            return
        except MemoryError as error:
            words = "the heap is too small, perhaps for the server's CA certificates: %s" % error
            fields = {"message": words, "seconds": None, "kept": False}
            emit("error", operation=operation, type="UsageError", **fields)
            return
        emit(operation, ms=time.ticks_diff(time.ticks_ms(), started), **result)
    if agent:
        agent.close()


main()
