"""Allowed IPs against a list of (network, peer) that is searched from end to end."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from tunnel.config.patch import IPNetwork
from tunnel.protocol.allowedips import AllowedIPs

IPAddress = IPv4Address | IPv6Address

PEERS = st.sampled_from("abc")


@st.composite
def addresses(draw: st.DrawFn) -> IPAddress:
    """Few enough in the first and in the last bits that networks nest and addresses fall into them."""
    bits = draw(st.sampled_from([32, 128]))
    high = draw(st.integers(0, 3)) << bits - 2
    number = high | draw(st.integers(0, 7))
    return IPv4Address(number) if bits == 32 else IPv6Address(number)


@st.composite
def networks(draw: st.DrawFn) -> IPNetwork:
    address = draw(addresses())
    if isinstance(address, IPv4Address):
        return IPv4Network((address, draw(st.integers(0, 3) | st.integers(28, 32) | st.integers(0, 32))), strict=False)
    return IPv6Network((address, draw(st.integers(0, 3) | st.integers(124, 128) | st.integers(0, 128))), strict=False)


class LinearScan:
    """The definition."""

    def __init__(self) -> None:
        self._entries: list[tuple[IPNetwork, str]] = []

    def insert(self, network: IPNetwork, peer: str) -> None:
        self._entries = [entry for entry in self._entries if entry[0] != network]
        self._entries.append((network, peer))

    def remove(self, network: IPNetwork, peer: str) -> None:
        self._entries = [entry for entry in self._entries if entry != (network, peer)]

    def remove_peer(self, peer: str) -> None:
        self._entries = [entry for entry in self._entries if entry[1] != peer]

    def networks_of(self, peer: str) -> tuple[IPNetwork, ...]:
        return tuple(network for network, holder in self._entries if holder == peer)

    def lookup(self, address: IPAddress) -> str | None:
        matching = [entry for entry in self._entries if address in entry[0]]
        return max(matching, key=lambda entry: entry[0].prefixlen)[1] if matching else None


Operation = tuple[str, IPNetwork, str] | tuple[str, IPAddress] | tuple[str, str]

OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.tuples(st.just("insert"), networks(), PEERS),
    st.tuples(st.just("insert"), networks(), PEERS),
    st.tuples(st.just("remove"), networks(), PEERS),
    st.tuples(st.just("remove_peer"), PEERS),
    st.tuples(st.just("lookup"), addresses()),
    st.tuples(st.just("lookup"), addresses()),
)


@given(operations=st.lists(OPERATIONS, max_size=40), cache_size=st.integers(1, 4))
def test_it_answers_as_a_linear_scan_does(operations: list[Operation], cache_size: int) -> None:
    allowed_ips: AllowedIPs[str] = AllowedIPs(cache_size)
    model = LinearScan()
    for operation in operations:
        match operation:
            case ("insert", network, str(peer)):
                allowed_ips.insert(network, peer)
                model.insert(network, peer)
            case ("remove", network, str(peer)):
                allowed_ips.remove(network, peer)
                model.remove(network, peer)
            case ("remove_peer", str(peer)):
                allowed_ips.remove_peer(peer)
                model.remove_peer(peer)
            case ("lookup", IPv4Address() | IPv6Address() as address):
                assert allowed_ips.lookup(address.packed) == model.lookup(address)
            case _:
                raise AssertionError(operation)
        for peer in "abc":
            assert allowed_ips.networks_of(peer) == model.networks_of(peer)


@given(inserted=st.lists(st.tuples(networks(), PEERS)), removed=PEERS, looked_up=st.lists(addresses(), max_size=20))
def test_removing_a_peer_is_as_if_it_had_only_taken(
    inserted: list[tuple[IPNetwork, str]], removed: str, looked_up: list[IPAddress]
) -> None:
    """A network that it took from another stays taken; nothing else of it is left."""
    allowed_ips: AllowedIPs[str] = AllowedIPs()
    for network, peer in inserted:
        allowed_ips.insert(network, peer)
    before = {peer: allowed_ips.networks_of(peer) for peer in "abc" if peer != removed}
    allowed_ips.remove_peer(removed)
    assert {peer: allowed_ips.networks_of(peer) for peer in before} == before
    assert removed not in [allowed_ips.lookup(address.packed) for address in looked_up]
