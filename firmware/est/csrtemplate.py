"""The template of a request that a server may answer /csrattrs with (RFC 9908 3.4)."""

from micropython import const

from est import asn1, der
from est.attributes import CsrAttrs, curve, each
from est.errors import UsageError

# 1.2.840.113549.1.9.16.2.62, and 1.2.840.113549.1.9.62 as the RFC's own example prints it.
_EXTENSION_TEMPLATES = (
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x3e",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x3e",
)
_EC_PUBLIC_KEY = const(b"\x2a\x86\x48\xce\x3d\x02\x01")
_RSA_ENCRYPTION = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01")

_SUBJECT_ALT_NAME = const(b"\x55\x1d\x11")
_NAMES = {0x81: "email address", 0x82: "DNS name", 0x86: "URI", 0x87: "IP address"}


class Template(CsrAttrs):
    """As CsrAttrs, from a Reader of the template attribute's values. Raises DerError.

    subject: None, or a list of RDNs, each a list of (OID content, DER value), with None where the
        board is to give it.
    """

    def __init__(self, values):
        super().__init__()
        self.subject = None
        body = values.enter()
        values.end()
        if body.integer():
            raise der.DerError("csrattrs: template of an unknown version")
        if body.peek() == asn1.SEQUENCE:
            rdns = body.enter()
            self.subject = [_rdn(rdns.enter(asn1.SET)) for _ in each(rdns)]
        key = body.optional(0xA0)
        if key:
            self.keys.append(_key(key))
        attributes = body.optional(0xA1)
        body.end()
        if attributes:
            self.take_all(attributes)

    def take(self, oid, values):
        if oid in _EXTENSION_TEMPLATES and values:
            self.take_extensions(values.enter())
        else:
            super().take(oid, values)

    def apply(self, subject, wanted, kept, extra, log):
        # A subject in DER is that of the certificate to renew.
        if isinstance(subject, str) and self.subject is not None:
            from est.csr import name

            subject = self._name(name(subject) if subject else b"\x30\x00", log)
        own_values = {oid: value for oid, _, value in wanted + kept}
        self.extensions = [
            (oid, critical, _alternative_names(value, own_values.get(oid)))
            if oid == _SUBJECT_ALT_NAME
            else (oid, critical, value)
            for oid, critical, value in self.extensions
        ]
        return super().apply(subject, wanted, kept, extra, log)

    def _name(self, given, log):
        # DER Name: the template's RDNs, with values of the Name `given` where they are open.
        from est.x509 import name_text

        rdns = der.Reader(given).enter()
        own_pairs = []
        while rdns.more():
            own_pairs += _rdn(rdns.enter(asn1.SET))
        out = []
        for rdn in self.subject:
            pairs = []
            for oid, value in rdn:
                if value is None:
                    for own_oid, value in own_pairs:
                        if own_oid == oid:
                            break
                    else:
                        raise UsageError(
                            "the server demands a subject with %s, which the board's lacks"
                            % name_text(_rdns([[(oid, b"\x0c\0")]]))[:-1]
                        )
                if (oid, value) in own_pairs:
                    own_pairs.remove((oid, value))
                pairs.append((oid, value))
            out.append(pairs)
        if own_pairs:
            log(
                "the server's template has no place for this of the subject: "
                + name_text(_rdns([[pair] for pair in own_pairs]))
            )
        return _rdns(out)


def _rdn(pairs):
    # [(OID content, DER value or None)] of a Reader over a RelativeDistinguishedName.
    out = []
    for _ in each(pairs):
        pair = pairs.enter()
        oid = pair.oid()
        value = pair.element() if pair.more() else None
        pair.end()
        out.append((oid, value if value and value[1] else None))
    return out


def _rdns(rdns):
    return der.sequence(
        *[
            der.set_of(*[der.sequence(der.tlv(asn1.OID, oid), value) for oid, value in rdn])
            for rdn in rdns
        ]
    )


def _key(template):
    # As one of CsrAttrs.keys, from a Reader over a SubjectPublicKeyInfoTemplate.
    algorithm = template.enter()
    oid = algorithm.oid()
    if oid == _EC_PUBLIC_KEY:
        name = curve(algorithm.oid()) if algorithm.peek() == asn1.OID else "EC"
    elif oid == _RSA_ENCRYPTION:
        name = "RSA"
    else:
        name = asn1.oid_text(oid)
    if template.more():
        key = template.bit_string()
        if name == "RSA":
            # Only the size of this modulus counts; with or without a leading zero, and it may be
            # all zeros.
            modulus = der.Reader(key).enter().bytes(asn1.INTEGER)
            name = "RSA-%d" % (len(modulus) // 2 * 16)
    template.end()
    return name


def _alternative_names(value, given):
    # DER GeneralNames: those of `value`, each empty one replaced by one of `given` of its kind.
    own_names = []
    if given:
        names = der.Reader(given).enter()
        while names.more():
            own_names.append(names.element())
    if value in (None, b"\x30\x00"):
        if own_names:
            return given
        raise UsageError("the server demands alternative names: give the board some (san)")
    out = []
    names = der.Reader(value).enter()
    for _ in each(names):
        name = names.element()
        if not name[1]:
            for own_name in own_names:
                if own_name[0] == name[0]:
                    break
            else:
                raise UsageError(
                    "the server demands an alternative name: set the board's %s (san)"
                    % (_NAMES.get(name[0]) or "name of kind 0x%02x" % name[0])
                )
            own_names.remove(own_name)
            name = own_name
        out.append(name)
    return der.sequence(*out)
