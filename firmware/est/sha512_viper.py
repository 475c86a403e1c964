"""The compression function of est.sha512 in machine code, for 32-bit little-endian machines."""

import micropython


@micropython.viper
def aligned(data: ptr8) -> bool:
    """Whether compress may read words where `data` lies."""
    return int(data) & 3 == 0


@micropython.viper
def compress(state: ptr32, block: ptr32, k: ptr32):
    """Mix 128 bytes of `block`, which are destroyed, into `state`.

    All three are aligned to 4 bytes, as array("Q") and bytearray are; state and k: 64-bit words.
    """
    octets = ptr8(block)
    at = int(0)
    while at < 32:
        o = at * 4
        # Words lie low half first from here on.
        high = octets[o] << 24 | octets[o + 1] << 16 | octets[o + 2] << 8 | octets[o + 3]
        o += 4
        block[at] = octets[o] << 24 | octets[o + 1] << 16 | octets[o + 2] << 8 | octets[o + 3]
        block[at + 1] = high
        at += 2
    al = uint(state[0])
    ah = uint(state[1])
    bl = uint(state[2])
    bh = uint(state[3])
    cl = uint(state[4])
    ch = uint(state[5])
    dl = uint(state[6])
    dh = uint(state[7])
    el = uint(state[8])
    eh = uint(state[9])
    fl = uint(state[10])
    fh = uint(state[11])
    gl = uint(state[12])
    gh = uint(state[13])
    hl = uint(state[14])
    hh = uint(state[15])
    t = int(0)
    while t < 160:
        i = t & 31
        wl = uint(block[i])
        wh = uint(block[i + 1])
        if t > 31:
            i = (t + 18) & 31
            x = uint(block[i])
            wl += x
            wh += uint(block[i + 1])
            if wl < x:
                wh += 1
            i = (t + 2) & 31
            x = uint(block[i])
            y = uint(block[i + 1])
            z = (x >> 1 | y << 31) ^ (x >> 8 | y << 24) ^ (x >> 7 | y << 25)
            wl += z
            wh += (y >> 1 | x << 31) ^ (y >> 8 | x << 24) ^ y >> 7
            if wl < z:
                wh += 1
            i = (t + 28) & 31
            x = uint(block[i])
            y = uint(block[i + 1])
            z = (x >> 19 | y << 13) ^ (y >> 29 | x << 3) ^ (x >> 6 | y << 26)
            wl += z
            wh += (y >> 19 | x << 13) ^ (x >> 29 | y << 3) ^ y >> 6
            if wl < z:
                wh += 1
            i = t & 31
            block[i] = wl
            block[i + 1] = wh
        # h + k + w + Sigma1(e) + Ch(e, f, g)
        x = uint(k[t])
        wl += x
        wh += uint(k[t + 1])
        if wl < x:
            wh += 1
        wl += hl
        wh += hh
        if wl < hl:
            wh += 1
        z = (el >> 14 | eh << 18) ^ (el >> 18 | eh << 14) ^ (eh >> 9 | el << 23)
        wl += z
        wh += (eh >> 14 | el << 18) ^ (eh >> 18 | el << 14) ^ (el >> 9 | eh << 23)
        if wl < z:
            wh += 1
        z = gl ^ el & (fl ^ gl)
        wl += z
        wh += gh ^ eh & (fh ^ gh)
        if wl < z:
            wh += 1
        hl = gl
        hh = gh
        gl = fl
        gh = fh
        fl = el
        fh = eh
        el = dl + wl
        eh = dh + wh
        if el < wl:
            eh += 1
        dl = cl
        dh = ch
        # Sigma0(a) + Maj(a, b, c)
        z = al & bl | cl & (al | bl)
        wl += z
        wh += ah & bh | ch & (ah | bh)
        if wl < z:
            wh += 1
        z = (al >> 28 | ah << 4) ^ (ah >> 2 | al << 30) ^ (ah >> 7 | al << 25)
        wl += z
        wh += (ah >> 28 | al << 4) ^ (al >> 2 | ah << 30) ^ (al >> 7 | ah << 25)
        if wl < z:
            wh += 1
        cl = bl
        ch = bh
        bl = al
        bh = ah
        al = wl
        ah = wh
        t += 2
    # The block is used up: its memory takes what is to be added.
    block[0] = al
    block[1] = ah
    block[2] = bl
    block[3] = bh
    block[4] = cl
    block[5] = ch
    block[6] = dl
    block[7] = dh
    block[8] = el
    block[9] = eh
    block[10] = fl
    block[11] = fh
    block[12] = gl
    block[13] = gh
    block[14] = hl
    block[15] = hh
    at = 0
    while at < 16:
        x = uint(block[at])
        z = x + uint(state[at])
        state[at] = z
        at += 1
        y = uint(block[at]) + uint(state[at])
        if z < x:
            y += 1
        state[at] = y
        at += 1
