"""Rules for paths that few CAs use: name constraints (RFC 5280 4.2.1.10), names of another form.

est.x509 asks for them. A path that needs them is refused without this part.
"""

from micropython import const

from est import der
from est.errors import NotTrusted, PeerError, Unsupported

# As in est.asn1, without a look-up on the board.
_UTF8_STRING = const(0x0C)
_SET = const(0x31)

# Names times constraints in one path; a CA has a handful of each.
_MAX_COMPARISONS = const(2048)

_SUBJECT_ALT_NAME = const(b"\x55\x1d\x11")
_NAME_CONSTRAINTS = const(b"\x55\x1d\x1e")
# The last octet of 2.5.29: CRL distribution points, name constraints, policies, their mappings
# and constraints, inhibit anyPolicy. A board asks for no CRL and demands no policy.
_UNDERSTOOD = const(b"\x1f\x1e\x20\x21\x24\x36")

# GeneralName. An otherName may be an address, too (RFC 9598).
_OTHER = const(0xA0)
_EMAIL = const(0x81)
_DNS = const(0x82)
_DIRECTORY = const(0xA4)
_URI = const(0x86)
_IP = const(0x87)
_KINDS = {_EMAIL: "email", _DNS: "DNS", _URI: "URI", _IP: "IP"}
_SMTP_UTF8_MAILBOX = const(b"\x06\x08\x2b\x06\x01\x05\x05\x07\x08\x09")

_CN = const(b"\x55\x04\x03")
_EMAIL_ADDRESS = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01")
# UTF8String, and those of one octet a character: Printable, Teletex, IA5.
_TEXTS = const(b"\x0c\x13\x14\x16")
_BMP_STRING = const(0x1E)


def check(certificate, oid):
    """Raise Unsupported unless critical extension `oid` (bytes) is one that is judged here."""
    if oid[:-1] != b"\x55\x1d" or oid[2] not in _UNDERSTOOD:
        from est.asn1 import oid_text

        raise Unsupported("%s: unknown critical extension %s" % (certificate, oid_text(oid)))


def match(name, other):
    """Whether two DER Names are one (RFC 5280 7.1): case, spaces and string types may differ."""
    try:
        return _rdns(name, True) == _rdns(other, True)
    except PeerError:
        return False


def judge(path):
    """Raise NotTrusted unless the names in `path` keep to the name constraints in it.

    Unsupported where a name or a constraint is of a kind that cannot be judged.

    path: est.x509 Certificates, the leaf first. Raises DerError for malformed constraints.
    """
    comparisons = _MAX_COMPARISONS
    for depth in range(len(path)):
        issuer = path[depth]
        value = issuer.extension(_NAME_CONSTRAINTS)
        if value is None:
            continue
        permitted, excluded = _subtrees(value)
        for below in range(depth):
            certificate = path[below]
            if below and match(certificate.subject, certificate.issuer):
                continue  # issued by the CA to itself
            for tag, name in _names(certificate, not below):
                comparisons -= len(permitted) + len(excluded)
                if comparisons < 0:
                    raise NotTrusted("%s: too many name constraints" % issuer)
                allowed = _within(tag, name, permitted)
                if allowed is False or _within(tag, name, excluded) or _covers(name, excluded):
                    # A directory name is mostly the subject, which the text begins with.
                    text = "%s %s" % (_KINDS[tag], name) if tag in _KINDS else "its name"
                    raise NotTrusted(
                        "%s: the name constraints of %s forbid %s" % (certificate, issuer, text)
                    )


def _subtrees(value):
    # [[(tag, base)] permitted, [(tag, base)] excluded] of NameConstraints.
    reader = der.Reader(value)
    fields = reader.enter()
    reader.end()
    subtrees = []
    for tag in (0xA0, 0xA1):
        general_subtrees = fields.optional(tag)
        trees = []
        while general_subtrees and general_subtrees.more():
            tree = general_subtrees.enter()
            trees.append((tree.peek(), tree.bytes(0)))
            tree.end()  # of minimum and maximum RFC 5280 has the defaults only
        subtrees.append(trees)
    fields.end()
    return subtrees


