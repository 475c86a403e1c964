"""CMS that encrypts: EnvelopedData, EncryptedData (RFC 5652 6, 8), AuthEnvelopedData (RFC 5083).

Its key comes by AES key wrap, by RSA, or by ECDH on P-256 or P-384 (RFC 5753); the content is in
AES-CBC or AES-GCM (RFC 5084).
"""

from micropython import const

from est import asn1, cms, der
from est.errors import PeerError, Unsupported, UsageError

# Each costs a decryption; a server that sends a key to one board names one.
_MAX_RECIPIENTS = const(4)

_ENVELOPED_DATA = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03")
_ENCRYPTED_DATA = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06")
_AUTH_ENVELOPED_DATA = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17")
_PBES2 = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d")
_RSA_ENCRYPTION = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01")
_RSAES_OAEP = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07")
_AES = const(b"\x60\x86\x48\x01\x65\x03\x04\x01")
# Last arc of AES in CBC mode, in GCM, or as key wrap -> size of its key.
_CBC = {2: 16, 42: 32}
_GCM = {6: 16, 46: 32}
_WRAP = {5: 16, 45: 32}
_SECP256R1 = const(b"\x2a\x86\x48\xce\x3d\x03\x01\x07")
_SECP384R1 = const(b"\x2b\x81\x04\x00\x22")
# Single-pass Diffie-Hellman with the KDF of X9.63 over SHA-1, and over SHA-2 told by the last
# octet. With these curves the cofactor changes nothing.
_SHA1_KDF = const(b"\x2b\x81\x05\x10\x86\x48\x3f\x00")
_SHA2_KDF = (b"\x2b\x81\x04\x01\x0b", b"\x2b\x81\x04\x01\x0e")


def decrypt(data, secret=None, identifier=None, private=None, password=None):
    """(content type as OID content, content) of ContentInfo `data`, in steps, for est.steps.

    secret: AES key shared with the sender, and its identifier, both bytes.
    private: RSA or EC private key, PKCS #1 or SEC 1 DER.
    password: bytes, for EncryptedData by PBES2.
    Raises UsageError where what it takes is not given, Unsupported for algorithms, curves and
    points that the board cannot do, PeerError where the content does not come out.
    """
    reader = cms.reader(data)
    info = reader.enter()
    reader.end()
    outer = info.oid()
    wrapped = info.enter(0xA0)
    info.end()
    body = wrapped.enter()
    wrapped.end()
    if outer not in (_ENVELOPED_DATA, _AUTH_ENVELOPED_DATA, _ENCRYPTED_DATA):
        raise PeerError("CMS: type %s where an encrypted one is expected" % asn1.oid_text(outer))
    body.integer()
    recipients = None
    if outer != _ENCRYPTED_DATA:
        body.optional(0xA0)
        recipients = body.enter(asn1.SET)
    content = body.enter()
    kind = content.oid()
    algorithm = content.element(asn1.SEQUENCE)
    encrypted = content.bytes(0x80)
    content.end()
    associated = b""
    mac = None
    if outer == _AUTH_ENVELOPED_DATA:
        if body.peek() == 0xA1:
            # Vouched for as the SET that they are, not as the [1] that stands for it; in DER.
            associated = der.Reader.element(body)
            der.Reader(associated).skip()
            associated = b"\x31" + associated[1:]
        mac = body.bytes()
        body.optional(0xA2)
    else:
        body.optional(0xA1)
    body.end()
    if recipients is None:
        if der.Reader(algorithm).enter().oid() == _PBES2:
            if not password:
                raise UsageError("the key comes under a password: give the password")
            from est import pbes2

            inner = der.sequence(algorithm, der.octets(encrypted))
            return kind, (yield from pbes2.content(inner, password))
        if not secret:
            raise UsageError("the key comes encrypted with a shared secret: give the secret")
        keys = [secret]
    else:
        keys = yield from _keys(recipients, _size(algorithm), secret, identifier, private)
    error = None
    for key in keys:
        try:
            return kind, (yield from _content(algorithm, key, encrypted, mac, associated))
        except PeerError as wrong:
            error = wrong
    raise error


def _aes(fields, sizes):
    # Size of the key of the AES algorithm at the Reader's OID; 0 for any other.
    name = fields.oid()
    return sizes.get(name[-1], 0) if name[:-1] == _AES else 0


def _size(algorithm):
    size = _aes(der.Reader(algorithm).enter(), _CBC) or _aes(der.Reader(algorithm).enter(), _GCM)
    if not size:
        name = der.Reader(algorithm).enter().oid()
        _unsupported(name)
    return size


def _unsupported(name):
    raise Unsupported("CMS: algorithm %s is not supported" % asn1.oid_text(name))


def _content(algorithm, key, encrypted, mac, associated):
    if len(key) != _size(algorithm):
        raise UsageError("the secret has not the %d bytes that are needed" % _size(algorithm))
    fields = der.Reader(algorithm).enter()
    if _aes(fields, _CBC):
        from est import cbc

        iv = fields.bytes()
        fields.end()
        if mac is not None:
            raise PeerError("CMS: AES-CBC where the content is to be authenticated")
        return cbc.decrypt(key, iv, encrypted)
    from est import gcm

    # Go's pkcs7 sends the SEQUENCE with a wrong tag around it, and a [4] for the nonce.
    parameters = fields.enter(0x10 if fields.peek() == 0x10 else asn1.SEQUENCE)
    fields.end()
    if parameters.peek() == asn1.SEQUENCE:
        parameters = parameters.enter()
    nonce = parameters.bytes(0x84 if parameters.peek() == 0x84 else asn1.OCTET_STRING)
    length = parameters.integer() if parameters.more() else 12
    parameters.end()
    if mac is None:
        # As Go's pkcs7 and others do in EnvelopedData and EncryptedData: the tag comes last.
        cut = max(len(encrypted) - length, 0)
        encrypted, mac = encrypted[:cut], encrypted[cut:]
    if len(mac) != length:
        raise PeerError("CMS: length of the authentication code")
    return (yield from gcm.decrypt(key, nonce, encrypted, mac, associated))


