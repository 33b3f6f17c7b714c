"""Whatever two configurations are, what is done by the plan from the one to the other makes it the other."""

from dataclasses import dataclass, field, replace

from hypothesis import given, settings

from tests.properties.configurations import tunnel_configs
from tunnel.config.difference import NOTHING, Plan, difference
from tunnel.config.model import IPInterface, PeerConfig, TunnelConfig
from tunnel.config.patch import IPNetwork, PeerPatch
from tunnel.config.routing import wanted_routes
from tunnel.keys import PublicKey


@dataclass
class FakeInterface:
    """What a device and the kernel hold of a configuration, and no more."""

    config: TunnelConfig
    peers: dict[PublicKey, PeerConfig] = field(init=False)
    addresses: set[IPInterface] = field(init=False)
    routes: set[IPNetwork] = field(init=False)

    def __post_init__(self) -> None:
        self.peers = {peer.public_key: peer for peer in self.config.peers}
        self.addresses = set(self.config.interface.addresses)
        self.routes = set(wanted_routes(self.config))

    def change(self, plan: Plan) -> None:
        for patch in plan.device_patch().peers:
            self._change_peer(patch)
        self.addresses = (self.addresses - set(plan.removed_addresses)) | set(plan.added_addresses)
        self.routes = (self.routes - set(plan.removed_routes)) | set(plan.added_routes)

    def _change_peer(self, patch: PeerPatch) -> None:
        if patch.remove:
            del self.peers[patch.public_key]
            return
        assert patch.update_only == (patch.public_key in self.peers)
        peer = self.peers.setdefault(patch.public_key, PeerConfig(patch.public_key))
        if patch.preshared_key is not None:
            peer = replace(peer, preshared_key=patch.preshared_key)
        if patch.persistent_keepalive is not None:
            peer = replace(peer, persistent_keepalive=patch.persistent_keepalive)
        for change in patch.allowed_ips:
            if not change.remove:
                self._take(change.network)
            others = tuple(network for network in peer.allowed_ips if network != change.network)
            peer = replace(peer, allowed_ips=others if change.remove else (*others, change.network))
        self.peers[patch.public_key] = peer

    def _take(self, network: IPNetwork) -> None:
        """From whoever has it: two peers never have the same."""
        for key, peer in self.peers.items():
            self.peers[key] = replace(peer, allowed_ips=tuple(other for other in peer.allowed_ips if other != network))

    def view(self) -> tuple[object, ...]:
        """All but endpoints, which the device learns, and the order of networks."""
        peers = {
            key: (peer.preshared_key, peer.persistent_keepalive, set(peer.allowed_ips))
            for key, peer in self.peers.items()
        }
        return peers, self.addresses, self.routes


@settings(max_examples=15)
@given(tunnel_configs(), tunnel_configs())
def test_what_the_plan_says_makes_one_configuration_the_other(old: TunnelConfig, new: TunnelConfig) -> None:
    interface = FakeInterface(old)
    interface.change(difference(old, new))
    assert interface.view() == FakeInterface(new).view()


@settings(max_examples=15)
@given(tunnel_configs(), tunnel_configs())
def test_networks_that_change_hands_arrive(one: TunnelConfig, other: TunnelConfig) -> None:
    """The same peers, with each other's networks."""
    networks = [peer.allowed_ips for peer in one.peers]
    shifted = [replace(peer, allowed_ips=networks[number - 1]) for number, peer in enumerate(one.peers)]
    new = TunnelConfig(other.interface, tuple(shifted))
    interface = FakeInterface(one)
    interface.change(difference(one, new))
    assert interface.view() == FakeInterface(new).view()


@settings(max_examples=15)
@given(tunnel_configs())
def test_from_a_configuration_to_itself_there_is_nothing_to_change(config: TunnelConfig) -> None:
    plan = difference(config, config)
    assert plan.is_empty
    assert plan.describe() == [NOTHING]
    patch = plan.device_patch()
    assert (patch.private_key, patch.listen_port, patch.fwmark, patch.peers) == (None, None, None, ())


@settings(max_examples=15)
@given(tunnel_configs(), tunnel_configs())
def test_a_plan_shows_no_secret_and_is_one_line_each(old: TunnelConfig, new: TunnelConfig) -> None:
    text = "\n".join(difference(old, new).describe())
    assert text.count("\n") + 1 == len(difference(old, new).describe())
    for config in (old, new):
        secrets = [peer.preshared_key for peer in config.peers if not peer.preshared_key.is_zero]
        if not config.interface.private_key.is_zero:
            assert config.interface.private_key.to_base64() not in text
        assert not any(secret.to_base64() in text for secret in secrets)
