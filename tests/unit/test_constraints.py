"""Rules for paths that few CAs use: name constraints, names of another form, servers' chains."""

import check
from est import asn1, constraints, der, tls, watch, x509
from est.errors import EstError, NotTrusted, Unsupported
from test_messages import KEY, NOW, OTHER, certificate

CRL_POINTS = b"\x55\x1d\x1f"


def san(*names):
    return check.SUBJECT_ALT_NAME, der.sequence(*names)


def limits(permitted=(), excluded=()):
    """The extension nameConstraints."""
    lists = []
    for tag, names in ((0xA0, permitted), (0xA1, excluded)):
        if names:
            lists.append(der.tlv(tag, *[der.sequence(name) for name in names]))
    return check.NAME_CONSTRAINTS, der.sequence(*lists)


def dns(text):
    return der.tlv(0x82, text.encode())


ROOT = certificate("CN=root", "CN=root", KEY, KEY, 1)
LEAF = certificate("CN=leaf", "CN=ca", KEY, OTHER, extra=[san(dns("a.example.com"))])
INSIDE = limits([dns("example.com")])
OUTSIDE = limits([], [dns("example.com")])


def ca(*extra, subject="CN=ca", issuer="CN=root", key=OTHER, signer=KEY, length=0):
    return certificate(subject, issuer, key, signer, length, extra=extra)


def relaxed(found):
    """A Certificate whose extensions are not critical, with what was its signature."""
    return x509.Certificate(found.der.replace(b"\x55\x1d\x1e\1\1\xff\4", b"\x55\x1d\x1e\1\1\0\4"))


def path(*others, leaf=LEAF):
    return x509.verify_path(leaf, list(others), [ROOT], NOW)


def test_constraints_are_judged():
    assert len(path(ca(INSIDE))) == 3
    error = check.raises(NotTrusted, path, ca(OUTSIDE))
    assert "CN=leaf: the name constraints of CN=ca forbid DNS" in str(error), str(error)
    assert "a.example.com" in str(error)
    # One that is not critical does not change what is judged.
    for limited, good in ((ca(INSIDE), True), (ca(OUTSIDE), False)):
        constrained = [LEAF, relaxed(limited), ROOT]
        if good:
            constraints.judge(constrained)
        else:
            check.raises(NotTrusted, constraints.judge, constrained)


def test_another_path_is_taken():
    assert path(ca(OUTSIDE), ca())[1].extension(check.NAME_CONSTRAINTS) is None


def test_kinds():
    for name, base, good in (
        (der.tlv(0x87, b"\x0a\1\2\3"), der.tlv(0x87, b"\x0a\0\0\0\xff\0\0\0"), True),
        (der.tlv(0x87, b"\x0b\1\2\3"), der.tlv(0x87, b"\x0a\0\0\0\xff\0\0\0"), False),
        (der.tlv(0x81, b"a@example.com"), der.tlv(0x81, b"example.com"), True),
        (der.tlv(0x81, b"a@example.org"), der.tlv(0x81, b"example.com"), False),
        (der.tlv(0x86, b"https://example.com/"), der.tlv(0x86, b"example.com"), True),
        (der.tlv(0x86, b"https://a@example.com/"), der.tlv(0x86, b"example.com"), False),
        (der.tlv(0x88, b"\x2a\3"), der.tlv(0x88, b"\x2a\3"), False),
        (dns("a.example.com"), der.tlv(0xA4, LEAF.subject), True),
        (dns("a.example.com"), der.tlv(0xA4, ROOT.subject), False),
    ):
        leaf = certificate("CN=leaf", "CN=ca", KEY, OTHER, extra=[san(name)])
        limited = ca(limits([base]))
        if good:
            path(limited, leaf=leaf)
        else:
            refused = NotTrusted, Unsupported
            check.raises(refused, x509.verify_path, leaf, [limited], [ROOT], NOW)


