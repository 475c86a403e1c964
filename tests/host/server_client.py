"""What the server's tests need of a client: CSRs, TLS, and raw bytes."""

import asyncio
import base64
import hashlib
import re
import ssl
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import parse_http_list, parse_keqv_list

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
)
from cryptography.x509.oid import AttributeOID

PKCS10 = {"Content-Type": "application/pkcs10"}


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


def make_csr(subject="CN=board-1", *, key=None, digest=None, extensions=(), password=None):
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name.from_rfc4514_string(subject)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    if password is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, password)
    return builder.sign(key or new_key(), digest or hashes.SHA256())


def names(*dns):
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in dns])


def body_of(csr):
    return base64.encodebytes(csr.public_bytes(Encoding.DER))


def certificates(body):
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))


def pem_of(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def tls_context(server, identity=None):
    """`identity` is a pair of PEM certificate and PEM key."""
    context = ssl.create_default_context(cafile=server.ca_pem)
    if identity:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"".join(identity))
            file.flush()
            context.load_cert_chain(file.name)
    return context


@asynccontextmanager
async def connect(server, identity=None, **options):
    """An aiohttp session; paths are relative to the EST base."""
    connector = aiohttp.TCPConnector(ssl=tls_context(server, identity))
    async with aiohttp.ClientSession(
        server.url + "/", connector=connector, auto_decompress=False, **options
    ) as session:
        yield session


async def enroll(session, csr, operation="simpleenroll", **headers):
    """Returns (status, text, headers)."""
    async with session.post(operation, data=body_of(csr), headers=PKCS10 | headers) as answer:
        return answer.status, await answer.text(), answer.headers


async def exchange(server, request, *, limit=10_000_000):
    """Send raw bytes over TLS and read until the server closes."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=tls_context(server), limit=limit
    )
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


async def server_certificate(server):
    """The certificate that the server shows, trusted or not."""
    context = tls_context(server)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(der)


def get(operation, *headers):
    lines = [f"GET /.well-known/est/{operation} HTTP/1.1", "Host: localhost", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def digest_answer(challenge, user, password, *, uri, method="POST", nc="00000001", **override):
    """An Authorization value for one WWW-Authenticate challenge, after RFC 7616 3.4.1.

    `override` replaces fields once the response is made.
    """
    given = parse_keqv_list(parse_http_list(challenge.removeprefix("Digest ")))
    algorithm = override.get("algorithm", given["algorithm"])
    hash_name = {"MD5": "md5", "SHA-256": "sha256"}.get(algorithm, "sha256")

    def digest(*parts):
        return hashlib.new(hash_name, ":".join(parts).encode()).hexdigest()

    ha1 = digest(user, given["realm"], password)
    ha2 = digest(method, uri)
    fields = {
        "username": user,
        "realm": given["realm"],
        "nonce": given["nonce"],
        "uri": uri,
        "opaque": given["opaque"],
    }
    if "qop" in given:
        fields["response"] = digest(ha1, given["nonce"], nc, "c0ffee", "auth", ha2)
        fields |= {"cnonce": "c0ffee"}
        bare = f", qop=auth, nc={nc}, algorithm={algorithm}"
    else:
        fields["response"] = digest(ha1, given["nonce"], ha2)
        bare = f", algorithm={algorithm}"
    fields |= {name: value for name, value in override.items() if name != "algorithm"}
    quoted = [(name, re.sub(r'(["\\])', r"\\\1", value)) for name, value in fields.items()]
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in quoted) + bare


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
