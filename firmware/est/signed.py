"""CMS SignedData (RFC 5652 5): who signed what. Whether to trust the signer is the caller's."""

from micropython import const

from est import asn1, cms, der, hashes, x509
from est.errors import NotTrusted

_CONTENT_TYPE = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03")
_MESSAGE_DIGEST = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04")
_PKCS1 = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01")
_RSA_ENCRYPTION = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01")
_SUBJECT_KEY_IDENTIFIER = const(b"\x55\x1d\x0e")
# Four occur; CMC and PKCS#7 writers add a signing time, an algorithm protection, a nonce.
_MAX_ATTRIBUTES = const(16)


def verify(data, known=(), log=None):
    """(content type as OID content, content, the signer's Certificate, [Certificate inside]).

    known: Certificates in which the signer is looked for too. log: see x509.certificates. Signed
    attributes are demanded of every content type: without them one signature can be read as
    another's (RFC 5652 11). Raises NotTrusted where there is no signature, or none that is right
    and known; Unsupported for algorithms that the board cannot verify; DerError for what is
    malformed, or has two signers or no content.
    """
    certificates = list(x509.certificates(cms.certificates(data), log))
    inner, fields = encapsulated(data)
    kind = inner.oid()
    content = None
    if inner.more():
        wrapped = inner.enter(0xA0)
        content = wrapped.bytes()
        wrapped.end()
        inner.end()
    for tag in (0xA0, 0xA1):  # certificates, CRLs
        fields.optional(tag)
    signers = fields.enter(asn1.SET)
    fields.end()
    if not signers.more():
        raise NotTrusted("the message is not signed")
    signer = signers.enter()
    signers.end()
    if content is None:
        raise der.DerError("PKCS#7: no content")
    signer.integer()
    certificate = _find(signer, certificates + list(known))
    size = hashes.size_of(signer.enter().oid())
    attributes = der.Reader.element(signer, 0xA0)  # as they came: DER is demanded of them
    algorithm = signer.element(asn1.SEQUENCE)
    signature = signer.bytes()
    signer.optional(0xA1)
    signer.end()
    if der.Reader(algorithm).enter().oid() == _RSA_ENCRYPTION:
        # Leaves the hash to the digest algorithm (RFC 3370 3.2).
        algorithm = der.sequence(der.tlv(asn1.OID, _PKCS1 + bytes((size // 16 + 9,))))
    if size < 32:
        raise NotTrusted("the signature of %s is with SHA-1, which is too weak" % certificate)
    values = _values(attributes)
    if (
        values.get(_CONTENT_TYPE) != der.tlv(asn1.OID, kind)
        or values.get(_MESSAGE_DIGEST) != der.octets(hashes.new(size, content).digest())
        # They are signed as the SET that they are, not as the [0] that stands for it.
        or not x509.verify(certificate.spki, algorithm, b"\x31" + attributes[1:], signature)
    ):
        raise NotTrusted("the signature of %s is wrong" % certificate)
    return kind, content, certificate, certificates


def encapsulated(data):
    """Readers of SignedData `data`: over EncapsulatedContentInfo, and over what follows."""
    info = cms.reader(data).enter()
    info.skip(asn1.OID)
    fields = info.enter(0xA0).enter()
    fields.skip(asn1.INTEGER)
    fields.skip(asn1.SET)
    return fields.enter(), fields


def _find(signer, certificates):
    # The certificate that SignerIdentifier names.
    if signer.peek() in (0x80, 0xA0):
        key_identifier = der.octets(signer.bytes(0x80))
        for certificate in certificates:
            if certificate.extension(_SUBJECT_KEY_IDENTIFIER) == key_identifier:
                return certificate
    else:
        name = signer.enter()
        issuer = name.element(asn1.SEQUENCE)
        serial = name.bytes(asn1.INTEGER)
        name.end()
        for certificate in certificates:
            if (certificate.issuer, certificate.serial) == (issuer, serial):
                return certificate
    raise NotTrusted("the message is signed by an unknown certificate")


def _values(attributes):
    # {OID content: DER of its one value} of SignedAttributes.
    values = {}
    attribute_set = der.Reader(attributes).enter(0xA0)
    while attribute_set.more():
        attribute = attribute_set.enter()
        oid = attribute.oid()
        if oid in values or len(values) == _MAX_ATTRIBUTES:
            raise der.DerError("PKCS#7: signed attribute twice, or too many")
        inside = attribute.enter(asn1.SET)
        attribute.end()
        values[oid] = inside.element()
        if oid in (_CONTENT_TYPE, _MESSAGE_DIGEST):
            inside.end()
    return values
