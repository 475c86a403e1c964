"""Who asks the server for what, and what comes: one row each."""

import base64
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import cmc_client
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from server_client import certificates, connect, enroll, make_csr, new_key, pem_of

from mpest.server import EstServer, Policy, ServerConfig, running_server
from mpest.server.ca import Order, Signer, common_name, key_usage, new_ca, now
from mpest.server.database import Stored

PASSWORDS = {
    name: f"{name} secret"
    for name in ("ann", "bob", "eve", "gw-7", "ra-1", "ra-2", "ra-3", "st-1", "st-2", "st-3")
}
EKU = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "email": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "cmcRA": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28"),
}
# Factory: its CA, and the devices SN-1 and SN-2; of the third the subject has no serial number.
FACTORY: Signer = new_ca("factory CA")
DEVICES = {
    "SN-1": [(NameOID.ORGANIZATION_NAME, "Maker"), (NameOID.SERIAL_NUMBER, "SN-1")],
    "SN-2": [(NameOID.ORGANIZATION_NAME, "Maker"), (NameOID.SERIAL_NUMBER, "SN-2")],
    "nameless": [(NameOID.COMMON_NAME, "SN-3")],
}
SIGNATURE, ANY, AGREES = ("digital_signature",), ("key_encipherment",), ("key_agreement",)
YESTERDAY, TOMORROW = date.today() - timedelta(2), date.today() + timedelta(2)
RULES: dict[str, Any] = {
    "reserved": ["proxy.example", "192.0.2.9"],
    "rule": [
        {
            "users": "gw-*",
            "subject": ["CN={user},O=Example", "CN={user}"],
            "san": [
                "DNS:{user}.example",
                "DNS:*.{user}.example",
                "IP:10.1.0.0/16",
                "URI:urn:dev:*",
            ],
            "eku": ["clientAuth", "serverAuth"],
            "key_types": ["P-384", "RSA-2048"],
            "lifetime": "30m",
        },
        {
            "users": "gw-7",
            "subject": "CN=agree",
            "key_usage": ["keyAgreement", "keyEncipherment"],
        },
        {"users": "gw-7", "subject": "CN=*.gw-7.example", "wildcards": True, "key_types": "P-256"},
        {"users": "ra-1", "role": "ra", "subject": ["CN=sensor-*,O=Example", "CN=hub"]},
        {"users": "st-*", "role": "ra", "subject": "CN=unit-*", "limit": 2},
        {"users": "ra-2", "role": "ra", "subject": "CN=sensor-*", "until": TOMORROW},
        {"users": "ra-3", "role": "ra", "subject": "CN=sensor-*", "until": YESTERDAY},
        {"factory": "CN=factory CA", "subject": "CN=unit-{serialNumber},O=Example"},
        {"tokens": "line-*", "subject": "CN={user}-board"},
        {"users": "eve", "subject": "*", "eku": "emailProtection"},
    ],
}


def hosts(*names: str) -> x509.SubjectAlternativeName:
    kinds = {"IP": x509.IPAddress, "URI": x509.UniformResourceIdentifier, "email": x509.RFC822Name}
    found: list[x509.GeneralName] = []
    for name in names:
        kind, _, value = name.partition(":")
        if kind == "IP":
            found.append(x509.IPAddress(ipaddress.ip_address(value)))
        elif kind == "dir":
            found.append(x509.DirectoryName(x509.Name.from_rfc4514_string(value)))
        elif kind == "other":
            oid = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
            found.append(x509.OtherName(oid, b"\x0c\x03" + value.encode()))
        else:
            found.append(kinds.get(kind, x509.DNSName)(value))  # type: ignore[arg-type]
    return x509.SubjectAlternativeName(found)


@dataclass
class Row:
    """`who` asks: a user, `token X`, `factory X`, `holder X` of a certificate, or nobody."""

    who: str
    subject: str
    status: int
    word: str = ""
    operation: str = "simpleenroll"
    san: tuple[str, ...] = ()
    eku: tuple[str, ...] = ()
    key: Any = None
    usage: tuple[str, ...] = ()
    extensions: tuple[x509.ExtensionType, ...] = ()
    policy: str = "default"
    password: str = ""
    got: dict[str, Any] = field(default_factory=dict)


