"""Why TLS refused a server's certificate, for which mbedTLS has one code only."""

import time

from micropython import const

from est import asn1, der, purposes, x509
from est.errors import Ended, NotTrusted, NotYetValid, PeerError, Unsupported
from est.names import string

_SUBJECT_ALT_NAME = const(b"\x55\x1d\x11")
_EXT_KEY_USAGE = const(b"\x55\x1d\x25")
_SERVER_AUTH = const(b"\x2b\x06\x01\x05\x05\x07\x03\x01")
_REFUSED = const(-0x3000)
# The last octets of the extensions that mbedTLS loads where they are critical.
_LOADED = const(b"\x0f\x11\x13\x25")
_ANY_PURPOSE = const(b"\x55\x1d\x25\x00")
# What TLS says of an unknown issuer, or of one that has but the anchor's name, in mbedTLS's words
# or OpenSSL's.
_UNKNOWN = const(("trusted CA", "issuer", "self", "failure"))
# What TLS says of dates, in mbedTLS's words or OpenSSL's.
_DATED = const(("expired", "future", "yet"))
# Keys that TLS of every board has: id-ecPublicKey, rsaEncryption.
_KEYS = const((b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"))


def reason(context, host, number, words):
    """Text for the refusal of what a server showed in TLS of est.tls.Context `context`.

    number: mbedTLS's error. words: those of the platform's TLS, which the text keeps.
    """
    if not context.leaf:
        return words
    return "%s (%s)" % (_reason(context.leaf, context.now, number, words), words)


def _reason(certificate, now, number, words):
    try:
        leaf = x509.Certificate(certificate)
        try:
            leaf.check(now)
        except (Ended, NotYetValid) as error:
            return "%s%s" % (error, _clock())
        usage = leaf.extension(_EXT_KEY_USAGE)
        # OpenSSL does not take any purpose for this one.
        others = () if "purpose" in words else (_ANY_PURPOSE,)
        if usage and not purposes.lists(usage, _SERVER_AUTH, *others):
            return "%s may not be used by a server: it lacks id-kp-serverAuth" % leaf
        names = _host_names(leaf)
    except (NotTrusted, PeerError, Unsupported, ValueError) as error:
        return str(error)
    # What TLS says first.
    for word in _UNKNOWN:
        if word in words:
            return "no trust anchor vouches for its certificate %s" % leaf
    if number == _REFUSED:
        return "its certificate %s lacks id-kp-cmcRA" % leaf
    if "(CN)" in words or "mismatch" in words:
        if names:
            return "its certificate %s is for %s" % (leaf, " ".join(names))
        return "its certificate %s has no subjectAltName for the host" % leaf
    text = "its certificate %s or an issuer's is refused" % leaf
    for word in _DATED:
        if word in words:
            return text + _clock()
    return text


def _clock():
    return "; the board's clock says %04d-%02d-%02d" % time.gmtime()[:3]


def name(data):
    """Text that names DER certificate `data`, which TLS does not load, and says why it may not."""
    try:
        certificate = x509.Certificate(data)
        text = " %s" % certificate
        key = der.Reader(certificate.spki).enter().enter().oid()
    except (PeerError, ValueError) as error:
        return ", which is no certificate in DER: %s," % error
    if key not in _KEYS:
        text += ", whose key %s TLS may not know," % asn1.oid_text(key)
    for oid, critical, _ in certificate.extensions():
        if critical and oid[-1] not in _LOADED:
            text += ", whose critical extension %s TLS may not know," % asn1.oid_text(oid)
    return text


def of_anchors(anchors):
    """Text that names those of the trust anchors (DER) that vouch for nobody; "" without one."""
    text = ""
    for anchor in x509.certificates(anchors):
        if anchor.path_length() < 0:
            text += "; the anchor %s is no CA by basicConstraints and keyUsage" % anchor
    return text


def _host_names(certificate):
    # Lower-case texts of the DNS names and IP addresses in subjectAltName.
    names = []
    value = certificate.extension(_SUBJECT_ALT_NAME)
    general_names = value and der.Reader(value).enter()
    while general_names and general_names.more():
        tag = general_names.peek()
        name = string(general_names).lower() if tag == 0x82 else general_names.bytes(tag)
        if tag == 0x82:
            if name.replace(".", "").isdigit() or ":" in name:
                name = "%s (a DNS name, not an address)" % name
            names.append(name)
        elif tag == 0x87 and len(name) == 4:
            names.append(".".join([str(octet) for octet in name]))
        elif tag == 0x87:
            names.append("an IPv6 address")
    return names


def of_own(chain, offered, now):
    """Why a server refuses a certificate of the board: the likeliest text, by what can be checked.

    chain: DER, the board's own first. offered: the CA certificates (DER) that the server has.
    """
    leaf = x509.Certificate(chain[0])
    if now > leaf.not_after:
        return "it has expired, or the board's clock is wrong"
    if not purposes.is_for_client(leaf):
        return "it is not for TLS clients: id-kp-clientAuth is missing"
    cas = list(x509.certificates(offered))
    roots = [ca for ca in cas if ca.subject == ca.issuer]
    try:
        intermediates = cas + [x509.Certificate(encoded) for encoded in chain[1:]]
        x509.verify_path(leaf, intermediates, roots, now)
    except NotTrusted:
        return "the server's /cacerts does not have its issuer"
    except Unsupported as error:
        return "it may have been revoked; its path cannot be judged here: %s" % error
    return "it may have been revoked"
