"""The answer of /csrattrs, DER: attributes (est.attributes), or a template of a request."""

from micropython import const

from est import der
from est.attributes import CsrAttrs

_TEMPLATE = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x3d")


def parse(data):
    """CsrAttrs from DER, or the est.csrtemplate.Template that it holds. Raises DerError.

    An empty answer asks for nothing.
    """
    attrs = CsrAttrs()
    if data:
        reader = der.Reader(data)
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