def _names(certificate, leaf):
    # [(tag, content)] of all names in the certificate.
    subject = certificate.subject
    names = []
    hosts = []
    if subject != b"\x30\0":
        names.append((_DIRECTORY, subject))
        for rdn in _rdns(subject, False):
            for oid, _, text in rdn:
                if oid == _EMAIL_ADDRESS:
                    names.append((_EMAIL, text))
                elif oid == _CN and leaf and _is_host(text):
                    hosts.append((_DNS, text))
    value = certificate.extension(_SUBJECT_ALT_NAME)
    general_names = value and der.Reader(value).enter()
    while general_names and general_names.more():
        tag = general_names.peek()
        name = general_names.bytes(0)
        if tag == _DNS:
            hosts = []  # otherwise TLS looks for the host in the subject
        elif tag == _OTHER and name.startswith(_SMTP_UTF8_MAILBOX):
            names.append((_EMAIL, b""))  # which no constraint can be held against
        names.append((tag, name))
    return names + hosts


def _is_host(text):
    # As OpenSSL has it: two labels or more of letters, digits, hyphens and underscores. mbedTLS
    # takes wildcards, too.
    if text[:2] == b"*.":
        text = text[2:]
    labels = text.split(b".")
    for label in labels:
        if not label or label[0] == 0x2D or label[-1] == 0x2D:
            return False
        for octet in label.lower():
            if not (0x61 <= octet <= 0x7A or 0x30 <= octet <= 0x39 or octet in b"-_"):
                return False
    return len(labels) > 1


def _within(tag, name, trees):
    # Whether one of `trees` holds the name; None where none is of its kind.
    within = None
    for kind, base in trees:
        if kind == tag:
            if _holds(tag, name, base):
                return True
            within = False
    return within


def _covers(name, trees):
    # Whether `name` is a wildcard that may stand for an excluded host.
    if name[:2] != b"*.":
        return False
    for kind, base in trees:
        if kind == _DNS and base.partition(b".")[2].lower() == name[2:].lower():
            return True
    return False


def _holds(tag, name, base):
    if tag == _DIRECTORY:
        base = _rdns(base, True)
        return _rdns(name, True)[: len(base)] == base
    if tag == _IP:
        size = len(base) // 2
        if len(base) not in (8, 32):
            raise NotTrusted("malformed name constraint")
        if len(name) != size:
            return False
        for at in range(size):
            if (name[at] ^ base[at]) & base[size + at]:
                return False
        return True
    if tag not in _KINDS:
        raise Unsupported("unsupported name constraint")
    if tag == _EMAIL:
        local, at, name = name.rpartition(b"@")
        if not at:
            raise Unsupported("an e-mail address cannot be judged")
        base_local, at, base = base.rpartition(b"@")
        if at and base_local != local:
            return False
    elif tag == _URI:
        name = _host(name)
    name = name.lower()
    base = base.lower()
    if base[:1] == b".":
        return name.endswith(base)
    return name == base or (tag == _DNS and (not base or name.endswith(b"." + base)))


def _holds_any(text, octets):
    for octet in octets:
        if octet in text:
            return True
    return False


def _host(uri):
    # The host of a URI, which must be a name (RFC 5280 4.2.1.10).
    authority = uri.partition(b"://")[2].partition(b"/")[0]
    host = authority.partition(b":")[0]
    if not host or host.replace(b".", b"").isdigit() or _holds_any(authority, b"@?#["):
        raise Unsupported("the host of a URI cannot be judged")
    return host


def _rdns(name, fold):
    # [[(oid, tag, text)]] of a DER Name. fold: what differs in case, spaces or string type only
    # comes out alike.
    rdns = []
    reader = der.Reader(name)
    rdn_sequence = reader.enter()
    reader.end()
    while rdn_sequence.more():
        pairs = rdn_sequence.enter(_SET)
        rdn = []
        while pairs.more():
            pair = pairs.enter()
            oid = pair.oid()
            tag = pair.peek()
            text = pair.bytes(0)
            pair.end()
            if tag == _BMP_STRING or tag in _TEXTS:
                if tag != _UTF8_STRING:
                    text = _utf8(text, 2 if tag == _BMP_STRING else 1)
                tag = _UTF8_STRING
                if fold:
                    text = b" ".join(text.lower().split())
            rdn.append((oid, tag, text))
        rdn.sort()
        rdns.append(rdn)
    return rdns


def _utf8(text, width):
    # Without a str: MicroPython would keep each character for good.
    octets = bytearray()
    for at in range(0, len(text), width):
        code = int.from_bytes(text[at : at + width], "big")
        if code < 0x80:
            octets.append(code)
        elif code < 0x800:
            octets.append(0xC0 | code >> 6)
            octets.append(0x80 | code & 0x3F)
        else:
            octets.append(0xE0 | code >> 12)
            octets.append(0x80 | code >> 6 & 0x3F)
            octets.append(0x80 | code & 0x3F)
    return bytes(octets)
