"""Who may have which certificate: the rules of a policy file.

A rule names users, tokens or factory CAs, and what they may have. In its patterns (`patterns.py`)
`{user}` is the name of the user or token, `{serialNumber}` and `{CN}` are what the subject of a
factory certificate says.
"""

import contextlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import Annotated, Literal, Self

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mpest.server.ca import USAGES, Order, key_usage
from mpest.server.csr_policy import usages
from mpest.server.patterns import (
    ANY_SUBJECT,
    check_alternative,
    check_ca,
    check_subject,
    fits,
    name_of,
    same_alternative,
    same_name,
)
from mpest.server.principals import Principal, fingerprint
from mpest.server.reserved import host_names
from mpest.server.wire import Refused
from mpest.settings import Lifetime, matching

_PURPOSES = {
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
}
_NAMES = {oid.dotted_string: name for name, oid in _PURPOSES.items()}
_MAX_SHOWN = 200  # characters of what a client asked for, in the answer to it
# Of a factory's device: both ways to write the number that its maker gave it (IEEE 802.1AR).
_OF_FACTORY = ["CN={serialNumber}", "serialNumber={serialNumber}"]


def _listed(content: object) -> object:
    return [content] if isinstance(content, str) else content


def _check_until(content: object) -> object:
    """A date, or a date and a time, of TOML or as JSON has them in text."""
    if isinstance(content, date):  # a datetime is one
        return content
    for kind in (date, datetime):
        with contextlib.suppress(ValueError, TypeError):
            return kind.fromisoformat(content)  # type: ignore[arg-type]
    raise ValueError("a date such as 2027-12-31 is expected")


_Listed = BeforeValidator(_listed)
_Names = Annotated[list[str], _Listed]
KeyType = Annotated[
    str, matching(r"P-256|P-384|RSA-[0-9]{4}", "P-256, P-384, RSA-2048 or the like")
]


class Rule(BaseModel):
    """What somebody may have, unless another rule that names them allows it as well."""

    model_config = ConfigDict(extra="forbid")

    users: _Names = []
    """Patterns of names."""
    tokens: _Names = []
    factory: Annotated[list[Annotated[str, AfterValidator(check_ca)]], _Listed] = []
    """CAs of `--factory-ca` by their subject or `sha256:HEX`; `*` is each of them."""
    role: Literal["holder", "ra"] = "holder"
    """A registration authority (ra) forwards requests of others, who then own what it brings."""
    subject: Annotated[list[Annotated[str, AfterValidator(check_subject)]], _Listed] = []
    """Patterns, one of which must fit all of the name, or `*` for any name. Default: `CN={user}`,
    of a factory's device its serialNumber; none for ra."""
    san: Annotated[list[Annotated[str, AfterValidator(check_alternative)]], _Listed] = []
    """Patterns, one of which must fit each name: `DNS:`, `URI:`, `email:`, `IP:` and an address or
    a network, or `HW:OID:` and the number of a hardwareModuleName (RFC 4108)."""
    eku: Annotated[
        list[Literal["clientAuth", "serverAuth", "emailProtection"]],
        _Listed,
    ] = ["clientAuth"]
    """All of them for who asks for none."""
    key_usage: Annotated[
        list[
            Literal[
                "digitalSignature",
                "nonRepudiation",
                "keyEncipherment",
                "dataEncipherment",
                "keyAgreement",
            ]
        ],
        _Listed,
    ] = []
    """All of it for who asks for none. None named: any, and digitalSignature for these."""
    key_types: Annotated[list[KeyType], _Listed] = []
    """None named: all that the server knows."""
    lifetime: Lifetime | None = None
    """Default: that of the server."""
    wildcards: bool = False
    """Whether a host name may have a `*`, where a pattern fits it."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """How many certificates each ra brings."""
    until: Annotated[date | datetime | None, BeforeValidator(_check_until)] = None
    """When this rule ends; a date's whole day counts, in UTC."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.eku:
            raise ValueError("eku names no purpose: leave it out for clientAuth")
        if not (self.users or self.tokens or self.factory):
            raise ValueError("a rule names users, tokens or factory")
        if self.role == "ra" and not self.subject:
            raise ValueError("an ra needs the subjects that it may bring, as subject")
        if self.role != "ra" and self.limit is not None:
            raise ValueError("limit is for role ra")
        return self

    def names(self, principal: Principal) -> bool:
        """Whether the rule is about this one."""
        if principal.factory is not None:
            ca = principal.factory
            return any(
                one in ("*", f"sha256:{fingerprint(ca)}")
                or (not one.startswith("sha256:") and name_of(one) == ca.subject)
                for one in self.factory
            )
        patterns = {"user": self.users, "token": self.tokens}.get(principal.kind, [])
        name = principal.words.get("user", "")
        return any(fits(pattern, name) for pattern in patterns)

    def allows_subject(self, principal: Principal, subject: x509.Name) -> bool:
        """Whether one of the rule's patterns fits."""
        return any(
            pattern == ANY_SUBJECT or same_name(name_of(pattern), subject, principal.words)
            for pattern in self._subjects(principal)
        )

    def objection(
        self,
        principal: Principal,
        order: Order,
        key_type: str,
        purposes: Iterable[x509.ObjectIdentifier],
        usage: x509.KeyUsage | None,
        moment: datetime,
    ) -> str | None:
        """Why the rule does not allow this order, or None; `purposes` and `usage` as the request
        has them."""
        if self.until is not None and moment >= _end(self.until):
            return f"it ended on {self.until}"
        if not self.allows_subject(principal, order.subject):
            allowed = " or ".join(self._subjects(principal))
            return f"the Subject {_shown(order.subject.rfc4514_string())} is not {allowed}"
        for name in order.san or ():
            if not any(same_alternative(one, name, principal.words) for one in self.san):
                return f"the alternative name {_shown(str(name.value))} is not allowed"
        if not self.wildcards and any("*" in name for name in host_names(order)):
            return "a wildcard is not allowed"
        for purpose in purposes:
            if _NAMES.get(purpose.dotted_string) not in self.eku:
                text = _NAMES.get(purpose.dotted_string, purpose.dotted_string)
                return f"the ExtendedKeyUsage {text} is not allowed"
        if self.key_usage and usage:
            more = usages(usage).difference(self.key_usage)
            if more:
                return f"the KeyUsage {', '.join(sorted(more))} is not allowed"
        return self.key_objection(key_type)

    def key_objection(self, key_type: str) -> str | None:
        """Why a key of this type is not allowed, or None."""
        if self.key_types and key_type not in self.key_types:
            return f"a key of {key_type} is none of {', '.join(self.key_types)}"
        return None

    @property
    def purposes(self) -> tuple[x509.ObjectIdentifier, ...]:
        """What a certificate is for whose request asks for nothing."""
        return tuple(_PURPOSES[name] for name in self.eku)

    @property
    def usage(self) -> x509.KeyUsage:
        """What its key may be for whose request does not say."""
        return key_usage(*(USAGES[name] for name in self.key_usage or ("digitalSignature",)))

    def _subjects(self, principal: Principal) -> list[str]:
        if self.subject:
            return self.subject
        return _OF_FACTORY if principal.factory is not None else ["CN={user}"]


