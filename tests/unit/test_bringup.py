"""bringup, and every board's wiring.py, on made-up hardware that fails as the real one does."""

import os
import sys
import time

import bringup
from check import Pause, Skip, raises
from est import clock, entropy, keys
from est.ec import P256
from est.errors import PeerError, StorageError, UsageError

_BOARDS = (__file__.rsplit("/", 1)[0] if "/" in __file__ else ".") + "/../../boards"


def of_port(port):
    """Names of the boards of a port."""
    found = []
    for name in sorted(os.listdir(_BOARDS)):
        try:
            with open("%s/%s/board.toml" % (_BOARDS, name)) as file:
                if 'port = "%s"' % port in file.read():
                    found.append(name)
        except OSError:
            pass  # no board
    return tuple(found)


_ESP32 = of_port("esp32")
_RP2 = of_port("rp2")


def wiring(name):
    """A new Board of boards/NAME/wiring.py."""
    sys.modules.pop("wiring", None)
    sys.path.insert(0, _BOARDS + "/" + name)
    try:
        return __import__("wiring").Board()
    finally:
        sys.path.pop(0)


class Time:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now = 0

    def sleep_ms(self, ms):
        self.now += ms

    def ticks_ms(self):
        return self.now

    def ticks_add(self, ticks, ms):
        return ticks + ms

    def ticks_diff(self, end, start):
        return end - start

    def gmtime(self, seconds=None):
        return time.gmtime(seconds)


class Station:
    """A Wi-Fi interface whose `connect` succeeds the `good`th time; None: never."""

    def __init__(self, passing, good):
        self.time = passing
        self.good = good
        self.calls = []
        self.on = False
        self.since = None
        self.trying = False

    def active(self, on=None):
        if on is not None:
            self.on = on
        return self.on

    def isconnected(self):
        return self.since is not None and self.time.now - self.since > 3000

    def disconnect(self):
        self.trying = False
        self.since = None

    def config(self, **settings):
        self.calls.append(settings)

    def connect(self, ssid, password):
        self.calls.append((ssid, password))
        if self.trying:
            raise OSError("Wifi Internal State Error")  # as the ESP32's does
        self.trying = True
        if len([call for call in self.calls if type(call) is tuple]) == self.good:
            self.since = self.time.now

    def ifconfig(self):
        return ("192.0.2.7", "255.255.255.0", "192.0.2.1", "192.0.2.1")

    def status(self):
        return 1010 if self.isconnected() else 202


class Network:
    STA_IF = 0
    STAT_WRONG_PASSWORD = 202

    def __init__(self, station):
        self.station = station
        self.countries = []

    def country(self, code):
        self.countries.append(code)

    def WLAN(self, interface):
        assert interface == self.STA_IF
        return self.station


class Module:
    pass


class Loop:
    """asyncio of one task, for which time passes while it sleeps."""

    def __init__(self, passing):
        self.time = passing
        self.turns = 0

    def sleep(self, seconds):
        self.turns += 1
        self.time.sleep_ms(int(seconds * 1000))
        return Pause()

    def run(self, coroutine):
        try:
            while True:
                coroutine.send(None)
        except StopIteration as stop:
            return stop.value


class Hardware:
    """Puts stand-ins where `import` and bringup find them, for the length of a `with`."""

    def __init__(self, good=1, **modules):
        self.time = Time()
        self.loop = modules["asyncio"] = Loop(self.time)
        self.station = Station(self.time, good)
        self.network = Network(self.station)
        self.modules = modules
        modules["network"] = self.network

    def __enter__(self):
        self.before = {name: sys.modules.get(name) for name in self.modules}
        sys.modules.update(self.modules)
        bringup.time = self.time
        return self

    def __exit__(self, *_):
        bringup.time = time
        entropy.use(None)
        for name, module in self.before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def test_wifi_is_joined_at_the_third_attempt():
    for name in _ESP32 + _RP2:
        with Hardware(good=3) as hardware:
            address = wiring(name).wifi("plant", "geheim", "CH")
        assert address == "192.0.2.7"
        assert hardware.network.countries == ["CH"]
        assert hardware.station.on
        assert hardware.station.calls.count(("plant", "geheim")) == 3


def test_wifi_already_joined_is_left_alone():
    with Hardware() as hardware:
        board = wiring("RPI_PICO_W")
        board.wifi("plant", None, "CH")
        board.wifi("plant", None, "CH")
    assert hardware.station.calls == [("plant", None)]


def test_wifi_gives_up_and_keeps_the_password_to_itself():
    with Hardware(good=None) as hardware:
        error = raises(PeerError, wiring("ESP32_GENERIC").wifi, "plant", "geheim", "CH")
    assert "plant" in str(error) and "the password is wrong" in str(error)
    assert "geheim" not in str(error)
    # Shorter than the watchdog's two minutes.
    assert 30000 < hardware.time.now < 100000


