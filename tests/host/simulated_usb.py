"""A tree of sysfs with boards, as Linux has it, that boards come to and leave."""

import os
import shutil
from itertools import count
from pathlib import Path

PICO, BOOT_LOADER, CH340 = ("2e8a", "0005"), ("2e8a", "0003"), ("1a86", "7523")
_CONTROLLER = "sys/devices/pci0000:00/0000:00:14.0"


class Usb:
    """root: where `sys` and `dev` lie. Numbers of ttys and drives are the first that are free."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("sys/class/tty", "sys/class/block", "sys/bus/usb/devices", "dev"):
            (root / folder).mkdir(parents=True)
        for driver in ("cdc_acm", "ch341"):
            (root / "sys/bus/usb/drivers" / driver).mkdir(parents=True)
        # A port that is none of USB.
        (root / "sys/devices/platform/serial8250/tty/ttyS0").mkdir(parents=True)
        self._link("sys/class/tty/ttyS0", "sys/devices/platform/serial8250/tty/ttyS0")

    def device(self, path: str, numbers: tuple[str, str], **attributes: str) -> Path:
        """Plug in a device; hubs on the way to it have to be there."""
        bus, _, places = path.partition("-")
        hubs = [f"{bus}-{places[:end]}" for end in range(len(places)) if places[end] == "."]
        folder = self.root / _CONTROLLER / f"usb{bus}" / "/".join([*hubs, path])
        folder.mkdir(parents=True)
        words = {"idVendor": numbers[0], "idProduct": numbers[1], **attributes}
        for name, word in words.items():
            (folder / name).write_text(f"{word}\n")
        self._link(f"sys/bus/usb/devices/{path}", folder)
        return folder

    def serial(
        self,
        path: str,
        numbers: tuple[str, str] = PICO,
        *,
        lines: int = 1,
        product: str = "Board",
        serial: str = "",
    ) -> list[str]:
        """Plug in a board or a converter; names of its ttys."""
        folder = self.device(path, numbers, product=product, serial=serial)
        kind, driver = ("ttyACM", "cdc_acm") if numbers == PICO else ("ttyUSB", "ch341")
        names = []
        for line in range(lines):
            # CDC takes two interfaces, of which the first has the tty.
            interface = folder / f"{path}:1.{line * 2 if numbers == PICO else line}"
            name = self._free("sys/class/tty", kind)
            above = interface if numbers == PICO else interface / name  # of usb-serial's own bus
            (above / "tty" / name).mkdir(parents=True)
            self._link(above / "driver", self.root / "sys/bus/usb/drivers" / driver)
            self._link(above / "tty" / name / "device", above)
            self._link(f"sys/class/tty/{name}", above / "tty" / name)
            (self.root / "dev" / name).write_text("")
            names.append(name)
        return names

    def boot_loader(self, path: str, *, partition: bool = True) -> str:
        """Plug in a Pico that waits for firmware; the name of its drive."""
        folder = self.device(path, BOOT_LOADER, product="RP2 Boot")
        name = next(
            f"sd{letter}"
            for letter in "abcdefghijkl"
            if not (self.root / f"sys/class/block/sd{letter}").is_symlink()
        )
        disk = folder / f"{path}:1.0/host6/target6:0:0/6:0:0:0/block/{name}"
        disk.mkdir(parents=True)
        self._link(f"sys/class/block/{name}", disk)
        if partition:
            (disk / f"{name}1").mkdir()
            (disk / f"{name}1/partition").write_text("1\n")
            self._link(f"sys/class/block/{name}1", disk / f"{name}1")
        return name

    def unplug(self, path: str) -> None:
        """What is there goes, with its ttys and drives."""
        folder = (self.root / "sys/bus/usb/devices" / path).resolve()
        shutil.rmtree(folder)
        for kind in ("tty", "block"):
            for link in (self.root / "sys/class" / kind).iterdir():
                if not link.exists():
                    link.unlink()
                    (self.root / "dev" / link.name).unlink(missing_ok=True)
        (self.root / "sys/bus/usb/devices" / path).unlink()

    def _free(self, folder: str, kind: str) -> str:
        return next(
            f"{kind}{number}"
            for number in count()
            if not (self.root / folder / f"{kind}{number}").is_symlink()
        )

    def _link(self, name: str | Path, target: str | Path) -> None:
        link, there = self.root / name, self.root / target
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(there, link.parent))
