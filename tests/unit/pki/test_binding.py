from tests.unit.pki.authorities import GATEWAY, LAPTOP, NOW, der, issued, key_of, networks, new_authority
from tunnel.config.patch import AllowedIPChange, PeerPatch
from tunnel.endpoint import Endpoint
from tunnel.pki.binding import peer_patch
from tunnel.pki.profile import read_claims
from tunnel.pki.verify import Trust, verify

AUTHORITY = new_authority()


def test_a_peer_is_allowed_its_own_addresses_and_what_it_routes() -> None:
    assert peer_patch(read_claims(issued(AUTHORITY, GATEWAY))) == PeerPatch(
        public_key=key_of("gateway").public_key,
        replace_allowed_ips=True,
        allowed_ips=tuple(map(AllowedIPChange, networks("10.9.0.1/32", "10.9.0.0/24", "192.168.7.0/24"))),
    )


def test_addresses_of_both_families_are_as_long_as_can_be() -> None:
    patch = peer_patch(read_claims(issued(AUTHORITY, LAPTOP)))
    assert [change.network for change in patch.allowed_ips] == [*networks("10.9.0.2/32", "fd09::2/128")]


def test_who_was_dialled_is_where_he_answered() -> None:
    endpoint = Endpoint("192.0.2.1", 51820)
    claims = verify([der(issued(AUTHORITY, GATEWAY))], Trust((AUTHORITY.certificate,)), NOW).claims
    assert peer_patch(claims, endpoint).endpoint == endpoint
