"""What TLS sees of a server's path and makes nothing of.

Name constraints that are not critical: mbedTLS passes over them. The handshake ends here, before
anything is sent. Those that are critical mbedTLS does not load at all. And when the certificate is
valid, which bounds the server's Date (est.witness).
"""

from micropython import const

from est import apart, der
from est.errors import NotTrusted, PeerError, missing

# nameConstraints as it stands in a certificate. A match by chance costs time only.
_NAME_CONSTRAINTS = const(b"\x06\x03\x55\x1d\x1e")
_VERSION = const(0xA0)
# mbedTLS's X509_FATAL_ERROR, which est.tls takes for a refusal.
_REFUSED = const(-0x3000)


def attach(context):
    """Have est.tls.Context `context` judge the chains that servers show.

    Its `validity` then lists that (DER) of the certificate that was shown last.
    """
    verify = context.ssl.verify_callback
    usual_error = context.error
    # The leaf first, up to the first with name constraints; they come from the root on.
    chain = []
    objections = []
    validity = context.validity = []

    def check(certificate, depth):
        refused = verify(certificate, depth)
        certificate = bytes(certificate)
        if chain or _NAME_CONSTRAINTS in certificate:
            chain.insert(0, certificate)
        if not depth:
            try:
                validity[:] = [validity_of(certificate)]
                if chain:
                    apart(judge, chain)
            except Exception as error:
                # Raised here, it would leave behind what TLS has allocated.
                objections.append(error)
                refused = _REFUSED
            chain.clear()
        return refused

    def error(error, host):
        if objections:
            objection = objections.pop()
            if isinstance(objection, ImportError):
                return missing(objection)
            # What cannot be judged, for Unsupported or too little heap, is no verdict.
            if not isinstance(objection, (NotTrusted, PeerError)):
                return objection
            return NotTrusted("the server %s is not trusted: %s" % (host, objection))
        return usual_error(error, host)

    context.ssl.verify_callback = check
    context.error = error


def validity_of(certificate):
    # RFC 5280 4.1: after the version, serial number, algorithm and issuer.
    fields = der.Reader(certificate).enter().enter()
    fields.optional(_VERSION)
    for _ in range(3):
        fields.skip()
    return fields.element()


def judge(chain):
    from est import constraints, x509

    constraints.judge(list(map(x509.Certificate, chain)))
