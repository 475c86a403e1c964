"""Identities of other programs, and servers that want things otherwise, on each runtime."""

from pathlib import Path

from commands import simulate
from cryptography import x509

from mpest.exits import Exit
from mpest.server import ServerConfig, running_server


def chain(state: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((state / "chain.pem").read_bytes())


def test_an_identity_of_another_program_is_renewed(tmp_path: Path, runtime: str) -> None:
    config = ServerConfig(directory=tmp_path / "ca", chain_length=2)
    with running_server(config) as server:
        known = ("--runtime", runtime, "--url", server.url, "--trust", server.ca_pem)
        other, board = tmp_path / "other", tmp_path / "board"
        login = ("--subject", "CN=a,O=Example", "--san", "DNS:a.example")
        assert simulate(other, *known, *login, "enroll").returncode == Exit.DONE
        assert simulate(board, *known, "reenroll").returncode == Exit.USAGE
        given = ("--cert", other / "chain.pem", "--key", other / "key.pem")
        done = simulate(board, *known, *given, "reenroll")
        assert done.returncode == Exit.DONE, done.stderr
        assert "Note: the identity that is given is stored" in done.stderr
        before, after = chain(other), chain(board)
        assert after[0].subject == before[0].subject and after[0] != before[0]
        assert after[1:] == before[1:]
        # From then on the board has its own.
        done = simulate(board, *known, *given, "reenroll")
        assert done.returncode == Exit.DONE and "stored" not in done.stderr
        assert simulate(board, *known, "reenroll").returncode == Exit.DONE


def test_a_server_that_wants_one_line_and_no_chain(tmp_path: Path, runtime: str) -> None:
    config = ServerConfig(directory=tmp_path / "ca", chain_length=2)
    with running_server(config) as server:
        known = ("--runtime", runtime, "--url", server.url, "--trust", server.ca_pem)
        quirks = ("--no-wrap", "--single-certificate")
        board = tmp_path / "board"
        done = simulate(board, *known, *quirks, "--subject", "CN=a", "enroll", "reenroll")
        assert done.returncode == Exit.DONE, done.stderr
        assert len(chain(board)) == 1
        for more in (("--cmc",), ()):
            assert simulate(board, *known, *quirks, *more, "reenroll").returncode == Exit.DONE
        assert simulate(board, *known, "reenroll").returncode == Exit.DONE
        assert len(chain(board)) == 2
        assert simulate(board, *known, *quirks, "revoke").returncode == Exit.DONE
