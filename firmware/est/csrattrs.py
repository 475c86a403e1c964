"""The answer of /csrattrs: attributes (est.attributes), or a template of a request."""

from micropython import const

from est import cms, der
from est.attributes import CsrAttrs

_TEMPLATE = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x3d")


def parse(data):
    """CsrAttrs from DER, or the est.csrtemplate.Template that it holds. Raises DerError.

    An empty answer asks for nothing. BER is read as well where est.ber is there.
    """
    try:
        return _parsed(der.Reader(data))
    except der.DerError as error:
        try:
            return _parsed(cms.reader(data))
        except der.DerError:
            raise error


def _parsed(reader):
    attrs = CsrAttrs()
    if reader.more():
        sequence = reader.enter()
        reader.end()
        for template in attrs.take_all(sequence):
            try:
                from est.csrtemplate import Template
            except ImportError:
                attrs.unknown.append(_TEMPLATE)  # an optional part
            else:
                # Who knows templates ignores everything else (RFC 9908 4).
                return Template(template)
    return attrs
