"""Everything the server can do wrong on request, one small function each.

Tables by the moment they strike: INSTEAD answers before any work is done, ATTRIBUTES spoils what
/csrattrs says, CERTIFICATE what is issued, PACKAGE the PKCS#7 around it, PARTS the parts of
/serverkeygen, CMC the answer of /fullcmc, BODY what a 200 says, NAME what it is called, DELIVERY
the headers and framing of any answer, SCRIPT writes any answer its own way, and TLS spoils the
server's own certificate. The two Digest faults are carried out by `auth.py`.

Faults combine, each doing what its description says; `registry.check_together` refuses those that
can't.
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
    NAME,
    NEEDS,
    OPERATIONS,
    PACKAGE,
    PARTS,
    SCRIPT,
    TLS,
    Context,
    check_spec,
    check_together,
    deliver,
    names_for,
    pick,
    spoil,
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
    "NAME",
    "NEEDS",
    "OPERATIONS",
    "PACKAGE",
    "PARTS",
    "SCRIPT",
    "TLS",
    "Context",
    "answers",
    "certificates",
    "check_spec",
    "check_together",
    "deliver",
    "messages",
    "names_for",
    "pick",
    "spoil",
]
