"""Ports for programs that are told at which to listen."""

import socket

_held = []


def reserve(address: str = "127.0.0.1") -> int:
    """A port of `address` that nobody else gets until this process ends.

    It is bound and does not listen. A program that sets SO_REUSEADDR can listen there.
    """
    sock = socket.socket()
    sock.bind((address, 0))
    # Not before, or the port might be one that is held already.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _held.append(sock)
    port: int = sock.getsockname()[1]
    return port