DEFAULT = [
    Row("ann", "CN=ann", 200, got={"eku": ["client"]}),
    Row("ann", "CN=ann", 200, eku=("client",), got={"eku": ["client"]}),
    Row("bob", "CN=bob", 200, operation="serverkeygen"),
    # Another's name, or more than one's own.
    Row("ann", "CN=bob", 403, "the Subject CN=bob is not CN={user}"),
    Row("bob", "CN=ann", 403, "Subject"),
    Row("ann", "CN=bob", 403, "Subject", operation="serverkeygen"),
    Row("ann", "CN=Ann", 403, "Subject"),
    Row("ann", "CN=ann2", 403, "Subject"),
    Row("ann", "CN=ann,O=Example", 403, "Subject"),
    Row("ann", "CN=ann+OU=admin", 403, "Subject"),
    Row("ann", "CN=ann,CN=bob", 403, "Subject"),
    Row("ann", "OU=ann", 403, "Subject"),
    Row("ann", "CN={user}", 403, "Subject"),
    Row("ann", "CN=*", 403),
    Row("ann", "", 400, "Subject is empty"),
    Row("ann", "CN=ann\\00", 400, "control characters"),
    # The server's names, in any form that a client takes for them.
    Row("ann", "CN=localhost", 403, "name of the server"),
    Row("ann", "CN=LocalHost.", 403, "name of the server"),
    Row("ann", "CN=127.0.0.1", 403, "name of the server"),
    Row("ann", "CN=ann,CN=localhost", 403, "name of the server"),
    Row("ann", "CN=localhost", 403, "name of the server", operation="serverkeygen"),
    Row("ann", "CN=ann", 403, "name of the server", san=("DNS:localhost",), eku=("server",)),
    Row("ann", "CN=ann", 403, "name of the server", san=("DNS:LOCALHOST",)),
    Row("ann", "CN=ann", 400, "is no host name", san=("DNS:localhost.",)),
    Row("ann", "CN=ann", 403, "name of the server", san=("DNS:ann", "DNS:localhost")),
    Row("ann", "CN=ann", 403, "name of the server", san=("DNS:127.0.0.1",)),
    Row("ann", "CN=ann", 403, "name of the server", san=("IP:127.0.0.1",)),
    Row("ann", "CN=ann", 403, "name of the server", san=("IP:::1",)),
    Row("ann", "CN=ann", 403, "name of the server", san=("IP:::ffff:127.0.0.1",)),
    Row("ann", "CN=ann", 403, "name of the server", san=("DNS:*",)),
    Row("ann", "CN=ann", 403, "name of the server", san=("DNS:local*",)),
    # The CA's.
    Row("ann", "CN=mpest test root", 403, "is the CA"),
    Row("ann", "CN=MPEST test root,O=x", 403, "is the CA"),
    Row("ann", "CN=factory CA", 403, "is the CA"),
    # Other names and purposes.
    Row("ann", "CN=ann", 403, "ann.example is not allowed", san=("DNS:ann.example",)),
    Row("ann", "CN=ann", 403, "10.0.0.1 is not allowed", san=("IP:10.0.0.1",)),
    Row("ann", "CN=ann", 403, "not allowed", san=("URI:https://ann.example",)),
    Row("ann", "CN=ann", 403, "not allowed", san=("email:ann@example.com",)),
    Row("ann", "CN=ann", 403, "not allowed", san=("dir:CN=bob",)),
    Row("ann", "CN=ann", 403, "not allowed", san=("other:bob",)),
    Row("ann", "CN=ann", 403, "serverAuth is not allowed", eku=("server",)),
    Row("ann", "CN=ann", 403, "serverAuth is not allowed", eku=("client", "server")),
    Row("ann", "CN=ann", 403, "emailProtection is not allowed", eku=("email",)),
    Row("ann", "CN=ann", 400, "2.5.29.37.0", eku=("any",)),
    Row("ann", "CN=ann", 400, "1.3.6.1.5.5.7.3.28", eku=("cmcRA",)),
    Row("ann", "CN=ann", 400, "CA", extensions=(x509.BasicConstraints(True, 0),)),
    Row(
        "ann",
        "CN=ann",
        400,
        "keyCertSign",
        extensions=(x509.KeyUsage(True, *[False] * 4, True, *[False] * 3),),
    ),
    Row("ann", "CN=ann", 400, "asks for nothing", extensions=(key_usage(),)),
    Row("ann", "CN=ann", 200, got={"usage": [*SIGNATURE]}),
    Row("ann", "CN=ann", 200, usage=(*SIGNATURE, *ANY), got={"usage": [*SIGNATURE, *ANY]}),
    Row("ann", "CN=ann", 400, "exponent", key=rsa.generate_private_key(3, 2048)),
    Row("ann", "CN=ann", 400, "key is not allowed", key=rsa.generate_private_key(65537, 1024)),
    # Without the password.
    Row("ann", "CN=ann", 401, password="bob secret"),
    Row("nobody", "CN=ann", 401),
    Row("nobody", "CN=ann", 401, operation="serverkeygen"),
    Row("holder ann", "CN=ann", 401),
    Row("factory SN-1", "CN=SN-1", 401, policy="default of basic"),
]
RENEWALS = [
    Row("holder ann", "CN=ann", 200, operation="simplereenroll", got={"eku": ["client"]}),
    Row("holder ann", "CN=ann", 200, operation="serverkeygen", got={"eku": ["client"]}),
    Row("holder ann", "CN=ann", 403, "wider", operation="simplereenroll", eku=("server",)),
    Row(
        "holder ann", "CN=ann", 403, "wider", operation="simplereenroll", eku=("client", "server")
    ),
    Row("holder ann", "CN=ann", 403, "wider", operation="serverkeygen", eku=("server",)),
    Row("holder ann", "CN=ann", 200, usage=SIGNATURE, operation="simplereenroll"),
    *(
        Row("holder ann", "CN=ann", 403, "KeyUsage is wider", operation=operation, usage=usage)
        for operation in ("simplereenroll", "serverkeygen")
        for usage in (ANY, (*SIGNATURE, *ANY), ("content_commitment",), ("key_agreement",))
    ),
    Row("holder ann", "CN=bob", 400, "Subject", operation="simplereenroll"),
    Row("holder ann", "CN=localhost", 400, "Subject", operation="simplereenroll"),
    Row("holder ann", "CN=ann", 400, "SubjectAltName", operation="simplereenroll", san=("DNS:a",)),
    Row("holder ann", "CN=bob", 400, "Subject", operation="serverkeygen"),
    Row("holder revoked", "CN=revoked", 403, "is revoked", operation="simplereenroll"),
    Row("factory SN-1", "CN=SN-1", 403, "not issued by", operation="simplereenroll"),
    Row("nobody", "CN=ann", 403, "certificate", operation="simplereenroll"),
    Row("ann", "CN=ann", 403, "certificate", operation="simplereenroll"),
]
BY_CERTIFICATE = [
    Row("holder ann", "CN=ann", 200, got={"eku": ["client"]}),
    Row("holder ann", "CN=bob", 403, "Subject"),
    Row("holder ann", "CN=ann", 403, "wider", eku=("server",)),
    Row("holder ann", "CN=ann", 403, "KeyUsage is wider", usage=(*SIGNATURE, *ANY)),
    Row("holder ann", "CN=localhost", 403, "name of the server"),
    Row("holder revoked", "CN=revoked", 403, "is revoked"),
    Row("factory SN-1", "CN=SN-1", 200, got={"eku": ["client"]}),
    Row("factory SN-1", "2.5.4.5=SN-1", 200),
    Row("factory SN-1", "CN=SN-2", 403, "Subject"),
    Row("factory SN-2", "CN=SN-1", 403, "Subject"),
    Row("factory SN-1", "CN=ann", 403, "Subject"),
    Row("factory SN-1", "2.5.4.5=SN-1,O=Maker", 403, "Subject"),
    Row("factory SN-1", "CN=SN-1", 403, "serverAuth", eku=("server",)),
    Row("factory SN-1", "CN=localhost", 403, "name of the server"),
    Row("factory SN-1", "CN=factory CA", 403, "is the CA"),
    Row("factory nameless", "CN=SN-3", 403, "Subject"),
    Row("nobody", "CN=ann", 403, "certificate"),
    Row("ann", "CN=ann", 403, "certificate"),
    Row("factory SN-2", "CN=unit-SN-2,O=Example", 200, policy="rules"),
    Row("factory SN-2", "CN=unit-SN-1,O=Example", 403, policy="rules"),
    Row("factory SN-2", "CN=SN-2", 403, policy="rules"),
]
BY_TOKEN = [
    Row("token named", "CN=ann", 403, "Subject"),
    Row("token named", "CN=named", 200),
    Row("token wrong", "CN=free-3", 401),
    Row("token line", "CN=line-4-board", 200, policy="rules"),
    Row("token line", "CN=line-4", 403, "Subject", policy="rules"),
]
P384 = ec.generate_private_key(ec.SECP384R1())
GW = {"key": P384, "policy": "rules"}
BY_RULES = [
    Row("gw-7", "CN=gw-7", 200, **GW, got={"eku": ["client", "server"], "minutes": 30}),
    Row("gw-7", "CN=gw-7,O=Example", 200, **GW, eku=("server",), got={"eku": ["server"]}),
    Row("gw-7", "CN=gw-7", 200, key=rsa.generate_private_key(65537, 2048), policy="rules"),
    Row("gw-7", "CN=gw-7", 403, "P-256 is none of P-384, RSA-2048", policy="rules"),
    Row("gw-7", "CN=gw-7", 403, "P-256 is none of", operation="serverkeygen", policy="rules"),
    Row("gw-7", "CN=gw-8", 403, **GW),
    Row("gw-7", "O=Example,CN=gw-7", 403, **GW),
    Row("gw-7", "CN=gw-7", 200, **GW, san=("DNS:GW-7.example", "IP:10.1.2.3", "URI:urn:dev:1")),
    Row("gw-7", "CN=gw-7", 200, **GW, san=("DNS:web.gw-7.example",)),
    Row("gw-7", "CN=gw-7", 403, **GW, san=("DNS:a.web.gw-7.example",)),
    Row("gw-7", "CN=gw-7", 403, **GW, san=("DNS:gw-8.example",)),
    Row("gw-7", "CN=gw-7", 403, **GW, san=("DNS:gw-7.example", "DNS:gw-8.example")),
    Row("gw-7", "CN=gw-7", 403, **GW, san=("DNS:gw-7xexample",)),
    Row("gw-7", "CN=gw-7", 403, **GW, san=("IP:10.2.0.1",)),
    Row("gw-7", "CN=gw-7", 403, **GW, san=("email:gw-7@example",)),
    Row("gw-7", "CN=gw-7", 403, "wildcard", **GW, san=("DNS:*.gw-7.example",)),
    Row("gw-7", "CN=*.gw-7.example", 200, policy="rules"),
    Row("gw-7", "CN=agree", 200, policy="rules", got={"usage": ["key_encipherment", *AGREES]}),
    Row("gw-7", "CN=agree", 200, policy="rules", usage=AGREES, got={"usage": [*AGREES]}),
    Row("gw-7", "CN=agree", 403, "digitalSignature is not", policy="rules", usage=SIGNATURE),
    Row(
        "gw-7",
        "CN=agree",
        403,
        "keyAgreement for one direction is not allowed",
        policy="rules",
        usage=(*AGREES, "encipher_only"),
    ),
    Row("gw-7", "CN=gw-7", 403, "emailProtection", **GW, eku=("email",)),
    Row("ann", "CN=ann", 200, policy="rules", got={"eku": ["client"], "minutes": 60}),
    Row("ann", "CN=gw-7", 403, "Subject", policy="rules"),
    Row("ann", "CN=sensor-1,O=Example", 403, "Subject", policy="rules"),
    Row("ann", "CN=proxy.example", 403, "name of the server", policy="rules"),
    Row("gw-7", "CN=192.0.2.9", 403, "name of the server", policy="rules"),
    Row("eve", "CN=x,OU=y,O=z", 200, policy="rules", got={"eku": ["email"]}),
    Row("eve", "CN=bob", 403, "clientAuth is not allowed", eku=("client",), policy="rules"),
    Row("eve", "CN=localhost", 403, "name of the server", policy="rules"),
    Row("eve", "CN=mpest test root", 403, "is the CA", policy="rules"),
    Row("eve", "CN=proxy.example,O=z", 403, "name of the server", policy="rules"),
    # Registration authorities: for others by pattern, and for themselves.
    Row("ra-1", "CN=sensor-1,O=Example", 200, policy="rules", got={"eku": ["client"]}),
    Row("ra-1", "CN=sensor-1", 403, "Subject", policy="rules"),
    Row("ra-1", "CN=ann", 403, "Subject", policy="rules"),
    Row("ra-1", "CN=localhost", 403, "name of the server", policy="rules"),
    Row("ra-1", "CN=hub", 403, "serverAuth", eku=("server",), policy="rules"),
    Row("ra-1", "CN=hub", 200, policy="rules"),
    Row("ra-1", "CN=ra-1", 200, policy="rules"),
    Row("ra-2", "CN=sensor-4", 200, policy="rules"),
    Row("ra-2", "CN=ra-1", 403, policy="rules"),
    Row("ra-3", "CN=sensor-5", 403, f"ended on {YESTERDAY}", policy="rules"),
]
OPEN = [
    Row("ann", "CN=bob,O=Example", 200, policy="open", san=("DNS:a.example", "DNS:*.b.example")),
    Row("ann", "CN=bob", 200, policy="open", eku=("server",), got={"eku": ["server"]}),
    Row("ann", "CN=bob", 200, policy="open", got={"eku": ["client", "server"]}),
    Row("ann", "CN=bob", 200, policy="open", eku=("email",), got={"eku": ["email"]}),
    Row("ann", "CN=bob", 400, "is not allowed", policy="open", eku=("any",)),
    Row("ann", "CN=localhost", 403, "name of the server", policy="open"),
    Row("ann", "CN=bob", 403, "name of the server", policy="open", san=("IP:127.0.0.1",)),
    Row("ann", "CN=mpest test root", 403, "is the CA", policy="open"),
]
ANYBODY = [
    Row("nobody", "CN=bob,O=Example", 200, eku=("server",)),
    Row("nobody", "CN=localhost", 403, "name of the server"),
    Row("nobody", "CN=x", 403, "name of the server", san=("DNS:localhost",)),
    Row("nobody", "CN=x", 403, "name of the server", operation="serverkeygen", san=("IP:::1",)),
    Row("nobody", "CN=mpest test root", 403, "is the CA"),
]
TABLE = [
    *(("basic", row) for row in [*DEFAULT, *RENEWALS, *BY_RULES, *OPEN]),
    *(("mtls", row) for row in BY_CERTIFICATE),
    *(("token", row) for row in BY_TOKEN),
    *(("none", row) for row in ANYBODY),
]


