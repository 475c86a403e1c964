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
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mpest import boards
from mpest.exits import CliError, Exit
from mpest.flash import application
from mpest.flash import install as installer
from mpest.flash.application import File
from mpest.flash.switch import KEPT, PLAN, STAGE
from mpest.flash.target import Runtime
from mpest.flash.update import Event, guard
from mpest.station import device, request
from mpest.station.errors import (
    AcceptanceFailed,
    BoardError,
    Failed,
    Garbled,
    NotProven,
    OtherBoard,
    Provisioned,
    StorageFull,
    WrongBoard,
)
from mpest.station.files import OverLink
from mpest.station.identity import Identity
from mpest.station.link import Link
from mpest.station.request import Request

LOOK_SECONDS = 60.0  # for what reads or moves files; hashing 200 KB takes an RP2040 two
KEY_SECONDS = 60.0  # for a key and a request on an emulated board; an RP2040 takes two
RSA_SECONDS = 1800.0  # RSA keys take a board minutes, 4096 bits of them up to half an hour
INSTALL_SECONDS = 120.0  # for judging a chain: a signature takes an RP2040 half a second, RSA less
ACCEPT_SECONDS = 300.0  # for the user's own script, unless the job says otherwise
_CHALLENGE = 32  # bytes, fresh for each proof
_MARK = re.compile(r"^mpest-station (.*)$", re.MULTILINE)
# What an error of the board's means for the line.
_EXITS = {
    "UsageError": Exit.USAGE,
    "Unsupported": Exit.USAGE,
    "NotTrusted": Exit.NOT_TRUSTED,
    "Ended": Exit.NOT_TRUSTED,
    "NotYetValid": Exit.NOT_TRUSTED,
    "StorageError": Exit.STORAGE,
    "OtherLayout": Exit.STORAGE,
    "RetryLater": Exit.LATER,
}
_NO_SPACE = 28
# What an emulated board lacks: randomness, and TLS that certificates load into.
_EMULATED = """
import qemu, sys
qemu.inject(binascii.unhexlify({seed!r}))
class TLS:
    PROTOCOL_TLS_CLIENT = 0
    CERT_REQUIRED = 2
    SSLContext = lambda self, protocol: self
    load_verify_locations = load_cert_chain = lambda self, *loaded: None
sys.modules["tls"] = TLS()
"""


def _unheard(event: Event) -> None:
    pass


@dataclass(frozen=True)
class Birth:
    """Where on a board its birth certificate goes, as config.json names both: PEM, and the key in
    DER. folder: of the order, until both are whole."""

    certificate: str = "/birth.pem"
    key: str = "/birth.key"
    folder: str = "/birth"


