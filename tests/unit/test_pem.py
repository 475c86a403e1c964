import check
from est import base64, pem
from est.errors import PeerError, UsageError


def decoded(text):
    out = bytearray()
    decoder = base64.Decoder(out)
    decoder.feed(text)
    decoder.end()
    return out


def test_round_trip():
    for size in (0, 1, 2, 3, 47, 48, 49, 300):
        data = bytes([at & 0xFF for at in range(size)])
        assert decoded(base64.encode(data)) == data
        assert pem.decode(pem.encode("X", data), "X") == [data]
        for line in pem.encode("X", data).split("\n"):
            assert len(line) <= 64


def test_fed_byte_by_byte():
    out = bytearray()
    decoder = base64.Decoder(out)
    for octet in b"aGVs\r\nbG8 g\tZXN 0\n":
        decoder.feed(bytes((octet,)))
    decoder.end()
    assert out == b"hello est"


def test_trailing_nul():
    assert decoded(b"QUI=\0") == b"AB"


def test_bad_base64():
    for text in (b"a", b"ab", b"abc", b"a===", b"ab=c", b"QUJD!", b"QU=D", b"QR==", b"QQ==QUJD"):
        check.raises(PeerError, decoded, text)
    for text in (b"QUI_", b"QUI-", b"QU\0I", b"====", b"QUJD="):
        check.raises(PeerError, decoded, text)


def test_mutated_base64():
    check.mutated(decoded, base64.encode(bytes(range(100))), 1000)


def test_blocks():
    text = "note\n" + pem.encode("A", b"1") + pem.encode("B", b"2") + pem.encode("A", b"3")
    assert pem.decode(text, "A") == [b"1", b"3"]
    assert pem.decode(text, "B") == [b"2"]
    assert pem.decode(text, "C") == []
    assert pem.decode(text.replace("\n", "\r\n"), "A") == [b"1", b"3"]


def test_bad_blocks():
    text = pem.encode("A", b"12345")
    check.raises(UsageError, pem.decode, text[:-8], "A")
    check.raises(UsageError, pem.decode, text.replace("MTIz", "MT!z"), "A")


def test_encrypted_in_an_old_form():
    head = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n"
    text = head + "AAAA\n-----END EC PRIVATE KEY-----\n"
    error = check.raises(UsageError, pem.decode, text, "EC PRIVATE KEY")
    assert "pkcs8" in str(error)


def test_mutated_pem():
    text = pem.encode("A", bytes(range(60))).encode()

    def parse(data):
        pem.decode("".join([chr(octet) for octet in data]), "A")

    check.mutated(parse, text, 500)


def test_libest_certificate():
    blocks = pem.decode(check.vector("libest/libest32-ca.pem").decode(), "CERTIFICATE")
    assert len(blocks) == 1 and blocks[0][:2] == b"\x30\x82"