def identity_of_factory(device: str) -> tuple[bytes, bytes]:
    key = new_key()
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in DEVICES[device]])
    certificate = FACTORY.sign(Order(name, key.public_key()), now() + timedelta(days=1))
    return certificate.public_bytes(Encoding.PEM), pem_of(key)


def basic(user: str, password: str = "") -> dict[str, str]:
    text = f"{user}:{password or PASSWORDS[user]}"
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


async def identity_of(
    server: EstServer, user: str, subject: str, password: bytes | None = None
) -> tuple[bytes, bytes]:
    """What this user gets under the policy in force; password: the challengePassword."""
    key = new_key()
    async with connect(server) as session:
        csr = make_csr(subject, key=key, password=password)
        status, text, _ = await enroll(session, csr, **basic(user))
    assert status == 200, text
    return certificates(text)[0].public_bytes(Encoding.PEM), pem_of(key)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EstServer]:
    config = ServerConfig(
        directory=tmp_path_factory.mktemp("abuse") / "ca",
        users=PASSWORDS,
        tokens={"named:token-of-named", "token-first", "token-second", "line-4:token-line"},
        factory_ca=FACTORY.certificate.public_bytes(Encoding.PEM).decode(),
        lifetime=timedelta(hours=1),
    )
    with running_server(config) as running:
        yield running


