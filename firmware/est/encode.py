"""DER (X.690), written. Apart from est.der, which signing beside TLS does without."""


def tlv(tag, *parts):
    """Element with `tag` around the joined `parts`."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes(3, "big").lstrip(b"\0")
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(*parts):
    return tlv(0x30, *parts)


def set_of(*parts):
    """SET OF, in the ascending order that DER asks for."""
    return tlv(0x31, *sorted(parts))


def octets(value):
    return tlv(0x04, value)


def bits(value):
    """BIT STRING of whole octets."""
    return tlv(0x03, b"\0", value)
