"""What a test server is told to do."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mpest.server.ca import check_cas
from mpest.server.csrattrs import CsrAttrsPolicy
from mpest.server.faults import check_spec, check_together
from mpest.server.passwords import check_kept, check_tokens
from mpest.server.policy import Policy
from mpest.server.proxy import Network
from mpest.server.serverkeygen import ServerKeygenPolicy
from mpest.settings import matching

Auth = Literal["none", "basic", "digest", "token", "mtls"]
Kept = Annotated[str, AfterValidator(check_kept)]
DigestAlgorithm = Literal["MD5", "SHA-256"]


class Limits(BaseModel):
    """What a client may keep of the server: seconds, and connections."""

    model_config = ConfigDict(extra="forbid")

    handshake: Annotated[float, Field(gt=0)] = 60
    """Until TLS is set up; on boards it takes some seconds."""
    header: Annotated[float, Field(gt=0)] = 60
    """From the first octet of a request to the end of its header."""
    body: Annotated[float, Field(gt=0)] = 60
    """From there to the end of its body, and for fetching an answer."""
    idle: Annotated[float, Field(gt=0)] = 600
    """Without a request: boards keep a connection while they make a key."""
    connections: Annotated[int, Field(ge=1)] = 2048
    """In all, each of up to 300 KiB of memory; never more than three quarters of the file
    descriptors (`ulimit -n`)."""
    connections_of_one_address: Annotated[int, Field(ge=1)] | None = None
    """None is half of these; of IPv6 a network of /64 counts as one address. A proxy that passes
    TLS through may need all."""


class ServerConfig(BaseModel):
    """Settings of one server. Assigning to a field of a running server takes effect at the next
    request, except for `directory`, `host`, `port`, `chain_length`, `root_key`, `rollover`,
    `tls_max`, `require_pop`, `cmc_ra`, `factory_ca`, `max_body`, `mtls_probe` and `limits`, which
    are read once at the start.

    `users` maps names to passwords, or to what is kept of them (`passwords`), and lives in memory
    only. `tokens` are tokens or their hashes, of which each may follow a name and a colon.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, hide_input_in_errors=True)

    directory: Path
    host: Annotated[str, matching(r"[!-~]+", "an address or a host name in ASCII")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0 picks a free port."""
    label: Annotated[str, matching(r"[^/\s?#%]+", "a word without / ? # %")] | None = None
    """With a label, only `/.well-known/est/LABEL/` is served."""

    auth: Auth = "none"
    users: dict[str, Kept] = Field(default_factory=dict, repr=False)
    once: set[str] = set()
    """Users whose password brings one certificate."""
    tokens: Annotated[set[Kept], AfterValidator(check_tokens)] = Field(
        default_factory=set, repr=False
    )
    """Each `TOKEN`, or `NAME:TOKEN` by which a policy names it (RFC 6750 tokens have no colon)."""
    factory_ca: Annotated[str, AfterValidator(check_cas)] | None = None
    """PEM of CA certificates. With `auth` mtls, one issued by these enrols (RFC 7030 2.2)."""
    policy: Policy | None = None
    """Who may have what. None leaves that to `open`."""
    open: bool | None = None
    """Whether whoever is let in may have any name but the server's and the CA's. None: if there
    is no `policy`. False without one: what the defaults of a `Policy` say. Where `auth` is none it
    is open."""
    behind_proxy: Annotated[str, matching(r"[A-Za-z0-9-]+", "the name of a header")] | None = None
    """The header in which a proxy that ends TLS passes on the client's certificate (`proxy`)."""
    proxies: list[Network] = []
    """Where such proxies are. From elsewhere the header says nothing."""
    realm: str = "mpest"
    digest_algorithms: list[DigestAlgorithm] = ["SHA-256", "MD5"]
    """Offered in this order, one challenge each."""
    nonce_lifetime: float = 300
    """Seconds until a Digest nonce is answered with stale=true."""
    challenge_password: str | None = Field(default=None, repr=False)
    """When set, every CSR must carry it."""

    require_pop: bool = False
    """Every CSR must carry tls-unique as its challengePassword (RFC 7030 3.5), which /csrattrs
    then asks for. Ends TLS 1.3, that has no tls-unique."""

    approve_after: Annotated[float, Field(ge=0)] = 0
    """Seconds an operator takes to approve a new CSR; 0 issues at once, infinity waits for
    `mpest serve --approve`."""
    retry_after_date: bool = False
    """Send Retry-After as an HTTP-date instead of seconds."""
    lifetime: timedelta = timedelta(days=90)
    chain_length: Annotated[int, Field(ge=1, le=4)] = 1
    """Certificates of a chain without the root. 1: the root issues; 2: an intermediate does."""
    root_key: Literal["P-256", "RSA-4096"] = "P-256"
    key_password: str | None = Field(default=None, repr=False)
    """When set, the CA's keys lie encrypted in `directory`."""
    rollover: bool = False
    """Starts with a new root and publishes the certificates that link it with the old one."""
    csrattrs: CsrAttrsPolicy | None = None
    """None answers 204."""
    enforce_csrattrs: bool = False
    """Refuse a CSR that lacks what `csrattrs` asks for."""

    serverkeygen: ServerKeygenPolicy = ServerKeygenPolicy()

    wrap: Annotated[int, Field(ge=0)] = 64
    """Columns of base64 in replies, ended by CRLF; 0 sends one unwrapped line."""
    max_body: int = 65536
    """Bytes of a request body; more is answered with 413."""
    tls_max: Literal["1.2", "1.3"] = "1.3"
    cmc_ra: bool = False
    """Adds id-kp-cmcRA to the server's own certificate (RFC 7030 3.6.1)."""
    crl_url: Annotated[str, matching(r"https?://[!-~]+", "a URL of http or https")] | None = None
    """Where issued certificates say that the list of revoked ones is."""
    cmc_signer: Literal["ca", "ra"] = "ca"
    """Who signs the answers of /fullcmc: the CA that issues, or a certificate with id-kp-cmcRA."""
    stop_within: Annotated[float, Field(gt=0)] = 1.0
    """Seconds for answers under way when the server stops."""
    mtls_probe: bool = False
    """Opens a second port that demands a client certificate of this CA."""

    faults: Annotated[
        set[Annotated[str, AfterValidator(check_spec)]], AfterValidator(check_together)
    ] = set()
    """Names from `faults`, each for every operation or for one: `http-503@simpleenroll`."""
    fault_times: int | None = None
    """Requests left that get a fault; None means all. TLS faults don't count."""
    retry_after: int = 2
    """Seconds that the fault http-503 asks for."""
    drip_interval: float = 0.5
    """Seconds between two bytes of the fault slow-drip, and of the pause of late."""

    limits: Limits = Limits()

    @property
    def rules(self) -> Policy | None:
        """The policy in force; None where everybody may have everything."""
        is_open = self.policy is None if self.open is None else self.open
        return None if is_open or self.auth == "none" else self.policy or Policy()

    @property
    def highest_tls(self) -> Literal["1.2", "1.3"]:
        return "1.2" if self.require_pop else self.tls_max
