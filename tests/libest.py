"""libest's estserver, with a CA that the openssl command makes."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ports

from mpest.runtimes import Program

START_SECONDS = 60
USER = {"user": "estuser", "password": "estpwd"}  # built into estserver

CA_CONFIG = """\
[req]
distinguished_name = dn
[dn]
[ca]
default_ca = CA_default
[CA_default]
dir = {folder}
database = $dir/index.txt
new_certs_dir = $dir/newcerts
serial = $dir/serial
certificate = $dir/ca.pem
private_key = $dir/ca.key
default_days = 30
default_md = sha256
policy = anything
copy_extensions = copy
email_in_dn = no
unique_subject = no
x509_extensions = usr_cert
[anything]
countryName = optional
stateOrProvinceName = optional
localityName = optional
organizationName = optional
organizationalUnitName = optional
commonName = supplied
emailAddress = optional
[usr_cert]
basicConstraints = CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
keyUsage = digitalSignature
extendedKeyUsage = clientAuth
[ca_cert]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server_cert]
basicConstraints = CA:FALSE
authorityKeyIdentifier = keyid
keyUsage = digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1
"""


@dataclass
class Site:
    """A libest server with the folder of its CA."""

    folder: Path
    port: int

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def config(self, *operations: str, **more: object) -> dict[str, Any]:
        anchor = (self.folder / "ca.der").read_bytes().hex()
        return {
            "url": f"https://127.0.0.1:{self.port}/.well-known/est",
            "operations": list(operations),
            "anchors": [anchor],
            "subject": "CN=board-1",
            **more,
        }

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


def make_ca(folder: Path, openssl: Callable[..., str]) -> None:
    folder.mkdir()
    (folder / "newcerts").mkdir()
    (folder / "index.txt").touch()
    (folder / "serial").write_text("1000\n")
    config = folder / "ca.cnf"
    config.write_text(CA_CONFIG.format(folder=folder))
    for name, subject, extensions, serial in (
        ("ca", "/CN=libest CA", "ca_cert", 0),
        ("server", "/CN=127.0.0.1", "server_cert", 2),
        ("factory", "/CN=made in a factory", "usr_cert", 3),
    ):
        key = folder / f"{name}.key"
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        request = folder / f"{name}.csr"
        subject_of = ("-new", "-key", key, "-subj", subject, "-sha256", "-config", config)
        openssl("req", *subject_of, "-out", request)
        by = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-set_serial", serial)
        openssl(
            *("x509", "-req", "-in", request, "-sha256", "-days", "30"),
            *("-extfile", config, "-extensions", extensions, "-out", folder / f"{name}.pem"),
            *(by if serial else ("-signkey", key)),
        )
    openssl("x509", "-in", folder / "ca.pem", "-outform", "DER", "-out", folder / "ca.der")


@contextmanager
def running(
    found: Program,
    folder: Path,
    openssl: Callable[..., str],
    options: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[Site]:
    """`found` serves a CA in the new `folder`; options and variables as estserver knows them."""
    site = Site(folder, ports.reserve())
    make_ca(folder, openssl)
    arguments = ["-c", folder / "server.pem", "-k", folder / "server.key"]
    arguments += ["-r", "estrealm", "-p", str(site.port), *options]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            [*found.argv, *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={
                **os.environ,
                **found.env,
                **(variables or {}),
                "EST_TRUSTED_CERTS": str(site.ca),
                "EST_CACERTS_RESP": str(site.ca),
                "EST_OPENSSL_CACONFIG": str(folder / "ca.cnf"),
            },
        )
    try:
        _wait_for(server, site)
        yield site
    finally:
        server.kill()
        server.communicate()


def _wait_for(server: subprocess.Popen[bytes], site: Site) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert server.poll() is None, f"estserver ended:\n{site.log()}"
        try:
            socket.create_connection(("127.0.0.1", site.port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"estserver does not listen:\n{site.log()}")
