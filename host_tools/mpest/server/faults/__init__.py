"""Everything the server can do wrong on request, one small function each.

Tables by the moment they strike: INSTEAD answers before any work is done, ATTRIBUTES spoils what
/csrattrs says, CERTIFICATE what is issued, PACKAGE the PKCS#7 around it, PARTS the parts of
/serverkeygen, CMC the answer of /fullcmc, BODY what a 200 says, DELIVERY how any answer travels,
and TLS the server's own certificate. The two Digest faults are carried out by `auth.py`.
"""

from mpest.server.faults import answers, certificates, messages
from mpest.server.faults.registry import (
    ATTRIBUTES,
    BODY,
    CERTIFICATE,
    CMC,
    DELIVERY,
    DESCRIPTIONS,
    DETOURS,
    INSTEAD,
    OPERATIONS,
    PACKAGE,
    PARTS,
    TLS,
    Context,
    check_spec,
    names_for,
    pick,
)

__all__ = [
    "ATTRIBUTES",
    "BODY",
    "CERTIFICATE",
    "CMC",
    "DELIVERY",
    "DESCRIPTIONS",
    "DETOURS",
    "INSTEAD",
    "OPERATIONS",
    "PACKAGE",
    "PARTS",
    "TLS",
    "Context",
    "answers",
    "certificates",
    "check_spec",
    "messages",
    "names_for",
    "pick",
]
