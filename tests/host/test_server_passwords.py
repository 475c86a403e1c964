"""Passwords and tokens kept as hashes: who passes, what it costs, and how lines are made."""

import asyncio
import base64
import json
import os
import pty
import re
import ssl
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner
from server_client import PKCS10, body_of, connect, digest_answer, enroll, make_csr, write

from mpest.cli import main
from mpest.server import EstServer, ServerConfig, passwords

PATH = "/.well-known/est/simpleenroll"
MPEST = [sys.executable, "-c", "from mpest.cli import main; main()", "serve"]


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def lines(auth: str, *given: str) -> list[str]:
    """What `--hash-password` makes of lines."""
    done = CliRunner().invoke(main, ["serve", "--hash-password", auth], input="\n".join(given))
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was hashed, in the order of it."""
    made: list[str] = []
    for name in ("_verify", "_hash_alike"):
        original = getattr(passwords, name)

        def count(kept: str, given: str, original=original):
            made.append(given)
            return original(kept, given)

        monkeypatch.setattr(passwords, name, count)
    return made


async def test_basic(tmp_path: Path, hashes: list[str]) -> None:
    users = {"ann": passwords.hashed("s3cret: näher"), "bob": "in the clear"}
    config = ServerConfig(directory=tmp_path / "ca", auth="basic", users=users)
    async with EstServer(config) as server, connect(server) as session:
        for user, password, status in (
            ("ann", "s3cret: näher", 200),
            ("ann", "s3cret: naher", 401),
            ("ann", "", 401),
            ("ann", users["ann"], 401),
            ("bob", "in the clear", 200),
            ("bob", "in the open", 401),
            ("eve", "s3cret: näher", 401),
            ("eve", "", 401),
        ):
            hashes.clear()
            answer = await enroll(session, make_csr(), **basic(user, password))
            assert answer[0] == status, (user, password)
            assert hashes == [password]  # each costs the same
        assert "s3cret" not in str(server.events)


async def test_no_hash_where_all_is_in_the_clear(tmp_path: Path, hashes: list[str]) -> None:
    config = ServerConfig(directory=tmp_path / "ca", auth="basic", users={"bob": "pw"})
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, make_csr(), **basic("bob", "pw")))[0] == 200
        assert (await enroll(session, make_csr(), **basic("eve", "pw")))[0] == 401
    assert hashes == []


async def test_digest(tmp_path: Path) -> None:
    users = {
        "ann": passwords.digest_entry("ann", "pw", "mpest"),
        "bob": passwords.digest_entry("bob", "pw", "elsewhere"),
        "zoe": passwords.hashed("pw"),
    }
    config = ServerConfig(directory=tmp_path / "ca", auth="digest", users=users)
    async with EstServer(config) as server, connect(server) as session:
        for user, password, status in (
            ("ann", "pw", 200),
            ("ann", "other", 401),
            ("bob", "pw", 401),
            ("zoe", "pw", 401),
            ("eve", "", 401),
        ):
            challenges = (await enroll(session, make_csr()))[2].getall("WWW-Authenticate")
            assert len(challenges) == 2
            for number, challenge in enumerate(challenges, 1):
                answer = digest_answer(challenge, user, password, uri=PATH, nc=f"{number:08x}")
                got = (await enroll(session, make_csr(), Authorization=answer))[0]
                assert got == status, (user, password)
        config.auth = "basic"  # which HA1 in place of the password must not pass
        assert (await enroll(session, make_csr(), **basic("ann", users["ann"])))[0] == 401


async def test_tokens(tmp_path: Path, hashes: list[str]) -> None:
    tokens = set(lines("token", "tok-1", "plant:tok-2", "tok-3"))
    assert len({entry.rpartition("$")[0].rpartition(":")[2] for entry in tokens}) == 1
    tokens |= {"tok-4", "office:tok-5"}
    config = ServerConfig(directory=tmp_path / "ca", auth="token", tokens=tokens)
    async with EstServer(config) as server, connect(server) as session:
        for token, status in (
            *((f"tok-{number}", 200) for number in range(1, 6)),
            ("tok", 401),
            ("", 401),
            ("plant:tok-2", 401),
            ("\udcff", 401),
            *((entry, 401) for entry in tokens if "$" in entry),
        ):
            hashes.clear()
            answer = await enroll(session, make_csr(), Authorization=f"Bearer {token}")
            assert answer[0] == status, token
            assert len(hashes) == 1 or token == "\udcff"
    assert passwords.token_name("plant:tok-2") == "plant"
    assert re.fullmatch("#[0-9a-f]{16}", passwords.token_name("tok-1"))


async def test_too_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_MAX_WAITING", 3)
    users = {"ann": passwords.hashed("pw")}
    config = ServerConfig(directory=tmp_path / "ca", auth="basic", users=users)
    async with EstServer(config) as server, connect(server) as session:
        calls = [enroll(session, make_csr(), **basic("ann", "pw")) for _ in range(12)]
        answers = await asyncio.gather(*calls)
        assert {status for status, _, _ in answers} == {200, 503}
        assert all(int(headers["Retry-After"]) for status, _, headers in answers if status == 503)
        assert (await enroll(session, make_csr(), **basic("ann", "pw")))[0] == 200


async def test_64_logins_at_once(tmp_path: Path) -> None:
    """They take the memory of four, and others are answered meanwhile."""
    users = write(tmp_path / "users", "\n".join(lines("basic", "ann:pw", "bob:pw")))
    command = [*MPEST, "--dir", tmp_path / "ca", "--port", "0", "--json"]
    server = subprocess.Popen(
        [*command, "--auth", "basic", "--users", users],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        first = json.loads(server.stdout.readline())
        status = Path(f"/proc/{server.pid}/status")
        before = memory_peak(status.read_text())
        context = ssl.create_default_context(cafile=first["ca"])
        body = body_of(make_csr("CN=ann"))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        async with aiohttp.ClientSession(first["url"] + "/", connector=connector) as session:

            async def login(password: str) -> int:
                headers = PKCS10 | basic("ann", password)
                async with session.post("simpleenroll", data=body, headers=headers) as answer:
                    return answer.status

            async with session.get("cacerts"):
                pass  # this connection is free again for what follows
            logins = [asyncio.create_task(login("pw" if i % 2 else "no")) for i in range(64)]
            await asyncio.sleep(0)
            async with session.get("cacerts") as answer:
                assert answer.status == 200
            statuses = await asyncio.gather(*logins)
        assert sorted(statuses) == [200] * 32 + [401] * 32
        if before is not None:
            assert memory_peak(status.read_text()) - before < 250_000
        server.terminate()
        events = [json.loads(line)["path"] for line in server.stdout]
        assert events[0].endswith("cacerts")
        assert not events[-1].endswith("cacerts")
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.communicate()


def memory_peak(status: str) -> int | None:
    """KiB of a process that were in memory at most; None where the system does not tell."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(peak[1]) if peak else None


