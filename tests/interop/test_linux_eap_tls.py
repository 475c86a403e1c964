"""wpa_supplicant and a switch: EAP-TLS on a cable, with a certificate that is renewed."""

import contextlib
import os
import subprocess
import time
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from deployed import SECONDS, Machine, wait

from mpest.runtimes import Program
from mpest.server.ca import Order, common_name, new_key, now

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="a network namespace needs root")


class Wire:
    """A cable between two network interfaces, `switch` and `board`, that nobody else sees."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        pid = self._holder.pid
        self.inside = ["nsenter", "--target", str(pid), "--net"]
        mine = os.readlink("/proc/self/ns/net")
        end = time.monotonic() + SECONDS
        while os.readlink(f"/proc/{pid}/ns/net") == mine:
            assert time.monotonic() < end
            time.sleep(0.02)
        for words in (
            "link add switch type veth peer name board",
            "link set switch up",
            "link set board up",
        ):
            command = [*self.inside, "ip", *words.split()]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                self.close()
                pytest.skip(f"no network namespace with a cable here: {done.stderr}")

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


@needs_root
@pytest.mark.parametrize("phase1", ["tls_disable_time_checks=1", ""])
def test_wpa_supplicant(machine, program, phase1):
    """EAP-TLS on a cable, by a clock that is not set.

    It reads as root. After `wpa_cli reassociate` it would still show the certificate of before.
    """
    supplicant: Program = program("wpa_supplicant")
    authenticator: Program = program("hostapd")
    host = machine(mode="600", folder_mode="700", chain=None)
    wire = Wire()
    try:
        _on_the_cable(host, wire.inside, supplicant.argv, authenticator.argv, phase1)
    finally:
        wire.close()


def _on_the_cable(
    host: Machine,
    inside: list[str],
    supplicant: tuple[str, ...],
    authenticator: tuple[str, ...],
    phase1: str,
) -> None:
    folder = host.folder
    # Valid from tomorrow on, as every certificate is by a clock that starts in 1970.
    key = new_key()
    leaf = host.authority.issuer.sign(
        Order(common_name("switch"), key.public_key()),
        now() + timedelta(days=9),
        now() + timedelta(days=1),
    )
    chain = [leaf, *host.authority.sent]
    (folder / "switch.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
    (folder / "switch.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    root = host.authority.root.certificate.public_bytes(Encoding.PEM)
    (folder / "root.pem").write_bytes(root)
    (folder / "users").write_text("* TLS\n")
    switch = folder / "hostapd.conf"
    switch.write_text(
        f"interface=switch\ndriver=wired\nieee8021x=1\nuse_pae_group_addr=1\n"
        f"eap_server=1\neap_user_file={folder}/users\nca_cert={folder}/root.pem\n"
        f"server_cert={folder}/switch.pem\nprivate_key={folder}/switch.key\n"
    )
    board = folder / "wpa_supplicant.conf"
    board.write_text(
        f"ctrl_interface={folder}/control\nap_scan=0\n"
        "network={\n    key_mgmt=IEEE8021X\n    eap=TLS\n    eapol_flags=0\n"
        f'    identity="board"\n    ca_cert="{host.path("ca.pem")}"\n'
        f'    client_cert="{host.path("fullchain.pem")}"\n'
        f'    private_key="{host.path("key.pem")}"\n'
        f'    phase1="{phase1}"\n}}\n'
    )
    host.renew("before")
    log = folder / "hostapd.log"
    with contextlib.ExitStack() as stack:
        for words, output in (
            ([*authenticator, "-d", switch], log),
            ([*supplicant, "-d", "-D", "wired", "-i", "board", "-c", board], folder / "log"),
        ):
            file = stack.enter_context(output.open("wb"))
            process = subprocess.Popen(
                [*inside, *words], stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)

        def logged_in(name: str) -> bool:
            shown = log.read_text().rpartition("peer certificate: depth=0 ")[2]
            done = (folder / "log").read_text().rpartition("EAP entering state INITIALIZE")[2]
            return f"subject=/CN={name}\n" in shown and "CTRL-EVENT-EAP-SUCCESS" in done

        if not phase1:
            refused = "certificate is not yet valid"
            wait(lambda: refused in (folder / "log").read_text(), process, folder / "log")
            return
        wait(lambda: logged_in("before"), process, folder / "log")
        client = [word.replace("wpa_supplicant", "wpa_cli") for word in supplicant[-1:]]
        host.hooks = {
            "on_renewed": [
                *supplicant[:-1],
                *client,
                *("-p", str(folder / "control"), "-i", "board", "reconfigure"),
            ]
        }
        host.renew("after")
        wait(lambda: logged_in("after"), process, folder / "log")