def _keys(recipients, size, secret, identifier, private):
    # Candidates for the content's key of `size`, for what is given; at least one, or it raises.
    rsa = curve = None
    if private:
        fields = der.Reader(private).enter()
        fields.integer()
        if fields.peek() == asn1.OCTET_STRING:
            scalar = fields.bytes()
            named_curve = fields.optional(0xA0)
            curve = _curve(named_curve and named_curve.oid())
        else:
            from est import rsa_key

            rsa = rsa_key.load(private)
    keys = []
    missing = []
    error = None
    count = 0
    while recipients.more():
        count += 1
        if count > _MAX_RECIPIENTS:
            raise der.DerError("CMS: too many recipients")
        tag = recipients.peek()
        fields = recipients.enter(tag)
        try:
            if tag == 0xA2:
                key = _kek(fields, secret, identifier, missing)
                if key:
                    keys.append(key)
            elif tag == asn1.SEQUENCE and rsa:
                keys.append((yield from _transport(fields, rsa, size)))
            elif tag == 0xA1 and curve:
                _agree(fields, curve, scalar, keys)
            else:
                kinds = {asn1.SEQUENCE: "an RSA key", 0xA1: "an EC key"}
                missing.append(kinds.get(tag, "something unknown (0x%02x)" % tag))
        except der.DerError:
            raise
        except (PeerError, Unsupported) as wrong:
            error = wrong
    if keys:
        return keys
    if error:
        raise error
    raise UsageError(
        "the key comes encrypted to %s, which was not given" % (" and ".join(missing) or "nobody")
    )


def _kek(fields, secret, identifier, missing):
    # KEKRecipientInfo: RFC 5652 6.2.3, with AES key wrap of RFC 3565.
    fields.integer()
    kek_id = fields.enter()
    name = kek_id.bytes()
    algorithm = fields.enter()
    wrapped = fields.bytes()
    fields.end()
    if not secret or identifier not in (None, name):
        missing.append("the shared secret %s" % "".join(["%02x" % octet for octet in name[:32]]))
        return None
    return _unwrap(algorithm, secret, wrapped)


def _unwrap(algorithm, kek, wrapped):
    size = _aes(algorithm, _WRAP)
    if size != len(kek):
        if not size:
            raise Unsupported("CMS: only AES key wrap of 128 and 256 bits is supported")
        raise PeerError("CMS: a key of %d bytes wraps where ours has %d" % (size, len(kek)))
    from est import keywrap

    return keywrap.unwrap(kek, wrapped)


def _transport(fields, key, size):
    # KeyTransRecipientInfo: RFC 5652 6.2.1, RFC 3370 4.2.1, RFC 3560.
    from est import rsa_decrypt

    fields.integer()
    fields.skip()
    identifier = fields.enter()
    encrypted = fields.bytes()
    fields.end()
    scheme = identifier.oid()
    if scheme == _RSA_ENCRYPTION:
        return (yield from rsa_decrypt.pkcs1(key, encrypted, size))
    if scheme != _RSAES_OAEP:
        _unsupported(scheme)
    parameters = rsa_decrypt.parameters(identifier) if identifier.more() else ()
    return (yield from rsa_decrypt.oaep(key, encrypted, *parameters))


def _agree(fields, curve, scalar, found):
    # KeyAgreeRecipientInfo with the sender's ephemeral key: RFC 5753 3.1.1 and 7.2.
    from est import kdf

    fields.integer()
    originator = fields.enter(0xA0)
    if originator.peek() != 0xA1:
        raise Unsupported("CMS: ECDH without an ephemeral key is not supported")
    public = originator.enter(0xA1)
    public.skip(asn1.SEQUENCE)
    point = public.bit_string()
    material = fields.element() if fields.peek() == 0xA1 else b""
    identifier = fields.enter()
    scheme = identifier.oid()
    wrap = identifier.element(asn1.SEQUENCE)
    keys = fields.enter()
    fields.end()
    size = 0
    if scheme[:-1] == _SHA1_KDF and scheme[-1] in (2, 3):
        size = 20
    elif scheme[:-1] in _SHA2_KDF and 1 <= scheme[-1] <= 3:
        size = 16 * (scheme[-1] + 1)
    if not size:
        _unsupported(scheme)
    length = _aes(der.Reader(wrap).enter(), _WRAP)
    if material:
        # From [1] to the [0] of ECC-CMS-SharedInfo.
        material = b"\xa0" + material[1:]
    bits = der.octets((8 * length).to_bytes(4, "big"))
    shared = der.sequence(wrap, material, der.tlv(0xA2, bits))
    kek = kdf.x963(size, curve.ecdh(scalar, point), length, shared)
    count = 0
    error = None
    while keys.more():
        count += 1
        if count > _MAX_RECIPIENTS:
            raise der.DerError("CMS: too many recipients")
        recipient = keys.enter()
        recipient.skip()
        wrapped = recipient.bytes()
        recipient.end()
        try:
            found.append(_unwrap(der.Reader(wrap).enter(), kek, wrapped))
        except PeerError as wrong:
            error = wrong
    if error and not found:
        raise error


def _curve(name):
    if name == _SECP256R1:
        from est.ec import P256

        return P256
    if name == _SECP384R1:
        from est.curves import P384

        return P384
    raise Unsupported("the key to decrypt with is on a curve that is not supported")
