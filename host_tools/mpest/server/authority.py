"""The certification authority of a folder: its files, and a new root in place of the old one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from mpest.exits import CliError, Exit
from mpest.server import files
from mpest.server.ca import CaKey, Signer, link, new_ca, now, objection_to_ca

_ROOT_NAME = "mpest test root"
_CHAIN = re.compile(r"(ca|intermediate\d+|issuing)\.(pem|key)")
_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
_MADE_ANEW = ("issuing.*", "intermediate*.*", "old-issuing.*", "old-intermediate*.*")


@dataclass(frozen=True)
class Rollover:
    """The root before this one, and the certificates that link both (RFC 4210 4.4)."""

    old: Signer
    old_with_new: x509.Certificate
    new_with_old: x509.Certificate

    @classmethod
    def between(cls, old: Signer, new: Signer) -> "Rollover":
        return cls(old, link(old, new), link(new, old))


class Authority:
    """The CA kept in one directory: `ca.pem` and `ca.key`, for an intermediate that issues also
    `issuing.pem` and `issuing.key`, and those of `intermediate1` and so on between the two. After
    a rollover also `old.pem`, `old.key`, `old-issuing.pem` and so on of the CAs before, and
    `old-with-new.pem` and `new-with-old.pem`.
    """

    def __init__(
        self,
        signers: list[Signer],
        rollover: Rollover | None = None,
        retired: Sequence[Signer] = (),
        password: bytes | None = None,
    ) -> None:
        """`signers` run from the root to the one that issues, `retired` are those that issued
        under the root before. `password` is that of all keys' files."""
        self._password = password
        self.root = signers[0]
        self.issuer = signers[-1]
        self.rollover = rollover
        self.retired = list(retired)
        self._signers = signers

    @classmethod
    def open(
        cls,
        directory: Path,
        chain_length: int,
        root_key: str = "P-256",
        password: bytes | None = None,
    ) -> "Authority":
        """Reopen the CA, or make what is missing; a chain that is longer already stays so.

        `password`: the keys' files are encrypted by it; without one they are not.
        Raises CliError when the files are damaged or not a CA's, OSError when it can't write.
        """
        files.finish(directory)
        if (directory / "est.db").exists() and not (directory / "ca.pem").exists():
            raise _damaged(directory / "ca.pem", "is missing although certificates were issued")
        check_database(directory)
        signers: list[Signer] = []
        made: dict[str, bytes | None] = {}
        # With a part of it the server would not know the devices that it has.
        chain_length = max(chain_length, _length_of(directory))
        for name in _names(chain_length):
            parent = signers[-1] if signers else None
            signer = _load(directory, name, parent, password)
            if signer is None:
                signer = _make(chain_length, len(signers), parent, root_key)
                made |= _contents(name, signer, password)
            signers.append(signer)
        rollover = _open_rollover(directory, signers[0], password)
        retired = (
            _open_retired(directory, chain_length, rollover.old, password) if rollover else []
        )
        authority = cls(signers, rollover, retired, password)
        _check_lists(directory, authority)
        if made:
            files.replace(directory, made)
        return authority

    def roll(self, directory: Path, root_key: str = "P-256") -> "Authority":
        """The CA under a new root, which the present one and it vouch for. Raises OSError."""
        new = [new_ca(_ROOT_NAME, key_type=root_key, after=self.root)]
        length = len(self._signers)
        for number in range(1, length):
            new.append(_make(length, number, new[-1], root_key))
        rollover = Rollover.between(self.root, new[0])
        # What another length of the chain may have left is no part of the new one.
        stale = (path.name for kind in _MADE_ANEW for path in directory.glob(kind))
        contents: dict[str, bytes | None] = dict.fromkeys(stale)
        for name, certificate in _link_files(rollover).items():
            contents[name] = certificate.public_bytes(Encoding.PEM)
        for name, old_signer, signer in zip(_names(length), self._signers, new, strict=True):
            for kept, one in ((_old(name), old_signer), (name, signer)):
                contents |= _contents(kept, one, self._password)
        files.replace(directory, contents)
        return type(self)(new, rollover, self._signers[1:], self._password)

    @property
    def certificates(self) -> list[x509.Certificate]:
        """The chain from the issuer to the root."""
        return [signer.certificate for signer in reversed(self._signers)]

    @property
    def all_signers(self) -> list[Signer]:
        """The one that issues first, those before the last rollover at the end."""
        old = [self.rollover.old, *self.retired] if self.rollover else []
        return [*reversed(self._signers), *reversed(old)]

    @property
    def published(self) -> list[x509.Certificate]:
        """What /cacerts holds: the chain, and what a rollover adds to it (RFC 7030 4.1.3)."""
        if self.rollover is None:
            return self.certificates
        rollover = self.rollover
        links = [rollover.old_with_new, rollover.new_with_old]
        return [*self.certificates, rollover.old.certificate, *links]

    @property
    def sent(self) -> list[x509.Certificate]:
        """What TLS sends after the server's certificate, for clients that know either root."""
        return self.certificates[:-1] + ([self.rollover.new_with_old] if self.rollover else [])

    @property
    def anchors(self) -> list[x509.Certificate]:
        """What clients' certificates are verified with."""
        return [signer.certificate for signer in self.all_signers]


def check_database(directory: Path) -> None:
    """Raises CliError if `est.db` was lost: each start writes `crl.pem` after it, and by a new one
    spent passwords would be good again, and nothing revoked."""
    path = directory / "est.db"
    if not (directory / "crl.pem").is_file():
        return
    if not path.exists():
        raise _damaged(path, "is missing although crl.pem is there")
    if not path.stat().st_size:
        raise _damaged(path, "is empty although crl.pem is there")


