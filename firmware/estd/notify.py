"""sd_notify: tells systemd that the agent runs, and what it does (man sd_notify)."""

import os
import socket


def send(text):
    """Send `text`, such as "READY=1". Without systemd, or where it does not answer, nothing."""
    path = os.getenv("NOTIFY_SOCKET")
    if not path:
        return False
    from estd import control

    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.connect(control.endpoint(path))
            sock.send(text.encode())
        finally:
            sock.close()
    except OSError:
        return False
    return True
