"""What `mpest simulate` is told, by the names of its options, and what the board makes of it."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mpest.exits import CliError
from mpest.sim import inputs
from mpest.sim.board_process import Event

# Those that make an identity or use the one that is there.
_OF_IDENTITY = ("enroll", "reenroll", "serverkeygen", "revoke")


@dataclass
class Settings:
    """One run of a simulated board. Paths are of this computer's files."""

    state: Path
    operations: tuple[str, ...]
    url: str | None = None
    trust: tuple[str, ...] = ()
    user: str | None = None
    password_file: str | None = None
    token_file: str | None = None
    cert: str | None = None
    key: str | None = None
    subject: str | None = None
    san: tuple[str, ...] = ()
    csr: str | None = None
    own_key: str | None = None
    secure_element: str | None = None
    challenge_file: str | None = None
    key_type: str | None = None
    same_key: bool = False
    decrypt_key: str | None = None
    decrypt_secret_file: str | None = None
    decrypt_id: str | None = None
    decrypt_password_file: str | None = None
    require_cmc_ra: bool = False
    require_csrattrs: bool = False
    cmc: bool = False
    no_wrap: bool = False
    single_certificate: bool = False
    reason: str = "unspecified"
    timeout: int = 30
    runtime: str = "micropython"
    as_json: bool = False

    def does(self, *operations: str) -> bool:
        """Whether one of these is among the operations."""
        return not {*operations}.isdisjoint(self.operations)

    @property
    def decrypts(self) -> bool:
        """Whether keys that the server makes come encrypted, as far as the options tell."""
        return bool(self.decrypt_key or self.decrypt_secret_file or self.decrypt_password_file)

    def without_names(self) -> bool:
        """Leave out names where none are asked for; whether there were any.

        A renewal keeps the names: with other ones it would be another request than one that waits.
        """
        if not (self.subject or self.san) or self.does("enroll", "serverkeygen"):
            return False
        self.subject, self.san = None, ()
        return True

    def board(self) -> Event:
        """The fields of sim/board.py. Raises CliError where a file cannot be used."""
        fields: Event = {
            "url": self.url or "",
            "operations": self.operations,
            "subject": self.subject,
            "san": self.san,
            "key_type": self.key_type,
            "rekey": not self.same_key,
            "timeout": self.timeout,
            "user": self.user,
            "cmc_ra": self.require_cmc_ra,
            "cmc": self.cmc,
            "reason": self.reason,
            "csrattrs": self.require_csrattrs,
            "no_wrap": self.no_wrap,
            "single": self.single_certificate,
        }
        fields |= inputs.read_trust(self.trust)
        for name, path in (
            ("password", self.password_file),
            ("challenge", self.challenge_file),
            ("token", self.token_file),
        ):
            if path:
                fields[name] = inputs.read_secret(path)
        operation = next((name for name in self.operations if name in _OF_IDENTITY), "enroll")
        if self.cert and self.key:
            fields |= inputs.read_factory(self.cert, self.key)
            # Renewed first, it is the identity of another program, if the board has none.
            fields["adopt"] = operation == "reenroll"
        fields |= inputs.read_own(self.csr, self.own_key, self.secure_element)
        if operation != "enroll":
            inputs.check_element(self.state, self.secure_element)
        return fields | inputs.read_decryption(
            self.decrypt_key,
            self.decrypt_secret_file,
            self.decrypt_id,
            self.decrypt_password_file,
        )


def check_url(settings: Settings) -> str | None:
    """What is wrong with --url."""
    url = settings.url or ""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return f"--url {url!r}: {error}"
    if parts.scheme != "https":
        return "--url must begin with https://, EST runs over TLS only"
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        return f"--url: a port is 1 to 65535, not {parts.netloc.rpartition(':')[2]}"
    labels = (parts.hostname or "").removesuffix(".").split(".")
    if len(labels) > 1 and not all(0 < len(label) < 64 for label in labels):
        return f"--url: {parts.hostname} is no host's name: a part is empty or longer than 63"
    return check_printable(url)


def check_printable(*texts: str) -> str | None:
    """The first text with a character that cannot be printed."""
    unprintable = [text for text in texts if not text.isprintable()]
    return f"a character that cannot be printed in {unprintable[0]!r}" if unprintable else None


def check_operations(settings: Settings) -> None:
    """Raises CliError where an operation lacks what it needs."""
    if not settings.url and settings.does(
        "cacerts", "csrattrs", "enroll", "reenroll", "serverkeygen", "revoke"
    ):
        raise CliError("--url is missing: only show does without a server")
    if settings.does("enroll") and not (settings.subject or settings.csr):
        raise CliError("enroll needs a --subject such as CN=device-1, or a --csr")