class Board:
    """The board at the other end of `link`, which is to be a `profile`.

    birth: it gets a birth certificate, and the one for its names in the field later.

    Every method raises CliError, of station.errors where it is the board. What was stored before
    is still stored then, and the steps may be taken again from the first.
    """

    def __init__(self, link: Link, profile: boards.Board, birth: Birth | None = None) -> None:
        self._link = link
        self.profile = profile
        self.birth = birth
        self.identity: Identity | None = None
        self._request: Request | None = None
        self._csr = b""
        # How often the link had been opened when no program ran; -1 for never.
        self._quiet = -1

    def identify(self) -> Identity:
        """Who the board is, and what lies there already. Nothing on it is changed.

        Raises WrongBoard where it is no `profile`, as far as its MicroPython tells.
        """
        self._link.fresh()
        # An emulated board has no number: it keeps the one that it is given first.
        number = secrets.token_hex(8) if self.profile.emulator else None
        known = self._call("look", "look", number, expected=None)
        runtime = Runtime(
            tuple(known["version"]), known["machine"], known["mpy"], known["platform"], 0, 0
        )
        try:
            installer.check_board(runtime, self.profile)
        except CliError as error:
            raise WrongBoard(f"{self._name}: {error.message}") from None
        identity = Identity(
            unique_id=known["unique_id"],
            mac=known["mac"],
            machine=known["machine"],
            platform=known["platform"],
            version=tuple(known["version"]),
            mpy=known["mpy"],
            files=tuple(known["files"]),
        )
        if self.identity and self.identity.unique_id != identity.unique_id:
            raise self._other(identity.unique_id)
        self.identity = identity
        if self._main not in identity.files or self._kept in identity.files:
            self._quiet = self._link.opened
        if set(identity.files) & set(self._places):
            self.identity = self._with_certificate(identity)
        return self.identity

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
        csr, _ = self._fresh("order", "make", self._order(order), seconds=seconds)
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

    def install(self, answer: bytes, cacerts: bytes = b"", date: str = "") -> list[bytes]:
        """Have the board's agent take a server's answer: the chain (DER, leaf first), read back.

        answer, cacerts: certs-only CMS (DER); date: the Date header that came with it; both as at
        `make_key` unless given. The agent stores the answer before it judges it, by what it trusts
        itself. It may be called again whatever was cut.
        """
        order = self._order(self._made())
        request.check_issued(answer, self.key_hash, self._name)
        order["answers"]["simpleenroll"] = base64.b64encode(answer).decode()
        if cacerts:
            order["answers"]["cacerts"] = base64.b64encode(cacerts).decode()
        if date:
            order["answers"]["date"] = date
        self._hold()
        self._fresh("order", "install", order, seconds=INSTALL_SECONDS)
        self._place_birth()
        self.identity = installed = self._with_certificate(self._known)
        if installed.key_hash != self.key_hash:
            raise NotProven(f"{self._name} holds the certificate of another key: set it aside")
        return list(installed.chain)

    def prove(self, chain: list[bytes]) -> None:
        """Have the board sign a fresh challenge by its identity's key.

        Raises NotProven unless that is the key of `chain` (DER, leaf first), and the board holds
        just that.
        """
        challenge = secrets.token_bytes(_CHALLENGE)
        message = (request.PURPOSE + challenge).hex()
        signed = self._fresh("identity", "sign", self._place, message)
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
        found: list[str] = self._fresh("look", "holding", paths, texts)
        return sorted(found)

    def unknown(self, files: list[File]) -> list[str]:
        """Paths of what `identify` found that neither belongs to `files` nor to the identity."""
        expected = {file.path for file in files} | set(self._places)
        expected |= {self._kept} | ({"/unique_id"} if self.profile.emulator else set())
        return sorted(set(self._known.files) - expected)

    def forget(self) -> None:
        """Have the board forget certificate, key and order, for new ones under the same serial."""
        self._hold()
        files = [self.birth.certificate, self.birth.key] if self.birth else []
        folders = [self.profile.storage.path] + ([self.birth.folder] if self.birth else [])
        if left := self._fresh("identity", "forget", folders, files):
            raise BoardError(f"{self._name} still holds {', '.join(left)}", Exit.STORAGE)
        self.identity = replace(self._known, key_hash="", chain=())
        self._csr = b""

    def wipe(self) -> None:
        """Remove all files of the board, the identity included."""
        self._hold()
        if left := self._fresh("look", "wipe"):
            raise BoardError(f"{self._name} still holds {', '.join(left)}", Exit.STORAGE)
        self.identity = None

    def leave(self) -> None:
        """Have the board start its program, as in the field."""
        if self._kept in self._known.files:
            self._do("move", [(self._kept, self._main), (STAGE, None)])
        self._link.reset(again=False)
        self._link.close()

    # Below.

    @property
    def _name(self) -> str:
        return f"the board at {self._link.name}"

    @property
    def _place(self) -> str | list[str]:
        """Where the identity that the station makes is read."""
        if self.birth:
            return [self.birth.certificate, self.birth.key]
        return self.profile.storage.path

    @property
    def _places(self) -> list[str]:
        """Paths of all files that may hold it."""
        if self.birth:
            return [self.birth.certificate, self.birth.key]
        return application.records(self.profile)

    def _place_birth(self) -> None:
        if birth := self.birth:
            files = birth.folder, birth.certificate, birth.key
            if self._fresh("identity", "place_files", *files):
                self.identity = self._with_certificate(self._known)

    def _order(self, order: Request) -> dict[str, Any]:
        if not self.birth:
            return order.order()
        described = order.birth()
        described["birth"]["folder"] = self.birth.folder
        return described

    @property
    def _main(self) -> str:
        return application.root(self.profile) + "main.py"

    @property
    def _kept(self) -> str:
        """Where main.py is while the guard is in its place."""
        return application.root(self.profile) + KEPT

    @property
    def _known(self) -> Identity:
        return self.identity or self.identify()

    def _left_alone(self) -> None:
        if (known := self._known).provisioned:
            raise Provisioned(f"{self._name} has a certificate already, of key {known.key_hash}")

    def _made(self) -> Request:
        if not self._request:
            raise CliError("make_key comes first, in each program anew")
        return self._request

    def _with_certificate(self, identity: Identity) -> Identity:
        try:
            shown = self._fresh("identity", "show", self._place)
        except Failed as error:
            if error.kind != "ImportError":
                raise
            shown = None  # est is not there, or not whole
        if not shown:
            return replace(identity, key_hash="", chain=())
        chain = tuple(base64.b64decode(der) for der in shown[1])
        return replace(identity, key_hash=shown[0], chain=chain)

    def _hold(self) -> None:
        """Have main.py not start while the station works: its watchdog would end that.

        A guard takes its place, which runs it where the station does not come back.
        """
        # An emulated board has no watchdog, and its emulator ends where it resets.
        if self.profile.emulator or self._quiet == self._link.opened:
            return
        self.identify()
        if self._quiet != self._link.opened:
            root = application.root(self.profile)
            # What an update was cut in: finished where it is decided, else begun anew.
            if {root + PLAN, f"{root}{STAGE}/main.py"} <= set(self._known.files):
                self._do("finish")
            self._do("move", [(root + PLAN, None), (root + STAGE, None)])
            self._do("guard", guard(root))
            self._link.reset(again=True)
            self.identify()

    def _do(self, name: str, *arguments: object) -> None:
        self._link.fresh()
        OverLink(self._link, self._known.unique_id).do(name, *arguments)

    def _fresh(self, module: str, *call: Any, seconds: float = LOOK_SECONDS) -> Any:
        """`_call` on the board identified, with an empty heap."""
        self._link.fresh()
        return self._call(module, *call, expected=self._known.unique_id, seconds=seconds)

    def _call(
        self,
        module: str,
        function: str,
        *arguments: Any,
        expected: str | None,
        seconds: float = LOOK_SECONDS,
    ) -> Any:
        """What a function of the device code returns, if the board is the expected one."""
        code = device.text(module)
        if self.profile.emulator and module != "look":
            code += _EMULATED.format(seed=secrets.token_hex(32))
        listed = ", ".join(map(repr, (expected, *arguments)))
        name, _, rest = listed.partition(", ")
        output = self._link.run(f"{code}\nreport({name}, {function}, {rest})", seconds)
        match = _MARK.search(output)
        try:
            answer = json.loads(match[1] if match else "")
        except ValueError:
            raise Garbled(
                f"{self._name} gives no sensible answer: try again, or plug it in again"
            ) from None
        if "other" in answer:
            raise self._other(answer["other"])
        if "error" in answer:
            raise self._failed(answer)
        return answer["result"]

    def _other(self, unique_id: str) -> OtherBoard:
        known = self.identity.unique_id if self.identity else ""
        return OtherBoard(f"{self._name} is another by now: {unique_id}, it was {known}")

    def _failed(self, answer: dict[str, Any]) -> BoardError:
        kind, text = answer["error"], answer["text"]
        if answer.get("errno") == _NO_SPACE or (kind == "StorageError" and "free" in text):
            return StorageFull(f"{self._name}: {text}")
        known = text if kind in _EXITS or kind == "PeerError" else f"{kind}: {text}"
        return Failed(f"{self._name}: {known}", kind, _EXITS.get(kind, Exit.NETWORK))