def test_without_the_part():
    """Refused by name, critical or not, and nothing else is."""
    assert len(check.without("constraints", path, ca())) == 3
    for limited in (ca(INSIDE), relaxed(ca(INSIDE))):
        error = check.raises(Unsupported, check.without, "constraints", path, limited)
        assert str(error) == "it needs est.constraints, which is not installed", str(error)
    error = check.raises(
        Unsupported, check.without, "constraints", path, ca((CRL_POINTS, b"\x30\0"))
    )
    assert "needs est.constraints" in str(error)
    other = ca(subject="CN=CA")
    assert len(path(other)) == 3
    error = check.raises(NotTrusted, check.without, "constraints", path, other)
    assert "no trusted certificate named CN=ca" in str(error), str(error)


def test_critical_extensions():
    for last in (0x1F, 0x1E, 0x20, 0x21, 0x24, 0x36):
        assert path(ca((bytes((0x55, 0x1D, last)), b"\x30\0")))
    for oid in (
        b"\x55\x1d\x2e",
        b"\x55\x1d\x12",
        b"\x55\x1e\x1e",
        b"\x1e",
        b"\x55\x1d\x1e\1",
        b"\x2a",
    ):
        error = check.raises(Unsupported, path, ca((oid, b"\x30\0")))
        assert "unknown critical extension" in str(error), str(error)


def test_self_issued_certificates_do_not_lengthen_a_path():
    own = certificate("CN=root", "CN=root", OTHER, KEY, 0)
    root = certificate("CN=root", "CN=root", KEY, KEY, 0)
    leaf = certificate("CN=leaf", "CN=root", KEY, OTHER)
    assert x509.verify_path(leaf, [own], [root], NOW) == [leaf, own, root]
    other = ca()
    error = check.raises(NotTrusted, x509.verify_path, LEAF, [other], [root], NOW)
    assert "may not issue" in str(error)


def name(*values):
    pairs = [der.sequence(b"\x06\x03\x55\x04\x03", value) for value in values]
    return der.sequence(*[der.set_of(pair) for pair in pairs])


def test_same_names():
    reference = name(der.tlv(0x0C, b"My Cert \xc3\xbc"))
    for value, same in (
        (der.tlv(0x0C, b" my  CERT\t\xc3\xbc "), True),
        (der.tlv(0x14, b"My Cert \xfc"), True),
        (der.tlv(0x1E, b"\0M\0y\0 \0C\0e\0r\0t\0 \0\xfc"), True),
        (der.tlv(0x0C, b"My Cert \xc3\x9c"), False),
        (der.tlv(0x0C, b"MyCert \xc3\xbc"), False),
        (der.tlv(0x04, b"My Cert \xc3\xbc"), False),
        (der.tlv(0x1E, b"\0M\0y\0"), False),
    ):
        assert constraints.match(name(value), reference) == same, value
        assert constraints.match(reference, name(value)) == same, value
    assert not constraints.match(
        name(der.tlv(0x0C, b"a"), der.tlv(0x0C, b"b")), name(der.tlv(0x0C, b"a"))
    )
    chinese = der.tlv(0x1E, b"\x68\x39"), der.tlv(0x0C, b"\xe6\xa0\xb9")
    assert constraints.match(*map(name, chinese))
    pairs = [
        der.sequence(b"\x06\x03\x55\x04" + bytes((arc,)), der.tlv(0x13, b"A")) for arc in (3, 10)
    ]
    assert constraints.match(
        der.sequence(der.tlv(asn1.SET, *pairs)),
        der.sequence(der.tlv(asn1.SET, pairs[1], pairs[0])),
    )
    for malformed in (b"", b"\5\0", reference + b"\0", reference[:-1], der.sequence(reference)):
        assert not constraints.match(malformed, reference)
        assert not constraints.match(reference, malformed)


def test_malformed():
    value = limits(
        [dns("b"), der.tlv(0x81, b"b.c")], [der.tlv(0x87, bytes(8)), der.tlv(0xA4, ROOT.subject)]
    )[1]
    leaf = certificate(
        "CN=a.b", "CN=ca", KEY, OTHER, extra=[san(dns("a.b"), der.tlv(0x81, b"a@b.c"))]
    )
    limited = ca()

    def judge(data):
        limited.extensions = lambda: [(check.NAME_CONSTRAINTS, True, data)]
        constraints.judge([leaf, limited, ROOT])

    judge(value)
    check.truncated(judge, value)
    check.mutated(judge, value)
    check.raises(EstError, judge, b"")
    check.raises(EstError, judge, value + b"\0")


