"""Whether a CSR has what /csrattrs asked for."""

from cryptography import x509

from mpest.server.csr_policy import key_type
from mpest.server.csrattrs import (
    CHALLENGE_PASSWORD,
    EXTENSIONS,
    CsrAttrsPolicy,
    RequestedExtension,
    split_rdn,
)
from mpest.server.wire import Refused

_NAMES = {oid: name for name, oid in EXTENSIONS.items()} | {
    CHALLENGE_PASSWORD: "challengePassword",
}
_KINDS: dict[type, str] = {
    x509.DNSName: "DNS",
    x509.IPAddress: "IP",
    x509.UniformResourceIdentifier: "URI",
    x509.RFC822Name: "email",
}


def check_demands(csr: x509.CertificateSigningRequest, policy: CsrAttrsPolicy) -> None:
    """Raises Refused, with words for all that `csr` lacks. Raw DER demands nothing."""
    if policy.raw_der_base64 is not None:
        return
    missing = [
        *_key(csr, policy),
        *_digest(csr, policy),
        *_subject(csr, policy),
        *(text for one in policy.extension_request for text in _extension(csr, one)),
        *_attributes(csr, policy),
    ]
    if missing:
        raise Refused(400, f"the request lacks what /csrattrs asks for: {'; '.join(missing)}")


def _key(csr: x509.CertificateSigningRequest, policy: CsrAttrsPolicy) -> list[str]:
    found = key_type(csr.public_key())
    wanted = policy.key
    return [] if wanted in (None, found) else [f"a key of {wanted}, it is {found}"]


def _digest(csr: x509.CertificateSigningRequest, policy: CsrAttrsPolicy) -> list[str]:
    digest = csr.signature_hash_algorithm
    # A template says nothing of it.
    if policy.style == "template" or not policy.digest or not digest:
        return []
    return [] if digest.name == policy.digest else [f"a signature with {policy.digest}"]


def _subject(csr: x509.CertificateSigningRequest, policy: CsrAttrsPolicy) -> list[str]:
    if policy.subject is None:
        return []
    wanted = [split_rdn(text) for text in policy.subject]
    found = [(one.oid, one.value) for one in csr.subject]
    if [oid for oid, _ in wanted] == [oid for oid, _ in found] and all(
        value in ("", given) for (_, value), (_, given) in zip(wanted, found, strict=True)
    ):
        return []
    return [f"a Subject of {', '.join(policy.subject)}"]


def _extension(csr: x509.CertificateSigningRequest, wanted: RequestedExtension) -> list[str]:
    name = _NAMES.get(wanted.oid, wanted.oid)
    try:
        oid = x509.ObjectIdentifier(wanted.oid)
        found = csr.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return [f"the extension {name}"]
    if isinstance(found, x509.SubjectAlternativeName) and wanted.values is not None:
        return _names(found, wanted)
    content = wanted.content()
    if content is None or found.public_bytes() == content:
        return []
    return [f"the value asked for in the extension {name}"]


def _names(found: x509.SubjectAlternativeName, wanted: RequestedExtension) -> list[str]:
    left = [f"{_KINDS.get(type(name), '?')}:{name.value}" for name in found]
    missing = []
    # Names with a value first, so that none of them serves as the client's own.
    for text in sorted(wanted.values or (), key=lambda text: text.endswith(":")):
        fits = [one for one in left if one == text or (text[-1] == ":" and one.startswith(text))]
        if fits:
            left.remove(fits[0])
        else:
            missing.append(f"the alternative name {text}")
    return missing


def _attributes(csr: x509.CertificateSigningRequest, policy: CsrAttrsPolicy) -> list[str]:
    given = {one.oid for one in [*csr.attributes, *csr.subject, *csr.extensions]}
    wanted = list(policy.oids) if policy.style != "template" else []
    if policy.challenge_password:
        wanted.append(CHALLENGE_PASSWORD)
    return [
        f"the attribute {_NAMES.get(oid, oid)}"
        for oid in wanted
        if x509.ObjectIdentifier(oid) not in given
    ]
