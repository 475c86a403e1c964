"""A stand-in for the program esptool, for boards of esp_boards.py: `python -m esptool` where its
folder is on PYTHONPATH.

Which chip is at a port, and what is written to it, are files named after the terminal that the
port leads to. Where there is a file `hold`, a write stops halfway for ever.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

CHIPS = Path(os.environ.get("MPEST_CHIPS", ""))


def main(words: list[str]) -> int:
    if words[0] == "image-info":
        environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
        return subprocess.run(
            [sys.executable, "-m", "esptool", *words], env=environment
        ).returncode
    chip = CHIPS / Path(words[words.index("--port") + 1]).resolve().name
    mac = chip.with_suffix(".mac")
    if not mac.exists():
        print("\nA fatal error occurred: Failed to connect to ESP32: No serial data received.")
        return 2
    print(f"MAC:                {bytes.fromhex(mac.read_text()).hex(':')}\n")
    if "flash-id" in words:
        print("Detected flash size: 4MB")
        return 0
    content = Path(words[-1]).read_bytes()
    written = chip.with_suffix(".bin")
    written.write_bytes(content[: len(content) // 2])
    print(f"Writing at 0x00010000... {50:5.1f}%", flush=True)
    while (CHIPS / "hold").exists():
        time.sleep(0.02)
    written.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
