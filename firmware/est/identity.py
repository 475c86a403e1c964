"""The board's certificate and key, as the rest of the program sees them. Without the network."""


class Identity:
    """What est.store.Store `store` holds of the board's identity; unpacks as (chain, key).

    chain: DER certificates, leaf first; empty before the first enrolment. key: DER, or None.
    not_before, not_after: of the leaf. issued: when the CA issued it, as far as the board knew.
    All in Unix seconds, 0 before the first enrolment.
    generation: counts the identities that the board has had.
    meta: as est.store describes it.
    next: (what the agent does next, Unix seconds when). failure: text of the last one, or None.
    doubt: what the application's server said of the certificate, or None.
    est.parts.Known has more methods, where that is installed.
    """

    next = failure = doubt = None

    def __init__(self, store):
        self.store = store
        self.take([])

    def take(self, items):
        """Be what the items of the record say; [] for none."""
        self.meta = meta = items[0] if items else {}
        self.key = items[1] if items else None
        self.chain = items[2:]
        for name in ("not_before", "not_after", "issued", "generation"):
            setattr(self, name, meta.get(name, 0))

    def __getitem__(self, index):  # which unpacking asks, too
        return (self.chain, self.key)[index]

    def life(self, now):
        """(start, length) in seconds of the part of the validity that counts at `now`.

        CAs backdate, by hours or by most of the validity: it counts from when it was issued. If
        that is ahead of `now`, the clock was wrong then.
        """
        start = self.issued if self.not_before < self.issued <= now else self.not_before
        return start, self.not_after - start

    def renew_at(self, now):
        """When to renew, in Unix seconds."""
        start, length = self.life(now)
        return start + length * self.meta.get("share", 43690) // 65536