def _check_lists(directory: Path, authority: Authority) -> None:
    """Raises CliError if a CA is lost whose list is in `crl.pem`: the server would not know the
    devices that have its certificates."""
    try:
        content = (directory / "crl.pem").read_bytes()
        lists = [x509.load_pem_x509_crl(pem) for pem in _LIST.findall(content)]
    except (OSError, ValueError):
        return  # it is written anew
    keys = [signer.key.public_key() for signer in authority.all_signers]
    expired = authority.rollover is None and (directory / "old.pem").exists()
    if expired or (lists and not lists[0].is_signature_valid(keys[0])):
        del lists[1:]  # of CAs that a rollover, cut off since, has done away with
    for current in lists:
        if not any(current.is_signature_valid(key) for key in keys):
            issuer = current.issuer.rfc4514_string()
            raise _damaged(directory, f"lacks the files of {issuer}, whose list is in crl.pem")


def _names(chain_length: int) -> list[str]:
    """Of the files of each CA, from the root to the one that issues."""
    between = [f"intermediate{number}" for number in range(1, chain_length - 1)]
    return ["ca", *between, *(["issuing"] if chain_length > 1 else [])]


def _length_of(directory: Path) -> int:
    """Of the chain that a folder holds, 0 without one. Half of a CA counts: `_load` tells so."""
    names = (_CHAIN.fullmatch(path.name) for path in directory.iterdir())
    return len({name[1] for name in names if name})


def _old(name: str) -> str:
    """The same once it is replaced."""
    return "old" if name == "ca" else f"old-{name}"


def _make(chain_length: int, number: int, parent: Signer | None, root_key: str) -> Signer:
    """The CA at this place of the chain, of which the root is number 0."""
    if parent is None:
        return new_ca(_ROOT_NAME, key_type=root_key)
    below = chain_length - 1 - number
    subject = f"mpest test intermediate CA {number}" if below else "mpest test issuing CA"
    return new_ca(subject, parent, below=below)


def _contents(name: str, signer: Signer, password: bytes | None) -> dict[str, bytes | None]:
    """What its two files hold."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return {
        f"{name}.key": signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption),
        f"{name}.pem": signer.certificate.public_bytes(Encoding.PEM),
    }


def _link_files(rollover: Rollover) -> dict[str, x509.Certificate]:
    return {
        "old-with-new.pem": rollover.old_with_new,
        "new-with-old.pem": rollover.new_with_old,
    }


def _open_rollover(directory: Path, root: Signer, password: bytes | None) -> Rollover | None:
    """What is left of the last rollover; None once its root has expired."""
    path = directory / "old.pem"
    try:
        expires = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _damaged(path, "is not a certificate") from error
    if expires <= now():
        return None
    old = _load(directory, "old", None, password)
    if old is None or old.certificate == root.certificate:
        return None  # it was interrupted before the root changed
    links = []
    for name, issuer in (("old-with-new.pem", root), ("new-with-old.pem", old)):
        try:
            one = x509.load_pem_x509_certificate((directory / name).read_bytes())
            one.verify_directly_issued_by(issuer.certificate)
            if objection_to_ca(one):
                raise ValueError
        except Exception as error:  # cryptography names no common base for what bad input raises
            raise _damaged(directory / name, "does not link old.pem with ca.pem") from error
        links.append(one)
    return Rollover(old, *links)


def _open_retired(
    directory: Path, chain_length: int, parent: Signer, password: bytes | None
) -> list[Signer]:
    """The CAs that issued under the old root `parent`; none, if a version before 0.3 rolled."""
    retired: list[Signer] = []
    for name in _names(chain_length)[1:]:
        signer = _load(directory, _old(name), parent, password)
        if signer is None:
            break
        retired.append(signer)
        parent = signer
    return retired


def _load(
    directory: Path, name: str, parent: Signer | None, password: bytes | None
) -> Signer | None:
    """The CA in the files of this name; None where there are none."""
    certificate_file, key_file = directory / f"{name}.pem", directory / f"{name}.key"
    if not certificate_file.exists() and not key_file.exists():
        return None
    for path in (certificate_file, key_file):
        if not path.exists():
            raise _damaged(path, "is missing although its other half is there")
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        certificate.verify_directly_issued_by(parent.certificate if parent else certificate)
    except Exception as error:  # cryptography names no common base for what bad input raises
        raise _damaged(certificate_file, "is not a CA certificate of this server") from error
    try:
        key = load_pem_private_key(key_file.read_bytes(), password)
    except TypeError as error:  # one of both has a password
        what = "is not encrypted, and a password was given" if password else "is encrypted"
        raise CliError(f"{key_file} {what}: see --key-password-file") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        if password:
            raise CliError(f"{key_file} does not open with this password") from error
        raise _damaged(key_file, "is not an unencrypted private key") from error
    if not isinstance(key, CaKey):
        raise _damaged(certificate_file, "was not made by this server")
    objection = objection_to_ca(certificate)
    if objection:
        raise _damaged(certificate_file, f"is no CA's certificate: {objection}")
    if key.public_key() != certificate.public_key():
        raise _damaged(key_file, f"does not belong to {certificate_file.name}")
    if certificate.not_valid_after_utc <= now():
        raise _damaged(certificate_file, "has expired")
    return Signer(certificate, key)


def _damaged(path: Path, what: str) -> CliError:
    return CliError(f"{path} {what}; use another --dir or restore it", Exit.STORAGE)
