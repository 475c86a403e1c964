"""Who asks for a certificate, once that is proven."""

import contextlib
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

ANONYMOUS = "anonymous"


@dataclass(frozen=True)
class Principal:
    """One who asks. Its certificates are on record under `owner`, and their renewals too."""

    owner: str
    """`user:NAME`, `token:NAME`, `factory:SHA-256 OF THE CA:SUBJECT`, `certificate:SERIAL` for
    one that nobody else is known to own, or `anonymous`."""
    name: str
    """For people."""
    words: dict[str, str] = field(default_factory=dict)
    """What stands for `{user}`, `{serialNumber}` and `{CN}` in the patterns of a policy."""
    factory: x509.Certificate | None = None
    """The CA of the factory that the device is from."""
    certificate: x509.Certificate | None = None
    """The certificate of this server that was shown in place of a login."""
    from_factory: x509.Certificate | None = None
    """The factory's certificate that was."""
    one_time: str | None = field(default=None, repr=False)
    """HA1 of a one-time password, if that was the login."""

    @property
    def kind(self) -> str:
        """user, token, factory, certificate or anonymous."""
        return self.owner.partition(":")[0]

    @property
    def credential(self) -> str:
        """What it asks by: another for each of its certificates."""
        shown = self.certificate or self.from_factory
        return f"{self.owner} {fingerprint(shown)}" if shown else self.owner


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 in lower-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def user(name: str, one_time: str | None = None) -> Principal:
    return Principal(f"user:{name}", name, {"user": name}, one_time=one_time)


def token(name: str) -> Principal:
    """The holder of a token; one whose name begins with # has none."""
    return Principal(f"token:{name}", f"token {name}", {} if name[:1] == "#" else {"user": name})


def from_factory(
    subject: x509.Name, ca: x509.Certificate, shown: x509.Certificate | None = None
) -> Principal:
    """The holder of a certificate of `ca` for `subject`."""
    text = subject.rfc4514_string()
    words = {}
    for word, oid in (("serialNumber", NameOID.SERIAL_NUMBER), ("CN", NameOID.COMMON_NAME)):
        values = [str(attribute.value) for attribute in subject.get_attributes_for_oid(oid)]
        if len(values) == 1:
            words[word] = values[0]
    owner = f"factory:{fingerprint(ca)}:{text}"
    return Principal(owner, text, words, ca, from_factory=shown)


def of_owner(owner: str, factories: list[x509.Certificate]) -> Principal:
    """Who is on record as `owner`; the CAs of `factories` are those that are known now."""
    kind, _, name = owner.partition(":")
    if kind == "user":
        return user(name)
    if kind == "token":
        return token(name)
    of_ca, _, subject = name.partition(":")
    for ca in factories:
        if kind == "factory" and of_ca == fingerprint(ca):
            with contextlib.suppress(ValueError):  # longer than X.520 has it
                return from_factory(x509.Name.from_rfc4514_string(subject), ca)
    return Principal(owner, owner)