class Policy(BaseModel):
    """The rules of one server. Whom none names as a holder gets what a rule says by default."""

    model_config = ConfigDict(extra="forbid")

    reserved: _Names = []
    """Host names and addresses that nobody gets, beside those of the server's own certificate:
    such as those of a proxy in front of it."""
    rule: list[Rule] = []

    def rules(self, principal: Principal) -> list[Rule]:
        """Those that are about this one; a registration authority has its own name, too."""
        named = [rule for rule in self.rule if rule.names(principal)]
        return named if any(rule.role == "holder" for rule in named) else [*named, _DEFAULT]

    def may_bring(self, principal: Principal, subject: x509.Name, moment: datetime) -> bool:
        """Whether it is a registration authority for this subject."""
        return any(
            rule.role == "ra"
            and rule.names(principal)
            and not (rule.until is not None and moment >= _end(rule.until))
            and rule.allows_subject(principal, subject)
            for rule in self.rule
        )

    def allow(
        self,
        principal: Principal,
        order: Order,
        key_type: str,
        purposes: Iterable[x509.ObjectIdentifier],
        usage: x509.KeyUsage | None,
        moment: datetime,
    ) -> Rule:
        """The first rule that allows the order. Raises Refused, with what stands against it."""
        asked = tuple(purposes)
        objections = []
        for rule in self.rules(principal):
            objection = rule.objection(principal, order, key_type, asked, usage, moment)
            if objection is None:
                return rule
            objections.append(objection)
        why = "; or ".join(dict.fromkeys(objections))
        raise Refused(403, f"the policy for {_shown(principal.name)} says no: {why}")

    def rule_for(self, principal: Principal, subject: x509.Name) -> Rule | None:
        """The first rule by which this subject is the principal's, whatever else it says."""
        for rule in self.rules(principal):
            if rule.allows_subject(principal, subject):
                return rule
        return None


_DEFAULT = Rule(users=["*"], tokens=["*"], factory=["*"])


def _end(until: datetime | date) -> datetime:
    if not isinstance(until, datetime):
        until = datetime.combine(until, time_of_day()) + timedelta(days=1)
    return until if until.tzinfo else until.replace(tzinfo=UTC)


def _shown(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
