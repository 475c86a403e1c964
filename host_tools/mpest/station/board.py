"""One board on the station, step by step. Each step is done when its effect is read back.

    board = Board(Serial("/dev/ttyACM0"), boards.load("RPI_PICO_W"))
    board.identify()
    board.settings(files)
    board.make_key(authority.ask("CN=unit-17"))
    chain = board.install(authority.enroll(board.request()))
    board.prove(chain)
    board.leave()

The private key is made on the board and never leaves it. From `make_key` on the request is an
order of the board's own agent, in its store: whatever is cut, the same key and the same request
come again, on any station, and a board that leaves the line goes on with them in the field.
"""

import base64
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mpest import boards
from mpest.exits import CliError, Exit
from mpest.flash import install as installer
from mpest.flash import update
from mpest.flash.application import File
from mpest.flash.switch import STAGE
from mpest.flash.update import Event
from mpest.station import device, request
from mpest.station.errors import (
    AcceptanceFailed,
    BoardError,
    Failed,
    Garbled,
    Gone,
    NotEnrolled,
    NotProven,
    SecretLeft,
    Silent,
    StartedOver,
    StorageFull,
)
from mpest.station.files import OverLink
from mpest.station.identity import Birth
from mpest.station.link import Link
from mpest.station.request import Request
from mpest.station.session import Session

KEY_SECONDS = 60.0  # for a key and a request on an emulated board; an RP2040 takes two
RSA_SECONDS = 1800.0  # RSA keys take a board minutes, 4096 bits of them up to half an hour
INSTALL_SECONDS = 120.0  # for judging a chain: a signature takes an RP2040 half a second, RSA less
NETWORK_SECONDS = 180.0  # for starting, four tries to join the Wi-Fi, the time server, and EST
ACCEPT_SECONDS = 300.0  # for the user's own script, unless the job says otherwise
_CHALLENGE = 32  # bytes, fresh for each proof


def _unheard(event: object) -> None:
    pass


