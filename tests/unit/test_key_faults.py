"""A fault while signing: no wrong signature leaves, for it may give the key away."""

import hashlib

import check
from est import cmc, csr, curves, ec, ec_key, ec_steps, element, hashes, keys, rsa_key, steps
from est.ec import P256
from est.errors import UsageError
from test_cmc import BOARD
from test_keys import P256_OID, P384_OID, SCALAR, STORED
from test_rsa_key import KEY as RSA

_MESSAGE = b"message"
# Bits that change, in numbers of 256 bits and more.
_BITS = range(0, 256, 13 * min(check.SAMPLE, 10))


def _ec_keys():
    sha512 = ec_key.EcKey(P256_OID, STORED[7:39])
    sha512.hash_size = 64
    return keys.load(STORED), sha512, ec_key.EcKey(P384_OID, SCALAR)


class _Changed:
    """Puts `value` in place of `owner`'s attribute `name` for a while."""

    def __init__(self, owner, name, value):
        self._owner = owner
        self._name = name
        self._value = value
        self._before = getattr(owner, name)

    def __enter__(self):
        setattr(self._owner, self._name, self._value)

    def __exit__(self, *_):
        setattr(self._owner, self._name, self._before)


def _fault(function, bit, times=1):
    """`function` with one bit of its result changed, as often as `times` says."""
    left = [times]

    def faulty(*arguments):
        result = function(*arguments)
        if left[0]:
            left[0] -= 1
            result ^= 1 << bit
        return result

    return faulty


class _AnotherPoint:
    """Multiplies the generator by another number than it was given, sometimes."""

    def __init__(self, curve, times=1):
        self._usual = curve.multiplier()
        self._left = times
        self.both = self._usual.both

    def base(self, k, entropy):
        if self._left:
            self._left -= 1
            k ^= 2
        return self._usual.base(k, entropy)


def _refused(function, *arguments):
    error = check.raises(UsageError, function, *arguments)
    assert "fault" in str(error), error


def test_inverse():
    for key in _ec_keys():
        for bit in _BITS:
            for times in (1, 1000):
                with _Changed(ec, "inverse", _fault(ec.inverse, bit, times)):
                    _refused(key.sign, _MESSAGE)


def test_private_key():
    for key in _ec_keys():
        before = key._private
        for bit in _BITS:
            changed = bytearray(before)
            changed[bit // 8] ^= 1 << bit % 8
            key._private = bytes(changed)
            _refused(key.sign, _MESSAGE)
        key._private = before
        key.sign(_MESSAGE)


def test_nonce():
    for key in _ec_keys():
        curve = key._curve
        for times in (1, 1000):
            with _Changed(curve, "_fast", _AnotherPoint(curve, times)):
                _refused(key.sign, _MESSAGE)


def test_other_numbers():
    """What the key follows from all the same: the order n, and the public half itself."""
    for key in _ec_keys():
        curve = key._curve
        with _Changed(curve, "n", curve.n ^ 1 << 40):
            check.raises((UsageError, ZeroDivisionError), key.sign, _MESSAGE)
        key.public = curve.public((5).to_bytes(curve.size, "big"))
        _refused(key.sign, _MESSAGE)


def test_no_message_leaves():
    """Requests and CMC messages are signed by the same method."""
    for key in _ec_keys() + (keys.load(RSA),):
        where = rsa_key if key.der() == RSA else ec
        for make in (lambda: csr.build(key, "CN=a"), lambda: cmc.Request(key, [BOARD.der])):
            with _Changed(where, "inverse", _fault(where.inverse, 7)):
                _refused(make)
            make()


def test_raw_signatures():
    """Those of a curve are as they come, unless it is given the public point."""
    digest = hashlib.sha256(_MESSAGE).digest()
    for key in _ec_keys():
        curve = key._curve
        for public in (None, key.public):
            with _Changed(ec, "inverse", _fault(ec.inverse, 7)):
                if public:
                    _refused(curve.sign, key._private, digest, None, public)
                else:
                    wrong = curve.sign(key._private, digest)
                    assert not curve.verify(key.public, digest, wrong)
        signature = curve.sign(key._private, digest, bytes, key.public)
        assert signature == curve.sign(key._private, digest, bytes)
        in_steps = ec_steps.sign(curve, key._private, digest, bytes, key.public)
        assert steps.run(in_steps) == signature
        with _Changed(ec, "inverse", _fault(ec.inverse, 7, 1000)):
            in_steps = ec_steps.sign(curve, key._private, digest, bytes, key.public)
            _refused(steps.run, in_steps)


def test_unless_told_otherwise():
    for key in _ec_keys():
        counted = []
        usual = key._curve.verify

        def verify(*arguments, counted=counted, usual=usual):
            counted.append(arguments)
            return usual(*arguments)

        with _Changed(key._curve, "verify", verify):
            key.sign(_MESSAGE)
            assert len(counted) == 1
            for who in (keys.P256Key, key):
                with _Changed(who, "checked", False):
                    key.sign(_MESSAGE)
            assert len(counted) == 1
        with _Changed(key, "checked", False):
            with _Changed(ec, "inverse", _fault(ec.inverse, 7)):
                wrong = key.sign(_MESSAGE)[1]
            digest = hashes.new(getattr(key, "hash_size", 32), _MESSAGE).digest()
            assert not key._curve.verify(key.public, digest, wrong)


def test_rsa_halves():
    """One wrong half of a CRT signature is enough to factor the modulus (Boneh 1997)."""
    key = keys.load(RSA)
    usual = rsa_key.power
    for wrong in (1, 2, 3):
        calls = []

        def power(*arguments, calls=calls, wrong=wrong):
            calls.append(1)
            result = yield from usual(*arguments)
            return result ^ (wrong >> len(calls) - 1 & 1)

        with _Changed(rsa_key, "power", power):
            _refused(key.sign, _MESSAGE)
        assert len(calls) == 2
    key.sign(_MESSAGE)


def test_rsa_numbers():
    for at in range(8):
        if at == 2:
            # d is not signed with.
            continue
        for bit in (0, 5, 77):
            key = keys.load(RSA)
            numbers = list(key._numbers)
            numbers[at] ^= 1 << bit
            key._numbers = tuple(numbers)
            check.raises((UsageError, ZeroDivisionError), key.sign, _MESSAGE)
            digest = hashlib.sha256(_MESSAGE).digest()
            signing = key.pss_signature(digest)
            check.raises((UsageError, ZeroDivisionError), steps.run, signing)


def test_rsa_blinding():
    key = keys.load(RSA)
    for bit in (0, 5, 77):
        with _Changed(rsa_key, "inverse", _fault(rsa_key.inverse, bit)):
            _refused(key.sign, _MESSAGE)


def test_secure_element():
    for public, private, curve in (
        (STORED[-65:], STORED[7:39], P256),
        (curves.P384.public(SCALAR), SCALAR, curves.P384),
    ):

        def sign(digest, curve=curve, private=private):
            return curve.sign(private, digest)

        key = element.ElementKey(b"faulty %d" % curve.size, public, sign)

        class Context:
            ecdsa_sign_callback = None

        element.attach(Context, key.der())
        handle, digest = b"", bytes(range(curve.size))
        for call in (
            lambda: key.sign(_MESSAGE),
            lambda: Context.ecdsa_sign_callback(handle, digest),
        ):
            call()
            with _Changed(ec, "inverse", _fault(ec.inverse, 9)):
                error = check.raises(UsageError, call)
                assert "not by the public key" in str(error)
            with _Changed(key, "checked", False):
                with _Changed(ec, "inverse", _fault(ec.inverse, 9)):
                    call()
