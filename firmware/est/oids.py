"""Object identifiers as dotted text."""


def text(content):
    """Dotted text of an object identifier's content octets."""
    arcs = []
    arc = 0
    for octet in content:
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            if not arcs:
                first = min(arc // 40, 2)
                arcs = [first, arc - 40 * first]
            else:
                arcs.append(arc)
            arc = 0
    return ".".join([str(arc) for arc in arcs])