class Board(Session):
    """The board at the other end of `link`, which is to be a `profile`.

    birth: it gets a birth certificate, and the one for its names in the field later.

    Every method raises CliError, of station.errors where it is the board. What was stored before
    is still stored then, and the steps may be taken again from the first.
    """

    def __init__(self, link: Link, profile: boards.Board, birth: Birth | None = None) -> None:
        super().__init__(link, profile, birth)
        self._request: Request | None = None
        self._csr = b""

    def settings(self, files: list[File], emit: Callable[[Event], None] = _unheard) -> None:
        """Bring the board to hold `files` as `mpest flash` does: what differs, read back.

        Its identity stays. emit: called with the events of mpest.flash.install. Raises
        StorageFull, and CliError where its MicroPython cannot run them.
        """
        self._hold()
        target = OverLink(self._link, self._known.unique_id)
        self._link.fresh()
        try:
            installer.install(target, self.profile, files, emit, erase_identity=False)
        except CliError as error:
            if error.exit_code == Exit.STORAGE and "small" in error.message:
                raise StorageFull(f"{self._name}: {error.message}") from None
            raise

    def make_key(self, order: Request) -> str:
        """Key and request made and stored on the board, unless they are: the key hash.

        It is the order of the board's own agent for what its config.json says, which must be what
        `order` says: else RequestDiffers. Raises Provisioned where there is a certificate.
        """
        self._left_alone()
        self._hold()
        self._place_birth()  # a cut may have left it half done
        self._left_alone()
        seconds = RSA_SECONDS if order.key_type.startswith("RSA") else KEY_SECONDS
        csr, _ = self._call("order", "make", self._order(order), seconds=seconds)
        self._csr = base64.b64decode(csr)
        self._request = order
        return self.key_hash

    def request(self) -> bytes:
        """The CertificationRequest (DER) that the board made, checked."""
        self._made()
        return self._csr

    @property
    def key_hash(self) -> str:
        """SHA-256 in hex of the SubjectPublicKeyInfo in the board's request, which is checked."""
        return request.check(self._csr, self._made(), self._name)

    def issued(self, answer: bytes) -> list[bytes]:
        """The certificates (DER) of a server's answer, the one for the board's key first.

        To be recorded before the board has it. Raises NotProven where there is none for that key.
        """
        return request.issued(answer, self.key_hash, self._name)

    def install(self, answer: bytes, cacerts: bytes = b"", date: str = "") -> list[bytes]:
        """Have the board's agent take a server's answer: the chain (DER, leaf first), read back.

        answer, cacerts: certs-only CMS (DER); date: the Date header that came with it; both as at
        `make_key` unless given. The agent stores the answer before it judges it, by what it trusts
        itself. It may be called again whatever was cut.
        """
        order = self._order(self._made())
        self.issued(answer)
        order["answers"]["simpleenroll"] = base64.b64encode(answer).decode()
        if cacerts:
            order["answers"]["cacerts"] = base64.b64encode(cacerts).decode()
        if date:
            order["answers"]["date"] = date
        self._hold()
        self._call("order", "install", order, seconds=INSTALL_SECONDS)
        self._place_birth()
        self.identity = installed = self._with_certificate(self._known)
        if installed.key_hash != self.key_hash:
            raise NotProven(f"{self._name} holds the certificate of another key: set it aside")
        return list(installed.chain)

    def enrol_by_network(
        self,
        lent: list[File],
        files: list[File],
        secrets: list[str],
        seconds: float = NETWORK_SECONDS,
        tell: Callable[[str], None] = _unheard,
    ) -> list[bytes]:
        """Have main.py enrol over the board's own network: the chain (DER, leaf first), read back.

        After `make_key`, so that the key is known before. lent: as for `settings`, with a
        config.json that has the line's Wi-Fi and a one-time password; files: what takes their
        place whatever comes of it; secrets: texts that must be gone then. tell: called with each
        line that the board prints. Raises NotEnrolled with its last failure, and SecretLeft.
        """
        made = self._made()
        try:
            self.settings(lent)
            self._wait_for_certificate(seconds, tell)
        finally:
            try:
                self.withdraw(files, secrets)
            except (Garbled, Gone, Silent, StartedOver) as error:
                text = "take the board up again, or withdraw it at the server"
                raise SecretLeft(
                    f"{error.message}; what was lent to it may be there: {text}", []
                ) from error
        self.identity = enrolled = self._with_certificate(self._known)
        if enrolled.key_hash != request.check(self._csr, made, self._name):
            raise NotProven(f"{self._name} holds the certificate of another key: set it aside")
        return list(enrolled.chain)

    def withdraw(self, files: list[File], secrets: list[str]) -> None:
        """Bring the board to hold `files`, and raise SecretLeft unless all `secrets` are gone."""
        self.settings(files)
        if paths := self.leftovers(secrets):
            left = ", ".join(paths)
            raise SecretLeft(f"{self._name}: {left} still holds what was to be withdrawn", paths)

    def prove(self, chain: list[bytes]) -> None:
        """Have the board sign a fresh challenge by its identity's key.

        Raises NotProven unless that is the key of `chain` (DER, leaf first), and the board holds
        just that.
        """
        challenge = secrets.token_bytes(_CHALLENGE)
        message = (request.PURPOSE + challenge).hex()
        signed = self._call("identity", "sign", self._place, message)
        if not signed or [base64.b64decode(der) for der in signed[0]] != chain:
            raise NotProven(f"{self._name} does not hold the certificate that was issued for it")
        request.verify(chain[0], challenge, base64.b64decode(signed[1]), self._name)

    def accept(self, script: str, seconds: float = ACCEPT_SECONDS) -> str:
        """What the user's acceptance script prints on the board. Raises AcceptanceFailed."""
        self._link.fresh()
        try:
            return self._link.run(device.only(self._known.unique_id) + script, seconds)
        except Failed as error:
            raise AcceptanceFailed(error.message, error.output) from None

    def leftovers(self, forbidden: list[str]) -> list[str]:
        """Which paths, of those that begin with "/", are on the board, and which files hold one of
        the other texts. A text is never part of the answer."""
        paths = [text for text in forbidden if text.startswith("/")]
        texts = [text.encode().hex() for text in forbidden if not text.startswith("/")]
        found: list[str] = self._call("look", "holding", paths, texts)
        return sorted(found)

    def unknown(self, files: list[File]) -> list[str]:
        """Paths of what `identify` found that neither belongs to `files` nor to the identity, nor
        was left by an update that was cut: `settings` sees to that."""
        expected = {file.path for file in files} | set(self._places)
        expected |= {self._kept} | ({"/unique_id"} if self.profile.emulator else set())
        left = update.leftovers(self.profile)
        found = sorted(path for path in {*self._known.files} - expected if not left(path))
        # The order of a birth certificate, where that was cut.
        order = f"{self.birth.folder}/" if self.birth else None
        return [path for path in found if not (order and path.startswith(order))]

    def forget(self) -> None:
        """Have the board forget certificate, key and order, for new ones under the same serial."""
        self._hold()
        files = [self.birth.certificate, self.birth.key] if self.birth else []
        folders = [self.profile.storage.path] + ([self.birth.folder] if self.birth else [])
        if left := self._call("identity", "forget", folders, files):
            raise BoardError(f"{self._name} still holds {', '.join(left)}", Exit.STORAGE)
        self.identity = replace(self._known, key_hash="", chain=())
        self._csr = b""

    def remove(self, paths: list[str]) -> None:
        """Remove files of the board."""
        self._hold()
        self._do("move", [(path, None) for path in paths])
        self.identify()

    def wipe(self) -> None:
        """Remove all files of the board, the identity included."""
        self._hold()
        if left := self._call("look", "wipe"):
            raise BoardError(f"{self._name} still holds {', '.join(left)}", Exit.STORAGE)
        self.identity = None

    def leave(self) -> None:
        """Have the board start its program, as in the field; an emulated one is left as it is."""
        if self._kept in self._known.files:
            self._do("move", [(self._kept, self._main), (STAGE, None)])
        if not self.profile.emulator:  # its emulator ends where it resets
            self._link.reset(again=False)
        self._link.close()

    # Below.

    def _place_birth(self) -> None:
        if birth := self.birth:
            files = birth.folder, birth.certificate, birth.key
            if self._call("identity", "place_files", *files):
                self.identity = self._with_certificate(self._known)

    def _order(self, order: Request) -> dict[str, Any]:
        if not self.birth:
            return order.order()
        described = order.birth()
        described["birth"]["folder"] = self.birth.folder
        return described

    def _wait_for_certificate(self, seconds: float, tell: Callable[[str], None]) -> None:
        failure = "it said nothing"
        lines = self._link.watch(seconds)
        try:
            for line in lines:
                tell(line)
                name, _, text = line.partition(": ")
                if name == "renewed":
                    return
                if name in ("failed", "stranded"):
                    failure = text
        finally:
            lines.close()
        raise NotEnrolled(
            f"{self._name} got no certificate by its own network in {seconds:.0f} s: {failure}"
        )

    def _made(self) -> Request:
        if not self._request:
            raise CliError("make_key comes first, in each program anew")
        return self._request
