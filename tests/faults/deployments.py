"""Power cuts and kills around the files of other programs, and the hooks that follow.

`strace` records a deployment. At each moment the disk is what recorded.py says that a cut leaves,
and what a process that is killed leaves. There must be a certificate with its key, the one before
or the new one; then the agent starts again, and must have the new one there, and its hook run: at
least once, and with another number or try than before.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import line
import recorded
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from mpest.server.authority import Authority
from mpest.server.ca import Order, common_name, now
from mpest.sim import cpython

RUNTIMES = ("micropython", "cpython")
PROGRAM = Path(__file__).with_name("deploy_program.py")
# How many cuts of each scenario are followed by another start, in a sample.
FEW = 3
SCENARIOS = ("first", "renewal", "other names")
_SECONDS = 60
_CHANGES = re.compile(
    r"(write|f\w*sync|rename|unlink|symlink|mkdir|rmdir|ftruncate)|.*O_CREAT|.*O_TRUNC"
)
_FILES = {"cert": "cert.pem", "key": "key.pem"}
_OTHERS = {"cert": "server.crt", "key": "server.key"}


@dataclass(frozen=True)
class Identity:
    chain: list[x509.Certificate]
    key: ec.EllipticCurvePrivateKey
    generation: int

    def settings(self) -> dict[str, Any]:
        der = self.key.private_bytes(
            Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        return {
            "chain": [one.public_bytes(Encoding.DER).hex() for one in self.chain],
            "key": der.hex(),
            "generation": self.generation,
        }


class Bench:
    """An agent's folder, on one runtime. out: what the hook writes to, on no disk that is cut."""

    def __init__(self, runtime: str, folder: Path, flaw: str = "") -> None:
        self._runtime = runtime
        self._flaw = flaw
        self._authority = Authority.open(folder, 2)
        self.out = folder / "out"

    def identity(self, generation: int) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        order = Order(common_name(f"board-{generation}"), key.public_key())
        leaf = self._authority.issuer.sign(order, now() + timedelta(days=1))
        return Identity([leaf, *self._authority.sent], key, generation)

    def start(
        self,
        root: Path,
        identity: Identity | None = None,
        prefix: Sequence[str] = (),
        names: dict[str, str] = _FILES,
        command: str = 'echo "$MPEST_NUMBER $MPEST_TRY $MPEST_SUBJECT" >>"$0"',
    ) -> subprocess.Popen[bytes]:
        environment = dict(os.environ)
        if self._runtime == "cpython":
            words = [sys.executable, str(Path(cpython.__file__)), str(PROGRAM)]
        else:
            found = line._program(self._runtime)
            words = [*found.argv, str(PROGRAM)]
            environment.update(found.env, MICROPYPATH=f"{cpython.firmware()}:.frozen")
        # The mode that recorded.write gives: another would be a reason to deploy again.
        export = {"folder": str(root / "live"), "mode": "644", "chain": None, "fullchain": None}
        settings = {
            "state": str(root / "state"),
            "export": [{**export, **names}],
            "hooks": {"on_renewed": ["sh", "-c", command, str(self.out)]},
            "flaw": self._flaw,
            **(identity.settings() if identity else {}),
        }
        process = subprocess.Popen(
            [*prefix, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            umask=0o022,
        )
        assert process.stdin
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        process.stdin.flush()
        return process

    def run(self, root: Path, *arguments: Any, **options: Any) -> list[str]:
        """A start that comes to its end; returns the lines of its hooks."""
        before = len(self.lines())
        process = self.start(root, *arguments, **options)
        out, errors = process.communicate(timeout=_SECONDS)
        assert process.returncode == 0, errors.decode()
        assert json.loads(out) == [], (out, errors)
        return self.lines()[before:]

    def lines(self) -> list[str]:
        return self.out.read_text().splitlines() if self.out.exists() else []


def exported(root: Path, names: dict[str, str] = _FILES) -> str | None:
    """The name in the certificate that programs find, None where there is none.

    Raises AssertionError where the key is another's, or one of both is missing.
    """
    cert, key = (root / "live" / names[kind] for kind in ("cert", "key"))
    if not (cert.exists() or key.exists()):
        return None
    assert cert.exists() and key.exists(), "half of a pair"
    try:
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
    except ValueError as error:
        raise AssertionError(f"no pair: {error}") from None
    assert certificate.public_key() == private.public_key(), "the key of another certificate"
    return name_of(certificate)


def name_of(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()


@dataclass(frozen=True)
class _Cut:
    when: str
    contents: recorded.Contents
    ran: frozenset[str]
    """Hooks that may have run by then: "NUMBER TRY"."""


def run(
    sample: int | None = None,
    seed: int = 0,
    *,
    runtimes: Sequence[str] = RUNTIMES,
    scenarios: Sequence[str] = SCENARIOS,
    flaw: str = "",
) -> dict[str, Any]:
    """Cut at every moment, and start again after so many of each scenario's cuts, or after all.

    Returns counts, and as `problems` a list of texts; of a flaw the first one is enough.
    """
    counts: Counter[str] = Counter()
    problems = []
    for runtime in runtimes:
        for scenario in scenarios:
            with tempfile.TemporaryDirectory(dir=line.MEMORY) as folder:
                bench = Bench(runtime, Path(folder), flaw)
                for problem in _scenario(
                    bench, Path(folder), scenario, sample, random.Random(seed), counts
                ):
                    problems.append(f"{runtime}, {scenario}, {problem}")
                    if flaw:
                        break
    return {**counts, "problems": problems}


def _scenario(
    bench: Bench,
    folder: Path,
    scenario: str,
    sample: int | None,
    chance: random.Random,
    counts: Counter[str],
) -> Iterator[str]:
    root = folder / "root"
    (root / "state").mkdir(mode=0o700, parents=True)
    old = None
    if scenario != "first":
        old = bench.identity(1)
        bench.run(root, old)
    new = bench.identity(2)
    names = _OTHERS if scenario == "other names" else _FILES
    disk = recorded.Disk(root)
    log = folder / "strace"
    bench.run(root, new, names=names, prefix=recorded.prefix(log))
    cuts = list(_cuts(disk, log.read_text()))
    assert exported(root, names) == name_of(new.chain[0])
    again = set(range(len(cuts)))
    if sample is not None:
        # Most happens once the store has the new one.
        late = [number for number in again if number > len(cuts) // 8]
        again = set(chance.sample(late, min(sample, len(late))))
    for number, cut in enumerate(cuts):
        counts["cuts"] += 1
        shutil.rmtree(root)
        recorded.write(root, cut.contents)
        try:
            _judge_files(root, old, new, names)
            if number in again:
                counts["starts"] += 1
                _judge_start(bench, root, cut, old, new, names)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            yield f"{cut.when}: {error}"


def _cuts(disk: recorded.Disk, text: str) -> Iterator[_Cut]:
    known = set()
    for number, call in enumerate(recorded.calls(text)):
        synced = disk.do(call)
        if not _CHANGES.match(call):
            continue
        killed = disk.holds("kill")
        lines = re.findall(
            rb"renewed (\d+), try (\d+):", bytes(killed.get("state/hooks.log") or b"")
        )
        ran = frozenset(f"{event.decode()} {attempt.decode()}" for event, attempt in lines)
        for when in ("kill", "journal", "fsync") if synced else ("kill", "journal"):
            contents = killed if when == "kill" else disk.holds(when)
            same = repr(contents)
            if same not in known:
                known.add(same)
                yield _Cut(f"{when} after call {number}", contents, ran)


def _judge_files(root: Path, old: Identity | None, new: Identity, names: dict[str, str]) -> None:
    pairs = {exported(root, names)}
    if names != _FILES:
        # Under the names before there is the old pair or nothing: they are the configuration's.
        pairs.add(exported(root) if (root / "live/cert.pem").exists() else None)
    allowed = {name_of(one.chain[0]) for one in (old, new) if one}
    assert pairs - {None} <= allowed
    assert not old or pairs != {None} or names != _FILES, "the pair is gone"


def _judge_start(
    bench: Bench,
    root: Path,
    cut: _Cut,
    old: Identity | None,
    new: Identity,
    names: dict[str, str],
) -> None:
    lines = bench.run(root, names=names)
    found = exported(root, names)
    chain, _ = line.stored_identity(root / "state")
    stored = name_of(x509.load_der_x509_certificate(chain[0])) if chain else None
    assert found == stored, f"{found} is exported"
    if not stored or stored != name_of(new.chain[0]):
        return
    ran = {" ".join(one.split()[:2]) for one in lines if one.endswith(stored)}
    event = "2 " if old else "1 "
    assert ran or [one for one in cut.ran if one.startswith(event)], "no hook runs"
    assert not cut.ran & ran, "a hook is not told from one before"
    left = sorted(path.name for path in (root / "live").iterdir())
    assert len([name for name in left if name.startswith(".set.")]) <= 2, left
    # Again: there is nothing to do, and what is old is gone.
    assert bench.run(root, names=names) == []
    assert len(list((root / "live").glob(".set.*"))) == 1
    assert exported(root, names) == stored


def full_disk(runtime: str) -> str | None:
    """What is wrong where the disk of the files is full, "" for nothing.

    None where nothing can be mounted, which it does in a namespace of its own.
    """
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, __file__, runtime],
        env=line.environment(),
        capture_output=True,
        text=True,
    )
    if "not permitted" in done.stderr or "permission denied" in done.stderr:
        return None
    return done.stdout + done.stderr


def _full_disk(runtime: str, folder: Path) -> None:
    root = folder / "root"
    (root / "state").mkdir(parents=True)
    live = root / "live"
    live.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", live], check=True)
    bench = Bench(runtime, folder)
    old, new = bench.identity(1), bench.identity(2)
    bench.run(root, old)
    with suppress(OSError), (live / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(64)):
            pass
    process = bench.start(root, new)
    _, errors = process.communicate(timeout=_SECONDS)
    assert b"failed: export: cannot export to" in errors, errors
    assert exported(root) == name_of(old.chain[0])
    assert len(list(live.glob(".set.*"))) == 1, "half a set is left"
    (live / "filler").unlink()
    assert [text.split()[-1] for text in bench.run(root)] == [name_of(new.chain[0])]
    assert exported(root) == name_of(new.chain[0])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as _name:
        _full_disk(sys.argv[1], Path(_name))
        subprocess.run(["umount", Path(_name, "root/live")], check=True)
