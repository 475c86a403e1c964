"""A CMC client of other people's code: pyasn1-modules writes and reads, openssl signs."""

import base64
import os
import subprocess
from pathlib import Path

from cryptography import x509
from pyasn1.codec.der import decoder, encoder
from pyasn1.type import char, univ, useful
from pyasn1_modules import rfc5280, rfc5652, rfc6402
from server_client import connect

TYPE = {"Content-Type": "application/pkcs7-mime; smime-type=CMC-request"}


encode = encoder.encode


def decode(data, spec):
    value, rest = decoder.decode(data, asn1Spec=spec)
    assert not rest
    return value


def revoke_request(issuer, serial, reason=1, since=None, passphrase=None):
    asked = rfc6402.RevokeRequest()
    asked["issuerName"] = decode(issuer.public_bytes(), rfc5280.Name())
    asked["serialNumber"] = serial
    asked["reason"] = reason
    if since:
        asked["invalidityDate"] = useful.GeneralizedTime.fromDateTime(since)
    if passphrase:
        asked["passphrase"] = passphrase
    asked["comment"] = char.UTF8String("lost")
    return asked


def pki_data(revocations=(), requests=(), nonce=b"0123456789abcdef", repeat=1):
    """PKIData DER; transaction 7 is body part 1, revocations and requests (PKCS#10 DER) follow."""
    data = rfc6402.PKIData()
    controls = [(rfc6402.id_cmc_transactionId, univ.Integer(7))] * repeat
    controls.append((rfc6402.id_cmc_senderNonce, univ.OctetString(nonce)))
    controls += [(rfc6402.id_cmc_revokeRequest, one) for one in revocations]
    number = 0
    for oid, value in controls:
        number += 1
        control = rfc6402.TaggedAttribute()
        control["bodyPartID"] = number
        control["attrType"] = oid
        control["attrValues"].append(rfc6402.AttributeValue(encode(value)))
        data["controlSequence"].append(control)
    for request in requests:
        number += 1
        tagged = rfc6402.TaggedRequest()
        tagged["tcr"]["bodyPartID"] = number
        tagged["tcr"]["certificationRequest"] = decode(request, rfc6402.CertificationRequest())
        data["reqSequence"].append(tagged)
    for name in ("controlSequence", "reqSequence", "cmsSequence", "otherMsgSequence"):
        data[name].clear() if not len(data[name]) else None
    return encode(data)


def sign(folder: Path, content, identity, *options, kind="1.3.6.1.5.5.7.12.2"):
    """SignedData by openssl; identity is a pair of PEM certificate and PEM key."""
    for name, text in (("content", content), ("cert", identity[0]), ("key", identity[1])):
        (folder / name).write_bytes(text)
    command = ["openssl", "cms", "-sign", "-binary", "-nodetach", "-econtent_type", kind]
    command += ["-in", "content", "-signer", "cert", "-inkey", "key", "-outform", "DER", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout


def verify(folder: Path, message, ca: Path):
    """The content of SignedData that openssl finds signed under `ca`."""
    (folder / "message").write_bytes(message)
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "message"]
    command += ["-CAfile", os.path.abspath(ca), "-purpose", "any"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout


def content_of(message):
    """(content type, content, certificates) of SignedData, unverified."""
    info = decode(message, rfc5652.ContentInfo())
    signed = decode(info["content"], rfc5652.SignedData())
    inner = signed["encapContentInfo"]
    bag = [encode(one["certificate"]) for one in signed["certificates"]]
    certificates = [x509.load_der_x509_certificate(one) for one in bag]
    return str(inner["eContentType"]), bytes(inner["eContent"]), certificates


def read(content):
    """{OID: [value]} of the controls of a PKIResponse or PKIData."""
    for spec in (rfc6402.PKIResponse(), rfc6402.PKIData()):
        try:
            body = decode(content, spec)
            break
        except Exception as error:  # the other one then
            last = error
    else:
        raise last
    found: dict = {}
    for control in body["controlSequence"]:
        found.setdefault(control["attrType"], []).append(bytes(control["attrValues"][0]))
    return found


def states(content):
    """[(CMCStatus, [body parts], text, failInfo or None, pendTime or None)]."""
    out = []
    for value in read(content)[rfc6402.id_cmc_statusInfoV2]:
        # Without a specification: that of pyasn1-modules has two untagged SEQUENCEs in a CHOICE.
        number, parts, *rest = _items(decode(value, None))
        text, failure, until = "", None, None
        for one in rest:
            if isinstance(one, char.UTF8String):
                text = str(one)
            elif isinstance(one, univ.Integer):
                failure = int(one)
            else:
                until = one[1].asDateTime
        out.append((int(number), [int(part) for part in _items(parts)], text, failure, until))
    return out


def _items(value):
    return [value[at] for at in range(len(value))]


class Client:
    """Someone with a certificate of the server."""

    def __init__(self, server, folder, name="board-1", identity=None):
        self.server = server
        self.folder = folder
        self.identity = identity or server.new_identity(name)
        self.certificate = x509.load_pem_x509_certificate(self.identity[0])

    def revoke(self, certificate=None, **options):
        """PKIData that asks to revoke a certificate, its own by default."""
        certificate = certificate or self.certificate
        issuer = options.pop("issuer", certificate.issuer)
        serial = options.pop("serial", certificate.serial_number)
        return pki_data([revoke_request(issuer, serial, **options)])

    async def post(self, message, identity=None, **headers):
        async with (
            connect(self.server, identity) as session,
            session.post(
                "fullcmc", data=base64.encodebytes(message), headers=TYPE | headers
            ) as answer,
        ):
            body = await answer.read()
            if not answer.headers["Content-Type"].startswith("application/pkcs7"):
                return answer.status, body
            wanted = "application/pkcs7-mime; smime-type=CMC-response"
            assert answer.headers["Content-Type"] == wanted
            return answer.status, base64.b64decode(body)

    async def ask(self, data, *options):
        """(HTTP status, verified content of the answer) to PKIData."""
        message = sign(self.folder, data, self.identity, *options)
        status, answer = await self.post(message, self.identity)
        return status, verify(self.folder, answer, self.server.ca_pem)

    async def failure(self, data):
        """The one failInfo of the answer, and its HTTP status."""
        status, content = await self.ask(data)
        ((state, _, text, failure, _),) = states(content)
        assert (state, bool(text)) == (2, True)
        return failure, status