def test_esp32_tries_once_until_joined_and_for_ever_after():
    for name in _ESP32:
        with Hardware(good=2) as hardware:
            wiring(name).wifi("plant", "geheim", "CH")
        settings = [call for call in hardware.station.calls if type(call) is dict]
        assert settings == [{"reconnects": 1}, {"reconnects": 1}, {"reconnects": -1}]
        assert hardware.station.calls[0] == {"reconnects": 1}


def test_other_drivers_know_no_reconnects():
    for name in _RP2:
        with Hardware(good=2) as hardware:
            wiring(name).wifi("plant", "geheim", "CH")
        assert not [call for call in hardware.station.calls if type(call) is dict]


def test_wifi_beside_other_tasks():
    for name in _ESP32 + _RP2:
        with Hardware(good=3) as hardware:
            hardware.loop.run(wiring(name).join("plant", "geheim", "CH"))
        assert hardware.network.countries == ["CH"]
        assert hardware.station.calls.count(("plant", "geheim")) == 3
        assert hardware.loop.turns > 100  # of the 33 s that it took


def test_wifi_without_a_country():
    with Hardware() as hardware:
        hardware.loop.run(wiring("RPI_PICO_W").join("plant"))
    assert hardware.network.countries == []
    assert hardware.station.calls == [("plant", None)]


def test_wifi_gives_up_beside_other_tasks():
    with Hardware(good=None) as hardware:
        board = wiring("ESP32_GENERIC")
        error = raises(PeerError, hardware.loop.run, board.join("plant", "geheim"))
    assert "the password is wrong" in str(error) and "geheim" not in str(error)


def test_without_ssid_the_network_is_the_applications():
    for comes in (True, False):
        with Hardware() as hardware:
            station = hardware.station
            joining = wiring("RPI_PICO_W").join()
            for _ in range(99):
                joining.send(None)
            assert not station.calls and not station.on
            if comes:
                station.since = -9999
                hardware.loop.run(joining)
            else:
                error = raises(PeerError, hardware.loop.run, joining)
                assert "the application brings it up" in str(error)
                assert hardware.time.now < 100000
            assert not station.calls and not station.on


def test_wifi_is_left_and_joined_anew():
    for name in _ESP32 + _RP2:
        with Hardware() as hardware:
            board = wiring(name)
            board.wifi("plant", None)
            board.leave()
            assert not board.is_up() and not hardware.station.on
            hardware.station.good = 2
            board.wifi("plant", None)
            assert board.is_up() and hardware.station.on