def test_lines() -> None:
    given = ["ann:se:cret", "bob:once", "zoe:pw:once", "jim:a:once:once"]
    made = lines("basic", *given)
    assert lines("basic", *made) == made
    assert [line.partition(":")[0] for line in made] == ["ann", "bob", "zoe", "jim"]
    assert [line.endswith(":once") for line in made] == [False, False, True, True]
    secrets = {"ann": "se:cret", "bob": "once", "zoe": "pw", "jim": "a:once"}
    for line in made:
        name, kept = line.removesuffix(":once").split(":")
        assert passwords._verify(kept, secrets[name])
    digests = lines("digest", *given)
    assert digests[0] == f"ann:{passwords.digest_entry('ann', 'se:cret', 'mpest')}"
    assert lines("digest", *digests) == digests


@pytest.mark.parametrize(
    ("auth", "text", "line"),
    [
        ("basic", "ann", "standard input: entry 1 is not name:password"),
        ("basic", "ann:geheim\nann:geheim2", "entry 2 names a user for the second time"),
        ("basic", "ann:geheim\nAnn\u200b:geheim2", "entry 2 names a user for the second time"),
        ("digest", "ann:geheim\n ann:geheim2", "entry 2 names a user for the second time"),
        ("basic", "\u200b:geheim", "entry 1 is not name:password"),
        ("token", "ann:geheim\n\uff41nn:geheim2", "entry 2 spells a name that is there in anoth"),
        ("basic", "ann::once", "entry 1 is not name:password"),
        ("basic", "ann:$argon2id$geheim", "entry 1: what begins with $argon2 must be"),
        (
            "basic",
            "ann:$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ",
            "entry 1: its hash takes more than 64 MiB to check",
        ),
        ("digest", "ann:$ha1$MD5:geheim", "entry 1: what begins with $ha1$ must be"),
        ("token", ":geheim", "entry 1 is not a token or name:token"),
        ("token", "geheim:", "entry 1 is not a token or name:token"),
    ],
    ids=str.split(
        "form twice alike blank unseen alike-token once argon2 memory ha1 unnamed empty"
    ),
)
def test_wrong_lines(tmp_path: Path, auth: str, text: str, line: str) -> None:
    """One line says it, without the secret: of what is hashed, and of a file at the start."""
    file = write(tmp_path / "file", text)
    start = ["--dir", str(tmp_path / "ca"), "--port", "0", "--auth", auth]
    option = "--token-file" if auth == "token" else "--users"
    for arguments in (["--hash-password", auth], [*start, option, str(file)]):
        done = CliRunner().invoke(main, ["serve", *arguments], input=text)
        assert done.exit_code == 2
        assert line.removeprefix("standard input: ") in done.stderr
        assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
        assert "geheim" not in done.output


@pytest.mark.parametrize(("made_for", "auth"), [("basic", "digest"), ("digest", "basic")])
def test_lines_of_the_other_scheme(tmp_path: Path, made_for: str, auth: str) -> None:
    text = "\n".join(lines(made_for, "ann:pw"))
    done = CliRunner().invoke(main, ["serve", "--hash-password", auth], input=text)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"standard input: entry 1 is for --auth {made_for}" in done.stderr
    file = write(tmp_path / "file", text)
    start = ["serve", "--dir", str(tmp_path / "ca"), "--port", "0", "--users", str(file)]
    done = CliRunner().invoke(main, [*start, "--auth", auth])
    assert done.exit_code == 2
    assert f"entry 1 is for --auth {made_for}" in done.stderr


def test_salts_are_bounded(tmp_path: Path) -> None:
    file = write(tmp_path / "file", "\n".join(passwords.hashed(f"t{i}") for i in range(9)))
    start = ["serve", "--dir", str(tmp_path / "ca"), "--port", "0", "--token-file", str(file)]
    done = CliRunner().invoke(main, [*start, "--auth", "token"])
    assert done.exit_code == 2
    assert "more than 8 salts" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_person_is_asked(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(MPEST[0], [*MPEST, "--hash-password"])
    shown = b""
    for prompt, answer in ((b"name: ", b"ann"), (b"word: ", b"pass3"), (b"tion: ", b"pass3")):
        while prompt not in shown:
            shown += os.read(terminal, 1024)
        os.write(terminal, answer + b"\n")
    try:
        while piece := os.read(terminal, 1024):
            shown += piece
    except OSError:  # Linux says so at the end
        pass
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0
    name, kept = shown.decode().split()[-1].split(":")
    assert name == "ann"
    assert passwords._verify(kept, "pass3")
    assert b"pass3" not in shown
