"""A whole application: keeps the board's certificate for ever, and runs app.py beside that.

docs/board.md describes app.py and config.json, which lie beside it.
"""

import asyncio
import gc
import io
import os
import sys
import time

from micropython import const

from est import apart, clock, steps, store
from est.agent import Agent
from est.errors import StorageError
from est.parts import Known

_NEW = const("config.new.json")
# Seconds until the next try where the board, its settings or app.py failed.
_RETRY = const(60)
# Seconds for which one task may hold the loop: making an RSA key takes minutes.
_BLOCKED = const(600)
# The agent sleeps for an hour at most, and no step takes as long as that.
_ALIVE_MS = const(7200000)
_CLOCK_MS = const(3600000)
# Attempts that nobody answered, before the Wi-Fi is joined anew or other settings are tried.
_SILENT = const(2)
_STEPS = const(8)
# HTTP's status where there is no EST server: another label, path or method, a proxy.
_NO_EST = const((404, 405, 407, 415, 501, 505))
# Seconds until app.py starts, at most, where it held the loop up until the watchdog bit.
_HEAD_START = const(60)
# For whoever started it on a computer.
_WRONG_SETTINGS = const(2)


def tell(what, error):
    """One line."""
    print("%s%s: %s" % (what, type(error).__name__, " ".join(str(error).split())))


def settings(name, *arguments, **named):
    """What configuration.NAME gives. Its code is in the heap only then."""

    def part():
        import configuration

        return getattr(configuration, name)(*arguments, **named)

    try:
        return apart(part)
    finally:
        sys.modules.pop("configuration", None)


def has_app():
    names = os.listdir()
    return "app.py" in names or "app.mpy" in names


class OtherSettings(Exception):
    """There are new ones to be tried."""


class Frame:
    """The board's identity, what keeps it, and the application."""

    def __init__(self, board):
        self.board = board
        self.identity = Known(store.Store(board.storage))
        self.agent = None
        self.config = {}
        # What was told of the settings; whether new ones were tried in vain.
        self.told = None
        self.tried = False
        # In a row: attempts that nobody answered. Whether the server has answered.
        self.silent = 0
        self.reached = False
        self.clock_set = None
        self.alive()

    def alive(self):
        self.last = time.ticks_ms()

    def is_alive(self):
        return time.ticks_diff(time.ticks_ms(), self.last) < _ALIVE_MS

    # The identity.

    async def keep(self):
        """Enrol and renew for ever, whatever wiring and settings raise."""
        while True:
            try:
                self.alive()
                self.agent = None
                config = await self.choose()
                if config:
                    self.config = config
                    self.agent = self.make_agent(config)
                    await self.agent.run(self.make_room, self.ready)
            except OtherSettings:
                continue
            except Exception as error:
                tell("", error)
            await asyncio.sleep(_RETRY)

    async def choose(self):
        """The settings to go by, None without any: new ones once they reached the server."""
        new = None
        if _NEW in os.listdir():
            new, lines = settings("read", _NEW)
            if lines:
                self.complain(lines)
                self.file("put_aside")
        config, lines = settings("read", "config.json")
        if new:
            # Without others there is nothing to lose.
            if lines or await self.reaches(new):
                self.file("adopt")
                return new
            print("config.new.json: the server is not reached, config.json stays")
            self.tried = True
            self.silent = 0
        self.complain(lines)
        return config

    def file(self, how):
        """`adopt` or `put_aside` the new settings."""
        try:
            settings(how)
            print("config.new.json: %s" % ("accepted" if how == "adopt" else "put aside"))
        except OSError as error:
            self.tried = True
            tell("config.new.json: ", error)

    def complain(self, lines):
        if lines != self.told:
            self.told = lines
            for line in lines:
                print(line)

    async def reaches(self, config):
        """Whether an attempt with these settings gets an answer, or needs none."""
        from est import aclient

        agent = None
        self.reached = False
        self.identity.next = None
        try:
            await self.make_ready(config)
            agent = self.make_agent(config)
            agent.Client = aclient.Client
            for _ in range(_STEPS):
                if await steps.wait(agent.steps()) or self.reached:
                    break
            return self.reached or (self.identity.next or " ")[0] == "renew"
        except Exception as error:
            tell("", error)
            return False
        finally:
            if agent:
                agent.close()

    def make_agent(self, config):
        self.board.check_storage()
        agent = settings(
            *("agent", Agent, config, self.identity.store, self.board.unique_id()),
            log=print,
            on_event=self.on_event,
        )
        agent.known = self.identity
        return agent

    async def make_ready(self, config):
        """Network, clock and random source. Without the time server a plausible clock will do."""
        board = self.board
        await board.join(config.get("ssid"), config.get("password"), config.get("country"))
        now = time.ticks_ms()
        server = config.get("ntp", "pool.ntp.org")
        due = self.clock_set is None or time.ticks_diff(now, self.clock_set) > _CLOCK_MS
        if server and (due or not clock.now_or_0()):
            try:
                await board.set_time(server)
                self.clock_set = now
            except Exception as error:
                if not clock.now_or_0():
                    raise
                print("the clock is not set anew: %s" % error)
        board.check_entropy()

    async def ready(self):
        """Before each step of the agent."""
        if not self.agent.failures:
            self.silent = 0
        while True:
            self.alive()
            if _NEW in os.listdir() and (not self.tried or self.silent >= _SILENT):
                raise OtherSettings
            try:
                if self.silent >= _SILENT and self.config.get("ssid"):
                    self.silent = 0
                    self.board.leave()
                await self.make_ready(self.config)
                return
            except Exception as error:
                tell("", error)
                self.silent += 1
            await asyncio.sleep(_RETRY)

    def on_event(self, event, detail):
        """One line for each event of the agent."""
        kind = detail.get("type")
        refused = kind == "CertificateRefused" or (
            kind == "Refused" and detail["status"] not in _NO_EST
        )
        if refused or event in ("answered", "waiting", "renewed"):
            self.reached = True
            self.silent = 0
        elif kind == "PeerError":
            self.silent += 1
        if event not in ("bootstrap", "trust"):
            detail = detail.get("text") or " ".join(["%s=%s" % pair for pair in detail.items()])
        print("%s: %s" % (event, detail))

    async def make_room(self):
        """The application's."""
        make_room = getattr(sys.modules.get("app"), "make_room", None)
        if make_room:
            await make_room()

    # The application.

    async def run_app(self):
        """Run app.py, and again after it ended, unless config.json says otherwise."""
        if self.board.was_bitten():
            # It may hold the loop up again before the agent's first step.
            print("the watchdog ended what ran before: app.py waits for the agent")
            seconds = 0
            while seconds < _HEAD_START and not self.identity.next:
                await asyncio.sleep(1)
                seconds += 1
        told = False
        while True:
            try:
                program = getattr(__import__("app"), "main", None)
                running = program and program(self.identity)
                if hasattr(running, "send"):
                    await running
                    if not told:
                        print("app.py has ended")
                    told = True
                else:
                    print("app.py: it needs async def main(identity)")
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                told = False
                tell("app.py: %s" % _place(error), error)
            if self.config.get("app") == "report":
                return
            sys.modules.pop("app", None)
            gc.collect()
            await asyncio.sleep(_RETRY)