class Ntp:
    """ntp whose server says `answers`, one after the other: seconds, or an error."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def ask(self, server, ms):
        self.asked.append(server)
        for _ in range(20):
            yield
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            return answer
        raise answer


# 2026-11-29 21:30:01, a Sunday.
_SOME_TIME = 1795987801


def test_clock():
    for beside in (False, True):
        module, machine = Ntp(_SOME_TIME), Machine()
        with Hardware(ntp=module, machine=machine) as hardware:
            board = wiring("RPI_PICO_W")
            before = clock.now()
            if beside:
                now = hardware.loop.run(board.set_time("time.example"))
                assert hardware.loop.turns >= 20
            else:
                now = board.set_clock("time.example")
        assert before <= now <= before + 60
        assert machine.set == [(2026, 11, 29, 7, 21, 30, 1, 0)]
        assert module.asked == ["time.example"]


def test_clock_that_something_else_sets():
    with Hardware() as hardware:
        board = wiring("RPI_PICO_W")
        before = clock.now()
        found = [board.set_clock(None), hardware.loop.run(board.set_time(None))]
    assert before <= found[0] <= found[1] <= clock.now()


def test_clock_of_an_esp32_counts_from_2000():
    machine = Machine()
    with Hardware(ntp=Ntp(_SOME_TIME), machine=machine) as hardware:
        hardware.time.gmtime = lambda seconds: time.gmtime(seconds + 946684800)
        wiring("ESP32_GENERIC").set_clock()
    assert machine.set == [(2026, 11, 29, 7, 21, 30, 1, 0)]


def test_clock_without_a_time_server():
    machine = Machine()
    with Hardware(ntp=Ntp(PeerError("no answer")), machine=machine):
        raises(PeerError, wiring("ESP32_GENERIC").set_clock, "time.example")
    assert machine.set == []


def test_clock_set_to_the_past_is_refused():
    # What clock.now() does where the server said 2021.
    def stopped():
        raise UsageError("the clock is not set")

    before = clock.now
    clock.now = stopped
    try:
        with Hardware(ntp=Ntp(_SOME_TIME), machine=Machine()):
            raises(UsageError, wiring("RPI_PICO_W").set_clock)
    finally:
        clock.now = before


def test_esp32_makes_no_key_before_its_radio_is_on():
    for name in _ESP32:
        with Hardware() as hardware:
            board = wiring(name)
            for on in (False, True, False):
                hardware.station.active(on)
                for use in (board.check_entropy, P256.generate, keys.P256Key):
                    if on:
                        use()
                    else:
                        assert "Wi-Fi" in str(raises(UsageError, use))


def test_stuck_randomness_is_refused_everywhere():
    for name in _ESP32 + _RP2 + ("UNIX",):
        with Hardware():
            board = wiring(name)
            entropy.use(lambda count: bytes(count))
            raises(UsageError, board.check_entropy)


class Disk:
    """os with a file system that has `free` bytes; None: not mounted."""

    def __init__(self, free):
        self.free = free

    def statvfs(self, path):
        if self.free is None:
            raise OSError(19)
        return (4096, 4096, 212, self.free // 4096, self.free // 4096, 0, 0, 0, 0, 255)


def storage(free):
    bringup.os = Disk(free)
    try:
        return wiring("RPI_PICO_W").check_storage()
    finally:
        bringup.os = os


def test_storage():
    assert storage(65536) == "/"
    assert storage(4096) == "/"  # what is stored stays in use
    assert "mounted" in str(raises(StorageError, storage, None))
    assert wiring("UNIX").check_storage() == "."


class Machine:
    """machine with a watchdog that counts and a timer that fires when told to."""

    def __init__(self):
        self.feeds = 0
        self.timeout = None
        self.period = None
        self.set = []

    def RTC(self):
        return self

    def datetime(self, fields):
        self.set.append(fields)

    def WDT(self, timeout):
        self.timeout = timeout
        return self

    def feed(self):
        self.feeds += 1

    def Timer(self, number, period, callback):
        self.period = period
        self.fire = lambda: callback(None)

    def unique_id(self):
        return b"\xe6\x61\x0f"


def test_whether_the_watchdog_bit():
    machine = Machine()
    machine.WDT_RESET = 3
    for name in _ESP32 + _RP2:
        for cause in (1, 3):
            machine.reset_cause = lambda cause=cause: cause
            with Hardware(machine=machine):
                assert wiring(name).was_bitten() == (cause == 3)
        with Hardware(machine=Machine()):  # of a port that does not tell
            assert not wiring(name).was_bitten()
    assert not wiring("UNIX").was_bitten()


def test_short_watchdog_is_fed_by_a_timer_until_the_application_stops():
    for name in _RP2:
        machine = Machine()
        with Hardware(machine=machine) as hardware:
            dog = wiring(name).watchdog(60)
            assert machine.timeout == 8388 and machine.period < 8388 // 2
            for _ in range(20):  # 40 s
                hardware.time.sleep_ms(2000)
                machine.fire()
            assert machine.feeds == 20
            dog.feed()
            hardware.time.sleep_ms(59000)
            machine.fire()
            assert machine.feeds == 22
            hardware.time.sleep_ms(1001)
            machine.fire()
            assert machine.feeds == 22  # it bites


def test_long_watchdog_needs_no_timer():
    for name in _ESP32:
        machine = Machine()
        with Hardware(machine=machine):
            dog = wiring(name).watchdog(60)
            dog.feed()
        assert machine.timeout == 60000 and machine.period is None and machine.feeds == 1


def test_unique_id():
    for name in _ESP32 + _RP2:
        with Hardware(machine=Machine()):
            assert wiring(name).unique_id() == "e6610f"


def test_unix_leaves_network_time_and_watchdog_to_the_system():
    board = wiring("UNIX")
    assert board.wifi() is None
    before = clock.now()
    found = [board.set_clock()]
    with Hardware() as hardware:
        assert hardware.loop.run(board.join("plant")) is None
        found.append(hardware.loop.run(board.set_time()))
    assert before <= found[0] <= found[1] <= clock.now()
    board.leave()
    board.watchdog(60).feed()


def test_unix_is_named_by_its_network_interface():
    board = wiring("UNIX")
    try:
        names = os.listdir("/sys/class/net")
    except OSError:
        raise Skip("needs Linux")
    addresses = [b"".join(open("/sys/class/net/%s/address" % name, "rb")) for name in names]
    addresses = [address.decode().strip().replace(":", "") for address in addresses]
    if not any(address.strip("0") for address in addresses):
        raises(UsageError, board.unique_id)
    else:
        assert board.unique_id() in addresses
        assert board.unique_id().strip("0")