def test_malformed_names():
    names = [
        dns("a.b"),
        der.tlv(0x81, b"a@b.c"),
        der.tlv(0x86, b"urn://a.b"),
        der.tlv(0x87, bytes(4)),
    ]
    bases = [dns("b"), der.tlv(0x81, b"b.c"), der.tlv(0x86, b".b"), der.tlv(0x87, bytes(8))]
    value = der.sequence(*names, der.tlv(0xA4, ROOT.subject))
    limited = ca(limits(bases, [der.tlv(0xA4, LEAF.subject)]))
    leaf = certificate("CN=a.b", "CN=ca", KEY, OTHER)

    def judge(data):
        leaf.extensions = lambda: [(check.SUBJECT_ALT_NAME, False, data)]
        constraints.judge([leaf, limited, ROOT])

    judge(value)
    check.truncated(judge, value)
    check.mutated(judge, value)
    subject = leaf.subject

    def judge_subject(data):
        leaf.subject = data
        constraints.judge([leaf, limited, ROOT])

    leaf.extensions = list
    check.truncated(judge_subject, subject)
    check.mutated(judge_subject, subject)


def test_an_empty_serial_number_is_refused():
    data = certificate("CN=leaf", "CN=root", OTHER, KEY).der
    algorithm = KEY.sign(b"")[0]
    # Shorter by the octet that is left out.
    tbs = der.Reader(data).enter().element()
    content = der.Reader(tbs).enter().data[der.Reader(tbs).enter().pos :]
    tbs = der.sequence(content.replace(b"\2\1\1" + algorithm, b"\2\0" + algorithm))
    data = der.sequence(tbs, algorithm, der.bits(KEY.sign(tbs)[1]))
    error = check.raises(der.DerError, x509.Certificate, data)
    assert "no serial" in str(error)


class Session:
    """The platform's context of an est.tls.Context, and the handshakes it sees."""

    def __init__(self):
        self.context = tls.Context([ROOT.der])

    def shows(self, *chain):
        """What the handshake ends with where the server shows `chain`, leaf first."""
        self.context.leaf = None
        for depth in range(len(chain) - 1, -1, -1):
            # As mbedTLS has it.
            found = self.context.ssl.verify_callback(memoryview(chain[depth].der), depth)
            if found:
                return found
        return 0


def test_servers():
    session = Session()
    for _ in range(2):
        assert session.shows(LEAF, relaxed(ca(INSIDE)), ROOT) == 0
        assert session.context.leaf == LEAF.der
        assert session.shows(LEAF, relaxed(ca(OUTSIDE)), ROOT) == -0x3000
        error = session.context.error(OSError(-0x3000, "refused"), "a.example.com")
        assert isinstance(error, NotTrusted)
        assert "server a.example.com is not trusted: CN=leaf: the name con" in str(error), str(
            error
        )
        assert session.shows(LEAF, ca(), ROOT) == 0
        assert "forbid" not in str(session.context.error(OSError(-0x7280, "gone"), "h"))
    # When it is valid is kept.
    assert session.context.validity == [watch.validity_of(LEAF.der)]
    assert LEAF.der.count(session.context.validity[0]) == 1
    # The OID by chance: elsewhere in the certificate.
    stray = ca((check.EXT_KEY_USAGE, der.sequence(b"\x06\x03\x55\x1d\x1e")))
    assert session.shows(LEAF, stray, ROOT) == 0
    # Malformed ones do not pass.
    assert session.shows(LEAF, ca((check.NAME_CONSTRAINTS, b"\5\0")), ROOT) == -0x3000
    cut = x509.Certificate(LEAF.der)
    for size in range(0, 60, 7):
        cut.der = LEAF.der[:size]
        assert session.shows(cut, ROOT) == -0x3000


def test_servers_without_the_part():
    session = check.without("watch", Session)
    assert session.shows(LEAF, relaxed(ca(OUTSIDE)), ROOT) == 0
    session = Session()
    assert check.without("constraints", session.shows, LEAF, relaxed(ca(INSIDE)), ROOT) == -0x3000
    assert "constraints" in str(session.context.error(OSError(-0x3000, "refused"), "h"))
