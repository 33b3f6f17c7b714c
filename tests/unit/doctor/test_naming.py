"""Which peer is meant."""

from ipaddress import ip_address

from tunnel.control.status import PeerStatus
from tunnel.doctor.naming import find_holder, find_peer

GATEWAY = PeerStatus("gate" + "A" * 39 + "=", allowed_ips=("10.0.0.0/8", "fd00::/64"), endpoint_name="gw.example:51820")
LAPTOP = PeerStatus("lapt" + "A" * 39 + "=", allowed_ips=("10.8.0.7/32",), endpoint="192.0.2.7:4711", name="laptop")
PEERS = (GATEWAY, LAPTOP)


def test_a_peer_is_found_by_all_that_it_is_known_by() -> None:
    assert find_peer(PEERS, "gate") is GATEWAY
    assert find_peer(PEERS, "gw.example") is GATEWAY
    assert find_peer(PEERS, "laptop") is LAPTOP
    assert find_peer(PEERS, "192.0.2.7") is LAPTOP
    assert find_peer(PEERS, "fd00::9") is GATEWAY


def test_an_address_belongs_to_whose_allowed_ip_is_longest() -> None:
    assert find_peer(PEERS, "10.8.0.7") is LAPTOP
    held = find_holder(PEERS, ip_address("10.8.0.8"))
    assert held is not None
    assert (held[0], str(held[1])) == (GATEWAY, "10.0.0.0/8")


def test_nobody_is_found_by_what_fits_nobody_or_two() -> None:
    twins = (PeerStatus("abc"), PeerStatus("abd"))
    assert find_peer(twins, "ab") is None
    assert find_peer(PEERS, "192.0.2.99") is None
