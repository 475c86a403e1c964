"""Every message among the vectors, changed and cut off: only typed errors come out."""

import check
from est import (
    asn1,
    base64,
    cmc,
    cms,
    csrattrs,
    der,
    envelope,
    key_forms,
    own_request,
    pem,
    signed,
    steps,
    x509,
)
from est.protocol import Request

_COUNT = 100
_TEMPLATE = der.tlv(asn1.OID, bytes.fromhex("2a864886f70d010910023d"))


def _http(data):
    request = Request("GET", "/", [], None)
    request.encode("h")
    request.response.feed(data)
    if not request.response.done:
        request.response.eof()


def _base64(data):
    decoder = base64.Decoder(bytearray())
    decoder.feed(data)
    decoder.end()


def _envelope(data):
    steps.run(envelope.decrypt(data, secret=bytes(16)))


def _request(data):
    own_request.check(data, bytes(8))


def _template(data):
    csrattrs.parse(der.sequence(der.sequence(_TEMPLATE, der.set_of(data))))


def _pem(data):
    pem.decode("".join([chr(octet) for octet in data]), "CERTIFICATE")


PARSERS = (
    (
        cms.certificates,
        "rfc7030/a1-cacerts-resp.der",
        "rfc7030/a3-simpleenroll-resp.der",
        "rfc7030/a4-serverkeygen-resp-cert.der",
    ),
    (signed.verify, "cmc/response-success.signed.der", "cmc/revoke-request.signed.der"),
    (cmc.Response, "cmc/revoke-request.pkidata.der", "cmc/rfc7894-otp_pem_text.der"),
    (x509.Certificate, "cmc/signer-cert.der"),
    (key_forms.load, "rfc7030/a4-serverkeygen-resp-key.der"),
    (_envelope, "cmc/response-success.signed.der"),
    (
        _request,
        "rfc7030/a3-simpleenroll-req.der",
        "rfc7030/a4-serverkeygen-req.der",
        "libest/request-csr.der",
    ),
    (
        _template,
        "rfc9908/DERIVED-3.4-template.as-printed-oid-9.62.der",
        "rfc9908/DERIVED-3.4-template.normative-oid-16.2.62.der",
    ),
    (
        csrattrs.parse,
        "rfc7030/a2-csrattrs-resp.der",
        "rfc8951/4-csrattrs-example.der",
        "rfc9908/5.1-acp-san.csrattrs.der",
        "rfc9908/5.2-rfc7030-corrected.csrattrs.der",
        "rfc9908/5.3-potato.csrattrs.der",
        "rfc9908/5.4-rsa4096.csrattrs.der",
        "rfc9908/5.5-p384.csrattrs.der",
        "rfc9908/5.6-p521-attrs.csrattrs.der",
        "rfc9908/DERIVED-3.4-csrattrs.as-printed-oid-9.62.der",
        "rfc9908/DERIVED-3.4-csrattrs.normative-oid-16.2.62.der",
    ),
    (
        _http,
        "libest/libest32-202.http",
        "libest/libest32-401-basic.http",
        "libest/libest32-401-digest.http",
        "libest/libest32-cacerts.http",
        "libest/libest32-csrattrs.http",
        "libest/libest32-serverkeygen.http",
        "libest/libest32-simpleenroll.http",
    ),
    (
        _base64,
        "rfc7030/a1-cacerts-resp.b64",
        "rfc7030/a2-csrattrs-resp.b64",
        "rfc7030/a3-simpleenroll-req.b64",
        "rfc7030/a3-simpleenroll-resp.b64",
        "rfc7030/a4-serverkeygen-req.b64",
        "rfc7030/a4-serverkeygen-resp-cert.b64",
        "rfc7030/a4-serverkeygen-resp-key.b64",
        "rfc8951/4-csrattrs-example.b64",
        "rfc9908/5.1-acp-san.csrattrs.b64",
    ),
    (_pem, "libest/libest32-ca.pem"),
)


def test_changed():
    for parse, *paths in PARSERS:
        for seed, path in enumerate(paths, 1):
            check.mutated(parse, check.vector(path), _COUNT, seed)


def test_cut_off():
    for parse, *paths in PARSERS:
        if parse in (_http, _base64, _pem):
            continue  # a prefix may well be a shorter message
        for path in paths:
            data = check.vector(path)
            for size in range(1, len(data), 1 + len(data) * check.SAMPLE // 400):
                check.raises(check.EstError, parse, data[:size])