def _place(error):
    # Where it was raised, as the last line of a traceback but one says.
    text = io.StringIO()
    sys.print_exception(error, text)
    lines = text.getvalue().splitlines()
    return lines[-2].strip() + ": " if len(lines) > 2 else ""


def no_other_loop(*ignored, **options):
    """In place of what runs a loop: within one that runs it crashes MicroPython."""
    raise RuntimeError("the loop runs already: await it instead")


def lost(loop, context):
    """What a task raised that nobody waits for."""
    error = context["exception"]
    tell(_place(error), error)


async def main():
    gc.threshold(4096)  # or the heap is in pieces when TLS asks for 17 KB of it
    loop = asyncio.get_event_loop()
    loop.set_exception_handler(lost)
    # A new loop, by which programs clear up, would forget the agent.
    asyncio.new_event_loop = asyncio.get_event_loop
    asyncio.run = asyncio.run_until_complete = no_other_loop
    loop.run_until_complete = loop.run_forever = no_other_loop
    config = settings("read", "config.json")
    if not (config[0] or has_app() or _NEW in os.listdir()):
        for line in config[1]:
            print(line)
        return _WRONG_SETTINGS
    while True:
        try:
            from wiring import Board

            board = Board()
            dog = board.watchdog(_BLOCKED)
            break
        except Exception as error:
            tell("wiring.py: ", error)
            await asyncio.sleep(_RETRY)
    frame = Frame(board)
    frame.config = config[0] or {}
    try:
        frame.identity.take(store.unpack(frame.identity.store.load("identity")))
    except StorageError:
        pass  # the agent tells
    keeping = asyncio.create_task(frame.keep())
    if has_app():
        asyncio.create_task(frame.run_app())
    told = None
    while True:
        if frame.is_alive() and not keeping.done():
            dog.feed()
        if frame.identity.next != told:
            told = frame.identity.next
            if told:
                # By the server's time, where the clock disagrees.
                skew = frame.agent.skew if frame.agent else 0
                print("%s in %d s" % (told[0], max(told[1] - clock.now_or_0() - skew, 0)))
        await asyncio.sleep(1)


if __name__ == "__main__":
    status = asyncio.run(main())
    if sys.platform == "linux":  # a board would start again at once
        sys.exit(status)