def set_policy(server: EstServer, auth: Any, policy: str) -> None:
    server.config.auth = auth
    server.config.policy = Policy.model_validate(RULES) if policy == "rules" else None
    server.config.open = policy == "open"


def name_of(row: Row, auth: str) -> str:
    more = [*row.san, *row.eku, *row.usage, *(type(one).__name__ for one in row.extensions)]
    words = [auth, row.policy, row.who, row.operation, row.subject or "empty", *more]
    return " ".join([*words, str(row.status)])


@pytest.mark.parametrize(("auth", "row"), TABLE, ids=[name_of(row, auth) for auth, row in TABLE])
async def test_who_gets_what(server: EstServer, auth: str, row: Row) -> None:
    kind, _, name = row.who.partition(" ")
    identity, headers = None, {}
    if kind == "holder":
        set_policy(server, "basic", "open" if name == "revoked" else "default")
        identity = await identity_of(server, "ann", f"CN={name}")
        if name == "revoked":
            server.revoke(x509.load_pem_x509_certificate(identity[0]).serial_number)
    elif kind == "factory":
        identity = identity_of_factory(name)
    elif kind == "token":
        secret = {"named": "token-of-named"}.get(name, f"token-{name}")
        headers = {"Authorization": f"Bearer {secret}"}
    elif kind != "nobody":
        headers = basic(kind, row.password)
    set_policy(server, auth, row.policy)
    extensions = [*row.extensions]
    if row.san:
        extensions.append(hosts(*row.san))
    if row.eku:
        extensions.append(x509.ExtendedKeyUsage([EKU[name] for name in row.eku]))
    if row.usage:
        extensions.append(key_usage(*row.usage))
    csr = make_csr(row.subject, key=row.key, extensions=extensions)
    before = {one.serial for one in server.issued()}
    async with connect(server, identity) as session:
        status, text, _ = await enroll(session, csr, row.operation, **headers)
    assert (status, row.word in text) == (row.status, True), text
    issued = [one.der for one in server.issued() if one.serial not in before]
    assert len(issued) == (row.status == 200)
    for certificate in map(x509.load_der_x509_certificate, issued):
        assert certificate.subject == csr.subject
        check(certificate, row)


