"""What a certificate that was believed comes to: a peer, in the one configuration currency."""

from tunnel.config.patch import AllowedIPChange, PeerPatch
from tunnel.endpoint import Endpoint
from tunnel.pki.profile import Claims


def peer_patch(claims: Claims, endpoint: Endpoint | None = None) -> PeerPatch:
    """The peer under the key of the certificate, allowed its own addresses and what it routes, and nothing else.

    `claims` come from `tunnel.pki.verify.verify`. Whether another peer has one of the networks already is not asked
    here: `Device.apply` would take it away.
    """
    return PeerPatch(
        public_key=claims.public_key,
        endpoint=endpoint,
        replace_allowed_ips=True,
        allowed_ips=tuple(AllowedIPChange(network) for network in claims.networks),
    )
