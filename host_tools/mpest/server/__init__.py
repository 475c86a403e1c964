"""A test EST server (RFC 7030, RFC 8951) with its own certification authority.

It shares no code with the device package, so that a mistake on one side shows on the other.
Not for production: its CA key lies unencrypted in its directory.
"""

from mpest.server.config import Limits, ServerConfig
from mpest.server.csrattrs import CsrAttrsPolicy
from mpest.server.policy import Policy
from mpest.server.runner import EstServer, running_server

__all__ = ["CsrAttrsPolicy", "EstServer", "Limits", "Policy", "ServerConfig", "running_server"]