def check(certificate: x509.Certificate, row: Row) -> None:
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if "eku" in row.got:
        assert list(purposes) == [EKU[name] for name in row.got["eku"]]
    if "usage" in row.got:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        assert usage == key_usage(*row.got["usage"])
    if "minutes" in row.got:
        left = certificate.not_valid_after_utc - now()
        assert abs(left - timedelta(minutes=row.got["minutes"])) < timedelta(minutes=5)


async def test_a_renewal_keeps_what_its_key_is_for(server: EstServer) -> None:
    set_policy(server, "basic", "rules")
    identity = await identity_of(server, "gw-7", "CN=agree")
    for usage in ((), AGREES):
        async with connect(server, identity) as session:
            extensions = [key_usage(*usage)] if usage else []
            csr = make_csr("CN=agree", extensions=extensions)
            status, text, _ = await enroll(session, csr, "simplereenroll")
        assert status == 200, text
        found = certificates(text)[0].extensions.get_extension_for_class(x509.KeyUsage).value
        assert found == key_usage(*(usage or (*ANY, *AGREES)))


BAD_IDENTITY = (7, 403)
# Who signs, whose certificate is to be revoked, with which passphrase, and what comes.
REVOCATIONS = [
    ("ann", "ann", None, None),
    ("ann", "ann again", None, None),
    ("ann", "bob", None, BAD_IDENTITY),
    ("bob", "ann", None, BAD_IDENTITY),
    ("bob", "ann", b"lost and found", None),
    ("bob", "ann", b"Lost and found", BAD_IDENTITY),
    ("ann", "sensor-1", None, BAD_IDENTITY),
    ("ra-2", "sensor-1", None, None),
    ("ra-3", "sensor-1", None, BAD_IDENTITY),
    ("ra-2", "ann", None, BAD_IDENTITY),
    ("sensor-1", "sensor-1", None, None),
    ("sensor-1", "sensor-2", None, BAD_IDENTITY),
    ("sensor-1", "ra-2", None, BAD_IDENTITY),
    ("factory SN-1", "ann", None, BAD_IDENTITY),
    ("revoked", "ann", None, BAD_IDENTITY),
]


