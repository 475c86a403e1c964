"""Reads each message that test_ber_oracle.py left in a folder, on CPython or MicroPython.

`read_ber.py TESTS FOLDER NAME...`, TESTS being where check.py lies. What comes out must be what
went in; what is cut off at any octet must be refused; of what is changed, errors must be typed.
"""

import sys

sys.path.insert(0, sys.argv[1])

import check
from est import cms, envelope, signed, steps
from est.errors import EstError


def read(name):
    with open(sys.argv[2] + "/" + name, "rb") as file:
        return file.read()


text = read("text")
bag = [read("ec.crt"), read("rsa.crt")]
given = {
    "secret": {"secret": read("secret"), "identifier": b"id"},
    "bare": {"secret": read("secret")},
    "rsa": {"private": read("rsa.key")},
    "ec": {"private": read("ec.key")},
}


def parser(kind):
    if kind == "certs":
        return lambda data: sorted(cms.certificates(data)) == sorted(bag)
    if kind == "signed":

        def verified(data):
            if sorted(cms.certificates(data)) != sorted(bag):
                return False
            _, content, signer, _ = signed.verify(data)
            return (content, signer.der) == (text, bag[0])

        return verified
    return lambda data: steps.run(envelope.decrypt(data, **given[kind]))[1] == text


for name in sys.argv[3:]:
    parse = parser(name.rsplit(".", 1)[1])
    data = read(name)
    if not parse(data):
        raise SystemExit(name + ": something else came out")
    check.truncated(parse, data)
    check.mutated(parse, data, 400 if name.rsplit(".", 1)[1] == "certs" else 60)
    check.raises(EstError, parse, data + b"\0\0")
    print(name, len(data))
