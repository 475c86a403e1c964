import check
from est import curves, signatures
from est.ec import P256
from est.errors import PeerError, Unsupported


def _check_ecdh(name, curve, point, note):
    # point(bytes) gives curve and point of a public key.
    for _, test in check.wycheproof(name, note, check.SAMPLE):
        private = int(test["private"], 16).to_bytes(curve.size, "big")
        try:
            of, public = point(bytes.fromhex(test["public"]))
            shared = curve.ecdh(private, public).hex() if of is curve else None
        except (PeerError, Unsupported):
            shared = None
        assert shared == (test["shared"] if test["result"] == "valid" else None), test


def test_wycheproof_ecdh_p256():
    note = "keys that are not DER, compressed, or spell their curve out"
    _check_ecdh("ecdh_secp256r1", P256, signatures.ec_key, note)


def test_wycheproof_ecdh_p384():
    def point(public):
        return curves.P384, public

    _check_ecdh("ecdh_secp384r1_ecpoint", curves.P384, point, "a compressed point")