class Actors:
    """Who has certificates of the server, each made when it is named first."""

    def __init__(self, server: EstServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._known: dict[str, cmc_client.Client] = {}

    async def named(self, name: str) -> cmc_client.Client:
        if name not in self._known:
            identity = await self._identity(name)
            self._known[name] = cmc_client.Client(self._server, self._folder, name, identity)
        return self._known[name]

    async def _identity(self, name: str) -> tuple[bytes, bytes]:
        user = name.partition(" ")[0]
        if user == "factory":
            return identity_of_factory("SN-1")
        if user == "revoked":
            identity = self._server.new_identity("ann")
            self._server.revoke(x509.load_pem_x509_certificate(identity[0]).serial_number)
            return identity
        bringer = "ra-2" if user.startswith("sensor") else user
        return await identity_of(self._server, bringer, f"CN={user}", password=b"lost and found")


@pytest.mark.parametrize(("signer", "whose", "passphrase", "failure"), REVOCATIONS)
async def test_who_has_what_revoked(
    server: EstServer,
    tmp_path: Path,
    signer: str,
    whose: str,
    passphrase: bytes | None,
    failure: tuple[int, int] | None,
) -> None:
    set_policy(server, "basic", "rules")
    actors = Actors(server, tmp_path)
    who, victim = await actors.named(signer), await actors.named(whose)
    data = who.revoke(victim.certificate, passphrase=passphrase)
    before = {one.serial for one in server.issued() if one.revoked}
    if failure:
        assert await who.failure(data) == failure
    else:
        assert (await who.ask(data))[0] == 200
    revoked = {int(one.serial, 16) for one in server.issued() if one.revoked} - {
        int(serial, 16) for serial in before
    }
    assert revoked == (set() if failure else {victim.certificate.serial_number})


@pytest.mark.parametrize(
    ("signer", "subjects", "eku", "failure"),
    [
        ("ann", ["CN=ann"], (), None),
        ("ann", ["CN=bob"], (), BAD_IDENTITY),
        ("ann", ["CN=ann", "CN=bob"], (), BAD_IDENTITY),
        ("ann", ["CN=localhost"], (), BAD_IDENTITY),
        ("ann", ["CN=ann"], ("server",), BAD_IDENTITY),
        ("sensor-1", ["CN=sensor-1"], (), None),
        ("sensor-1", ["CN=sensor-2"], (), BAD_IDENTITY),
        ("ra-2", ["CN=sensor-8", "CN=sensor-9"], (), None),
        ("ra-2", ["CN=ann"], (), BAD_IDENTITY),
        ("st-3", ["CN=unit-1", "CN=unit-2", "CN=unit-3"], (), BAD_IDENTITY),
        ("factory SN-1", ["2.5.4.5=SN-1,O=Maker"], (), BAD_IDENTITY),
    ],
)
async def test_who_gets_what_by_cmc(
    server: EstServer,
    tmp_path: Path,
    signer: str,
    subjects: list[str],
    eku: tuple[str, ...],
    failure: tuple[int, int] | None,
) -> None:
    set_policy(server, "basic", "rules")
    who = await Actors(server, tmp_path).named(signer)
    extensions = [x509.ExtendedKeyUsage([EKU[name] for name in eku])] if eku else []
    requests = [
        make_csr(subject, extensions=extensions).public_bytes(Encoding.DER) for subject in subjects
    ]
    before = len(server.issued())
    data = cmc_client.pki_data((), requests)
    if failure:
        assert await who.failure(data) == failure
    else:
        assert (await who.ask(data))[0] == 200
    assert len(server.issued()) - before == (0 if failure else len(subjects))


async def test_one_revoked_station_leaves_the_others_working(
    server: EstServer, tmp_path: Path
) -> None:
    set_policy(server, "basic", "rules")
    actors = Actors(server, tmp_path)
    stations = [await actors.named(name) for name in ("st-1", "st-2")]
    server.config.auth = "mtls"

    async def bring(station: cmc_client.Client, subject: str, key: Any = None) -> tuple[int, str]:
        async with connect(server, station.identity) as session:
            return (await enroll(session, make_csr(subject, key=key)))[:2]

    key = new_key()
    status, text = await bring(stations[0], "CN=unit-1", key)
    assert status == 200, text
    unit = certificates(text)[0].public_bytes(Encoding.PEM), pem_of(key)
    server.revoke(stations[0].certificate.serial_number)
    assert (await bring(stations[0], "CN=unit-2"))[0] == 403
    brought = [(await bring(stations[1], f"CN=unit-{number}"))[0] for number in (3, 4, 5)]
    assert brought == [200, 200, 403]
    # What the revoked one brought renews, and owns itself alone.
    async with connect(server, unit) as session:
        assert (await enroll(session, make_csr("CN=unit-1"), "simplereenroll"))[0] == 200
        assert (await enroll(session, make_csr("CN=unit-9"), "simpleenroll"))[0] == 403


# Of line-4: capitals, zero width, soft hyphen, fullwidth, a blank at an end, a variation selector.
SPELLINGS = (
    "LINE-4",
    "line-4\u200b",
    "li\u00adne-4",
    "\uff4cine-4",
    "\\ line-4",
    "line-4\\ ",
    "line-4\ufe0f",
)


async def test_a_token_without_a_name_has_the_first_that_it_brought(server: EstServer) -> None:
    set_policy(server, "token", "default")
    for token, subject, status, word in (
        ("token-of-named", "CN=named", 200, ""),
        ("token-first", "CN=named", 403, "others have that"),
        # A name that the file gives, before its holder came.
        ("token-first", "CN=line-4", 403, "others have that"),
        *(("token-first", f"CN={name}", 403, "others have that") for name in SPELLINGS),
        ("token-first", "CN=free-1,O=Example", 403, "Subject"),
        ("token-first", "CN=localhost", 403, "name of the server"),
        ("token-first", "CN=free-1", 200, ""),
        ("token-first", "CN=free-1", 200, ""),
        ("token-first", "CN=free-2", 403, "Subject"),
        ("token-second", "CN=free-1", 403, "others have that"),
        ("token-second", "CN=FREE\u200b-1", 403, "others have that"),
        ("token-second", "CN=\\ free-1", 403, "others have that"),
        ("token-second", "CN=free-2", 200, ""),
    ):
        async with connect(server) as session:
            authorization = f"Bearer {token}"
            answer = await enroll(session, make_csr(subject), Authorization=authorization)
        assert (answer[0], word in answer[1]) == (status, True), (token, subject, answer)


async def test_a_token_without_a_name_is_not_called_as_who_had_something_else(
    server: EstServer,
) -> None:
    """A user who is on record, though for no such subject."""
    set_policy(server, "token", "default")
    key = new_key()
    end = now() + timedelta(days=1)
    other = server._authority.issuer.sign(Order(common_name("hub"), key.public_key()), end)
    server._database.record(other, Stored(owner="user:alison"))
    server.config.tokens = {*server.config.tokens, "token-third"}
    async with connect(server) as session:
        for name, status in (("alison", 403), ("Alison\u200b", 403), ("bertha", 200)):
            answer = await enroll(
                session, make_csr(f"CN={name}"), Authorization="Bearer token-third"
            )
            assert answer[0] == status, answer


async def test_who_poses_as_a_device_of_the_factory(tmp_path: Path) -> None:
    """Neither the issuer's name nor that nobody has it on record makes a certificate theirs."""
    namesake = new_ca("mpest test root")
    pem = namesake.certificate.public_bytes(Encoding.PEM).decode()
    config = ServerConfig(directory=tmp_path / "ca", auth="mtls", open=False, factory_ca=pem)
    async with EstServer(config) as server:
        key = load_pem_private_key((config.directory / "ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        for ca, status in ((Signer(server.ca_certificates[-1], key), 403), (namesake, 200)):
            device = new_key()
            name = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, "SN-1")])
            shown = ca.sign(Order(name, device.public_key()), now() + timedelta(days=1))
            identity = shown.public_bytes(Encoding.PEM), pem_of(device)
            async with connect(server, identity) as session:
                assert (await enroll(session, make_csr("CN=SN-1")))[0] == status
