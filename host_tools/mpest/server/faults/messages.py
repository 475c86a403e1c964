"""Faults of what is inside: CSR attributes, the parts of /serverkeygen, CMC."""

from dataclasses import replace
from datetime import timedelta

from mpest.server import cmc, der
from mpest.server.authority import Authority
from mpest.server.ca import Order, Signer, common_name, new_ca, new_key, now
from mpest.server.faults.registry import ATTRIBUTES, BODY, CMC, NAME, PARTS, fault
from mpest.server.wire import MULTIPART, Part, Reply

_DAY = timedelta(days=1)


@fault(ATTRIBUTES, "csrattrs-empty", "asks for nothing")
def _csrattrs_empty(_der: bytes) -> bytes:
    return der.sequence()


@fault(ATTRIBUTES, "csrattrs-malformed", "ends the attributes in the middle of one")
def _csrattrs_malformed(attributes: bytes) -> bytes:
    return attributes[: len(attributes) // 2 + 1]


@fault(ATTRIBUTES, "csrattrs-wrong-type", "sends numbers in place of attributes")
def _csrattrs_wrong_type(_der: bytes) -> bytes:
    return der.sequence(der.integer(2), der.integer(5))


@fault(ATTRIBUTES, "csrattrs-unknown", "asks also for attributes that nobody has heard of")
def _csrattrs_unknown(attributes: bytes) -> bytes:
    value = der.tlv(0x0C, b"whatever that may mean")
    strange = der.sequence(der.oid("2.999.7"), der.set_of(value, der.integer(7)))
    return _with_elements(attributes, der.oid("2.999.6"), strange)


@fault(ATTRIBUTES, "csrattrs-junk-template", "adds a template (RFC 9908) that is none")
def _csrattrs_junk_template(attributes: bytes) -> bytes:
    junk = der.sequence(der.integer(0), der.oid("2.999.8"), der.tlv(0xA1, b"junk"))
    template = der.oid("1.2.840.113549.1.9.16.2.61")
    return _with_elements(attributes, der.sequence(template, der.set_of(junk)))


def _with_elements(attributes: bytes, *more: bytes) -> bytes:
    # The header's size follows from the length: two bytes, and those that a long length takes.
    header = 2 + (attributes[1] & 0x7F if attributes[1] & 0x80 else 0)
    return der.sequence(attributes[header:], *more)


@fault(PARTS, "no-key", "serverkeygen: leaves the key out")
def _no_key(parts: list[Part]) -> list[Part]:
    return parts[1:]


@fault(PARTS, "no-certificate", "serverkeygen: leaves the certificate out")
def _no_certificate(parts: list[Part]) -> list[Part]:
    return parts[:1]


@fault(PARTS, "two-keys", "serverkeygen: sends the key twice")
def _two_keys(parts: list[Part]) -> list[Part]:
    return [parts[0], *parts]


@fault(PARTS, "certificate-first", "serverkeygen: sends the certificate before the key")
def _certificate_first(parts: list[Part]) -> list[Part]:
    return parts[::-1]


@fault(
    PARTS, "broken-key", "serverkeygen: changes the last byte of the key, or of what encrypts it"
)
def _broken_key(parts: list[Part]) -> list[Part]:
    last = bytes((parts[0].der[-1] ^ 1,))
    return [replace(parts[0], der=parts[0].der[:-1] + last), *parts[1:]]


@fault(PARTS, "key-as-text", "serverkeygen: calls the key text/plain")
def _key_as_text(parts: list[Part]) -> list[Part]:
    return [replace(parts[0], content_type="text/plain"), *parts[1:]]


@fault(NAME, "wrong-boundary", "serverkeygen: announces a boundary that is not the parts'")
def _wrong_boundary(reply: Reply) -> Reply:
    if not reply.content_type.lower().startswith(MULTIPART):
        return reply
    return replace(reply, content_type=f"{MULTIPART}; boundary=another")


@fault(BODY, "truncated-parts", "serverkeygen: ends within the last part, as if that were all")
def _truncated_parts(reply: Reply) -> Reply:
    if not reply.content_type.lower().startswith(MULTIPART):
        return reply
    return replace(reply, body=reply.body[: -len(reply.body) // 4])


@fault(
    BODY, "preamble", "serverkeygen: puts text before and after the parts, and a part of its own"
)
def _preamble(reply: Reply) -> Reply:
    if not reply.content_type.lower().startswith(MULTIPART):
        return reply
    boundary = reply.body.partition(b"\r\n")[0]
    extra = boundary + b"\r\nContent-Type: text/plain\r\n\r\nfor nobody\r\n"
    return replace(reply, body=b"A preamble.\r\n" + extra + reply.body + b"An epilogue.\r\n")


def _signed_by(answer: cmc.Answer, signer: Signer) -> cmc.Answer:
    return replace(answer, signer=signer, certificates=(signer.certificate, *answer.certificates))


@fault(CMC, "cmc-wrong-signature", "signs the answer of /fullcmc with another key")
def _cmc_wrong_signature(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, signer=answer.signer and replace(answer.signer, key=new_key()))


@fault(CMC, "cmc-unauthorised-signer", "signs with a certificate of the CA that may not answer")
def _cmc_unauthorised_signer(authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    key = new_key()
    order = Order(common_name("another board"), key.public_key())
    return _signed_by(answer, Signer(authority.issuer.sign(order, now() + _DAY), key))


@fault(CMC, "cmc-unknown-signer", "signs with a CA that the client does not know")
def _cmc_unknown_signer(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return _signed_by(answer, new_ca("unknown CA"))


@fault(CMC, "cmc-unsigned", "leaves the answer of /fullcmc unsigned")
def _cmc_unsigned(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, signer=None)


@fault(CMC, "cmc-simple", "answers /fullcmc with certificates alone, which nobody signs")
def _cmc_simple(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, simple=True)


@fault(CMC, "cmc-wrong-nonce", "returns another nonce than was sent")
def _cmc_wrong_nonce(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, nonce=der.octet_string(bytes(16)))


@fault(CMC, "cmc-no-nonce", "returns no nonce")
def _cmc_no_nonce(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, nonce=None)


@fault(CMC, "cmc-wrong-transaction", "answers under another transactionId")
def _cmc_wrong_transaction(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, transaction=der.integer(1))


@fault(CMC, "cmc-malformed", "signs a PKIResponse that ends too early")
def _cmc_malformed(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, content=answer.response()[:-3])


@fault(CMC, "cmc-no-status", "says nothing of how the request fared")
def _cmc_no_status(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, states=())


@fault(CMC, "cmc-failed", "answers that the request failed")
def _cmc_failed(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    text = "this CA\tdoes not\x1b[1m like it"
    failed = cmc.State(cmc.Status.FAILED, [0], text, cmc.Failure.BAD_REQUEST)
    return replace(answer, states=(failed,))


@fault(CMC, "cmc-pending", "answers that the request waits for a minute and a half")
def _cmc_pending(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    until = now() + timedelta(seconds=90)
    return replace(answer, states=(cmc.State(cmc.Status.PENDING, [0], "later", until=until),))
