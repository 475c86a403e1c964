"""A board while the station works on it: who it is, and that its program does not start."""

import base64
import secrets
from dataclasses import replace
from typing import Any

from mpest import boards
from mpest.exits import CliError
from mpest.flash import application
from mpest.flash import install as installer
from mpest.flash.switch import KEPT, PLAN, STAGE
from mpest.flash.target import Runtime
from mpest.flash.update import guard
from mpest.station import calls
from mpest.station.errors import Failed, Provisioned, WrongBoard
from mpest.station.files import OverLink
from mpest.station.identity import Birth, Identity
from mpest.station.link import Link


class Session:
    """See `board.Board`, whose steps are made of this."""

    def __init__(self, link: Link, profile: boards.Board, birth: Birth | None = None) -> None:
        self._link = link
        self.profile = profile
        self.birth = birth
        self.identity: Identity | None = None
        self._calls = calls.Calls(link, emulated=profile.emulator is not None)
        # How often the link had been opened when no program ran; -1 for never.
        self._quiet = -1

    def identify(self) -> Identity:
        """Who the board is, and what lies there already. Nothing on it is changed.

        Raises WrongBoard where it is no `profile`, as far as its MicroPython tells.
        """
        # An emulated board has no number: it keeps the one that it is given first.
        number = secrets.token_hex(8) if self.profile.emulator else None
        known = self._calls(None, "look", "look", number)
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
            raise self._calls.other(identity.unique_id, self.identity.unique_id)
        self.identity = identity
        if self._main not in identity.files or self._kept in identity.files:
            self._quiet = self._link.opened
        if set(identity.files) & set(self._places):
            try:
                self.identity = self._with_certificate(identity)
            except Failed as error:  # est is not there, or not whole
                self.identity = replace(identity, unreadable=error.message)
        return self.identity

    @property
    def _name(self) -> str:
        return self._calls.name

    @property
    def _known(self) -> Identity:
        return self.identity or self.identify()

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

    @property
    def _main(self) -> str:
        return application.root(self.profile) + "main.py"

    @property
    def _kept(self) -> str:
        """Where main.py is while the guard is in its place."""
        return application.root(self.profile) + KEPT

    def _left_alone(self) -> None:
        if self._known.unreadable:
            self.identity = self._with_certificate(self._known)
        if (known := self._known).provisioned:
            raise Provisioned(f"{self._name} has a certificate already, of key {known.key_hash}")

    def _with_certificate(self, identity: Identity) -> Identity:
        key_hash, encoded = self._call("identity", "show", self._place) or ("", ())
        chain = tuple(map(base64.b64decode, encoded))
        return replace(identity, key_hash=key_hash, chain=chain, unreadable="")

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
        """Run a function of mpest.flash.switch on the board."""
        self._link.fresh()
        OverLink(self._link, self._known.unique_id).do(name, *arguments)

    def _call(self, module: str, *call: Any, seconds: float = calls.SECONDS) -> Any:
        """What a function of the device code returns on the board that was identified."""
        return self._calls(self._known.unique_id, module, *call, seconds=seconds)
