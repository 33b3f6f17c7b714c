"""Why a certificate is refused, as values."""

from tunnel.errors import Reason, TunnelError


class Problem(Reason):
    """Why a certificate was refused."""

    # the bytes and the profile
    MALFORMED = "malformed", "not a certificate of our profile"
    TOO_LARGE = "too_large", "certificate too large for a datagram"
    WRONG_KEY_TYPE = "wrong_key_type", "key of the wrong type"
    MISSING_EXTENSION = "missing_extension", "extension missing"
    UNKNOWN_CRITICAL_EXTENSION = "unknown_critical_extension", "critical extension that we do not know"
    WRONG_USAGE = "wrong_usage", "certificate not issued for this use"

    # the chain
    CHAIN_TOO_LONG = "chain_too_long", "chain too long"
    UNKNOWN_AUTHORITY = "unknown_authority", "authority that we do not trust"
    BAD_SIGNATURE = "bad_signature", "signature that is not its issuer's"
    PREFIX_NOT_ISSUERS = "prefix_not_issuers", "addresses that its issuer does not have"
    DEFAULT_ROUTE = "default_route", "default route without permission"

    # the moment
    EXPIRED = "expired", "certificate expired"
    NOT_YET_VALID = "not_yet_valid", "certificate not yet valid"
    WRONG_CLOCK = "wrong_clock", "the clock of this host is wrong"
    REVOKED = "revoked", "certificate revoked"
    CRL_EXPIRED = "crl_expired", "revocation list expired"

    # who presents it
    NAME_MISMATCH = "name_mismatch", "certificate for another name"
    KEY_MISMATCH = "key_mismatch", "certificate for another key"

    # admission: a good certificate, and yet
    NOT_ADMITTING = "not_admitting", "this host may not be dialled itself"
    NOT_ALLOWED = "not_allowed", "name that is not allowed here"
    OVERLAP = "overlap", "address of somebody else"
    TOO_MANY_PEERS = "too_many_peers", "too many peers"


class CertificateError(TunnelError):
    """A certificate that we refuse; ``str()`` is one line, the problem in words and what exactly is wrong."""

    def __init__(self, problem: Problem, why: str = "") -> None:
        super().__init__(f"{problem.words}: {why}" if why else problem.words)
        self.problem = problem
