import check
from est import asn1, der, extensions


def test_lengths():
    for size in (0, 1, 127, 128, 255, 256, 65535, 65536):
        data = der.octets(bytes(size))
        reader = der.Reader(data)
        assert len(reader.bytes()) == size
        reader.end()
        if size:
            check.raises(der.DerError, der.Reader(data[:-1]).bytes)


def test_malformed_lengths():
    for text in (
        "",
        "04",
        "0401",
        "0480",  # indefinite
        "04800000",
        "048100",
        "04817f" + "00" * 127,  # fits the short form
        "0482000100",
        "048200ff" + "00" * 255,
        "0483000100" + "00" * 256,
        "0484000000010000",  # four length octets
        "0482ff",
        "04ff",
        "0483ffffff00",
        "1f0100",  # high tag number
    ):
        data = bytes.fromhex(text)
        check.raises(der.DerError, der.Reader(data).bytes)
        check.raises(der.DerError, der.Reader(data).skip)
        check.raises(der.DerError, der.Reader(data).element)


def test_child_outgrows_its_parent():
    inner = der.Reader(bytes.fromhex("3003040200aabb")).enter()
    check.raises(der.DerError, inner.bytes)


def test_end():
    reader = der.Reader(asn1.integer(1) + asn1.integer(2))
    check.raises(der.DerError, reader.end)
    assert reader.integer() == 1 and reader.more() and reader.peek() == asn1.INTEGER
    assert reader.integer() == 2 and not reader.more() and reader.peek() == 0
    reader.end()


def test_optional():
    reader = der.Reader(asn1.integer(1))
    assert reader.optional(0xA0) is None
    assert reader.integer() == 1
    assert reader.optional(0xA0) is None


def test_depth():
    data = b""
    for _ in range(40):
        data = der.sequence(data)
    reader = der.Reader(data)

    def descend():
        inner = reader
        for _ in range(40):
            inner = inner.enter()

    check.raises(der.DerError, descend)


def test_integer():
    for value in (0, 1, 127, 128, 255, 256, 32768, 1 << 64, (1 << 256) - 1):
        assert der.Reader(asn1.integer(value)).integer() == value
    assert asn1.integer(0) == b"\x02\x01\x00"
    assert asn1.integer(128) == b"\x02\x02\x00\x80"
    assert asn1.integer(b"\0\0\x7f") == b"\x02\x01\x7f"
    assert asn1.integer(b"\0\0") == b"\x02\x01\x00"
    for text in ("0200", "02020000", "0202007f", "0201ff", "02020080ff", "030101", "020280ff"):
        reader = der.Reader(bytes.fromhex(text))

        def whole():
            reader.integer()
            reader.end()

        check.raises(der.DerError, whole)


def test_oid():
    for text, content in (
        ("0.0", "00"),
        ("1.39.1", "4f01"),
        ("2.5.29.17", "551d11"),
        ("2.999.3", "883703"),
        ("1.2.840.10045.3.1.7", "2a8648ce3d030107"),
    ):
        content = bytes.fromhex(content)
        assert asn1.oid_text(content) == text
        assert extensions.oid(text) == content
        assert der.Reader(der.tlv(asn1.OID, content)).oid() == content
    for text in ("", "1", "3.1", "1.40", "1.x", "1..2", "-1.2", "1.2.-3"):
        check.raises(ValueError, extensions.oid, text)
    for content in (b"", b"\x2a\x86", bytes(65)):
        check.raises(der.DerError, der.Reader(der.tlv(asn1.OID, content)).oid)


def test_boolean():
    assert der.Reader(b"\1\1\xff").boolean()
    assert not der.Reader(b"\1\1\0").boolean()
    for data in (b"\1\0", b"\1\2\0\0"):
        check.raises(der.DerError, der.Reader(data).boolean)


def test_bits():
    assert der.Reader(der.bits(b"ab")).bit_string() == b"ab"
    for data in (b"\3\0", b"\3\2\1\x80"):
        check.raises(der.DerError, der.Reader(data).bit_string)
    assert extensions.named_bits([]) == b"\3\1\0"
    assert extensions.named_bits([0]) == b"\3\2\7\x80"
    assert extensions.named_bits([0, 4]) == b"\3\2\3\x88"
    assert extensions.named_bits([8]) == b"\3\3\7\0\x80"


def test_set_of_is_sorted():
    assert der.set_of(b"\2\1\2", b"\2\1\1") == b"\x31\6\2\1\1\2\1\2"


def _walk(data):
    readers = [der.Reader(data)]
    while readers:
        reader = readers.pop()
        while reader.more():
            if reader.peek() & 0x20:
                readers.append(reader.enter(0))
            else:
                reader.skip()


def test_damage():
    data = der.sequence(
        asn1.integer(1 << 70), der.set_of(der.octets(b"x" * 130)), der.sequence(der.bits(b"y"))
    )
    check.truncated(_walk, data)
    check.mutated(_walk, data, 2000)
