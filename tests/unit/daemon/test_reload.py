"""Reloads on a fake netlink and a fake device that write down what was asked of them."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

import pytest

from tests.unit.daemon.test_lifecycle import FakeLinks
from tunnel.config.model import IPInterface, TunnelConfig
from tunnel.config.patch import DevicePatch, IPNetwork
from tunnel.config.quick import parse_quick
from tunnel.control.reload_request import ReloadRequest
from tunnel.daemon.identity import LoadedIdentity
from tunnel.daemon.reload import Reload
from tunnel.daemon.upkeep import Upkeep
from tunnel.endpoint import Endpoint
from tunnel.errors import ConfigError, TunnelError, UdpSocketError
from tunnel.keys import PrivateKey, PublicKey
from tunnel.testing.members import enrol, found_authority
from tunnel.testing.network import Network

OWN, A, B = (PrivateKey(bytes([number]) * 32) for number in (1, 2, 3))
NOW = ReloadRequest()

BASE = f"""\
[Interface]
PrivateKey = {OWN.to_base64()}
ListenPort = 51820
Address = 10.0.0.1/24

[Peer]
PublicKey = {A.public_key}
AllowedIPs = 10.9.0.0/16
"""
MORE = f"""\

[Peer]
PublicKey = {B.public_key}
AllowedIPs = 10.8.0.0/16
"""
OTHER = (
    (BASE + MORE).replace("51820", "51821").replace("10.0.0.1/24", "10.0.0.2/24\nMTU = 1300").replace("10.9", "10.7")
)
"""Everything is another."""


class Links(FakeLinks):
    """The kernel has all that was configured, but for what is `lost`."""

    def __init__(self, fails_at: str) -> None:
        super().__init__(fails_at)
        self.lost: set[str] = set()

    async def addresses_of(self, index: int) -> list[IPInterface]:
        return [ip_interface(text) for text in ("10.0.0.1/24", "10.0.0.2/24") if text not in self.lost]

    async def missing_routes(self, index: int, networks: Sequence[IPNetwork], table: int | None) -> list[IPNetwork]:
        return [network for network in networks if str(network) in self.lost]

    async def add_route(self, index: int, network: IPNetwork, table: int | None) -> None:
        self._change(f"route {network} table {table}")

    async def add_connected_route(self, index: int, address: IPInterface) -> None:
        self._change(f"route of {address}")

    async def delete_address(self, index: int, address: IPInterface) -> None:
        self._change(f"no address {address}")

    async def delete_routes(self, index: int, networks: Iterable[IPNetwork], table: int | None) -> None:
        for network in networks:
            self._change(f"no route {network} table {table}")


class FakeInterface:
    """Satisfies `Interface`; what it does goes into the script of its links."""

    def __init__(self, links: Links, config: TunnelConfig) -> None:
        self.links = links
        self.config = config
        self.patches: list[DevicePatch] = []
        self.identity_error: TunnelError | None = None
        self.identity_file: LoadedIdentity | None = None
        self.in_force: LoadedIdentity | None = None
        self.names: dict[PublicKey, Endpoint] = {}
        self.is_port_taken = False

    def identified(self, config: TunnelConfig, identity: LoadedIdentity | None = None) -> TunnelConfig:
        """An identity says addresses only."""
        certified = identity or self.in_force
        if certified is None:
            return config
        own = tuple(map(ip_interface, certified.claims.addresses))
        others = tuple(address for address in config.interface.addresses if address not in own)
        return replace(config, interface=replace(config.interface, addresses=own + others))

    def running(self, config: TunnelConfig) -> TunnelConfig:
        return self.config

    def mtu(self) -> int:
        return 1420

    def listen_port(self) -> int:
        return self.config.interface.listen_port

    def endpoints(self) -> Mapping[PublicKey, Endpoint]:
        return {}

    def resolved(self) -> Mapping[PublicKey, Endpoint]:
        return self.names

    async def read_identity(self) -> LoadedIdentity | None:
        if self.identity_error:
            raise self.identity_error
        return self.identity_file

    def move_socket(self, patch: DevicePatch) -> None:
        if self.is_port_taken:
            raise UdpSocketError("port taken")
        if patch.listen_port is not None:
            self.links.script.append(f"port {patch.listen_port}")

    def change(self, patch: DevicePatch, config: TunnelConfig, identity: LoadedIdentity | None) -> None:
        self.patches.append(patch)
        self.in_force = identity or self.in_force
        self.links.script.append("device")
        self.config = config


class Scene:
    def __init__(self, path: Path, tasks: asyncio.TaskGroup, fails_at: str) -> None:
        self.path = path
        self.write(BASE)
        config = parse_quick(BASE, "wg0.conf")
        self.links = Links(fails_at)
        self.interface = FakeInterface(self.links, config)
        self.time_is_up = asyncio.Event()
        self.slept: list[float] = []
        self.upkeep = Upkeep("wg0", 7, self.links, lambda: self.interface.config)
        self.reload = Reload("wg0", path, config, self.interface, self.links, self.upkeep, tasks, self._sleep)

    def write(self, text: str) -> None:
        self.path.touch(mode=0o600)
        self.path.write_text(text)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.time_is_up.wait()

    @property
    def script(self) -> list[str]:
        return self.links.script


@asynccontextmanager
async def open_scene(directory: Path, fails_at: str = "never") -> AsyncIterator[Scene]:
    async with asyncio.TaskGroup() as tasks:
        yield Scene(directory / "wg0.conf", tasks, fails_at)


DONE = [
    "port 51821",
    "address 10.0.0.2/24",
    "route 10.7.0.0/16 table None",
    "route 10.8.0.0/16 table None",
    "no route 10.9.0.0/16 table None",
    "no address 10.0.0.1/24",
    "address 10.0.0.2/24",
    "route 10.7.0.0/16 table None",
    "route 10.8.0.0/16 table None",
    "link 7 mtu 1300 queue None up None",
    "device",
]


async def test_what_can_be_refused_comes_first_and_the_device_last(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.write(OTHER)
        said = await scene.reload.run(NOW)
    assert scene.script == DONE
    assert f"+ peer {B.public_key.short} 10.8.0.0/16" in said


async def test_nothing_is_done_about_what_stays(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.write(BASE + MORE)
        await scene.reload.run(NOW)
    assert scene.script == ["route 10.8.0.0/16 table None", "device"]
    assert [peer.public_key for peer in scene.interface.patches[0].peers] == [B.public_key]


async def test_the_same_again_is_nothing_to_change(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.write(OTHER)
        await scene.reload.run(NOW)
        assert await scene.reload.run(ReloadRequest(confirm=5)) == ["nothing to change"]
        assert not scene.reload.is_on_trial


async def test_a_dry_run_touches_nothing(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.write(OTHER.replace("MTU", "Table = 7\nMTU"))
        said = await scene.reload.run(ReloadRequest(dry_run=True))
    assert said[0] == "! Table: needs a restart"
    assert "~ port 51820 → 51821" in said
    assert scene.script == []


async def test_a_dry_run_says_what_is_taken(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.links.addresses["10.0.0.2"] = "eth1"
        scene.write(OTHER)
        with pytest.raises(TunnelError, match=r"address 10\.0\.0\.2 is taken by eth1"):
            await scene.reload.run(ReloadRequest(dry_run=True))
        scene.links.addresses.clear()
        assert "~ mtu auto → 1300" in await scene.reload.run(ReloadRequest(dry_run=True))
        assert scene.script == []


UNDONE = {
    "address 10.0.0.2": ["port 51821", "no address 10.0.0.2/24", "port 51820"],
    "route 10.8": [
        *DONE[:3],
        *("no route 10.7.0.0/16 table None", "no route 10.8.0.0/16 table None"),
        *("no address 10.0.0.2/24", "port 51820"),
    ],
    "link": [
        *DONE[:9],
        *("address 10.0.0.1/24", "route 10.9.0.0/16 table None"),
        "route 10.9.0.0/16 table None",
        *("no route 10.7.0.0/16 table None", "no route 10.8.0.0/16 table None"),
        *("no address 10.0.0.2/24", "port 51820"),
    ],
}


@pytest.mark.parametrize("step", UNDONE)
async def test_what_is_refused_half_way_is_undone_in_reverse(tmp_path: Path, step: str) -> None:
    async with open_scene(tmp_path, fails_at=step) as scene:
        scene.write(OTHER)
        with pytest.raises(TunnelError, match=f"refused: {step}"):
            await scene.reload.run(NOW)
        assert scene.script == UNDONE[step]
        assert not scene.interface.patches
        assert scene.reload.config == parse_quick(BASE, "wg0.conf")


async def test_a_refusal_says_that_all_is_as_before(tmp_path: Path) -> None:
    async with open_scene(tmp_path, fails_at="address") as scene:
        scene.write(OTHER)
        with pytest.raises(TunnelError, match="all is as before"):
            await scene.reload.run(NOW)


async def test_what_cannot_be_undone_is_said(tmp_path: Path) -> None:
    async with open_scene(tmp_path, fails_at="link") as scene:
        scene.write(OTHER.replace("MTU = 1300", "MTU = 1400"))
        with pytest.raises(TunnelError, match="not all could be undone: refused: link 7 mtu 1420"):
            await scene.reload.run(NOW)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("[Peer]", "[Pear]", r"wg0\.conf:6: '\[Pear\]': neither"),
        ("ListenPort", "Table = off\nListenPort", "Table: needs a restart"),
        ("10.0.0.1/24", "10.0.0.66/24", "address 10.0.0.66 is taken by eth1"),
    ],
)
async def test_a_file_that_cannot_be_done_changes_nothing(tmp_path: Path, old: str, new: str, why: str) -> None:
    async with open_scene(tmp_path) as scene:
        scene.links.addresses["10.0.0.66"] = "eth1"
        scene.write(BASE.replace(old, new))
        with pytest.raises(TunnelError, match=why):
            await scene.reload.run(NOW)
        assert scene.script == []


async def test_a_port_that_is_taken_changes_nothing(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.interface.is_port_taken = True
        scene.write(OTHER)
        with pytest.raises(TunnelError, match="port taken"):
            await scene.reload.run(NOW)
        assert scene.script == []


async def test_an_identity_that_is_no_good_changes_nothing(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.interface.identity_error = ConfigError("expired", source="me.pem")
        scene.write(OTHER)
        with pytest.raises(ConfigError, match=r"me\.pem: expired"):
            await scene.reload.run(NOW)
        assert scene.script == []


async def test_a_name_that_leads_into_the_tunnel_is_refused(tmp_path: Path) -> None:
    named = BASE + "Endpoint = vpn.example.com:51820\n"
    async with open_scene(tmp_path) as scene:
        scene.write(named)
        await scene.reload.run(NOW)
        scene.interface.names[A.public_key] = Endpoint("192.0.2.1", 51820)
        scene.write(named.replace("10.9.0.0/16", "192.0.2.0/24"))
        with pytest.raises(ConfigError, match="would loop"):
            await scene.reload.run(NOW)


async def test_where_a_peer_was_when_it_was_saved_is_no_difference_later(tmp_path: Path) -> None:
    named = BASE + "Endpoint = 192.0.2.1:5\n"
    async with open_scene(tmp_path) as scene:
        scene.write(named)
        await scene.reload.run(NOW)
        roamed = named.replace("192.0.2.1:5", "192.0.2.7:7")
        await scene.reload.save(parse_quick(roamed, "wg0.conf"))
        scene.interface.config = scene.reload.config
        assert "192.0.2.7:7" in scene.path.read_text()
        assert await scene.reload.run(NOW) == ["nothing to change"]


async def test_a_peer_that_was_added_by_hand_and_saved_gets_its_route(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.interface.config = parse_quick(BASE + MORE, "wg0.conf")
        await scene.reload.save(scene.interface.config)
        assert await scene.reload.run(NOW) == ["+ route 10.8.0.0/16"]


# ---- what others have changed ------------------------------------------------------------------------------------


async def test_what_somebody_took_is_put_back_though_the_file_is_the_same(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.links.lost = {"10.0.0.1/24", "10.9.0.0/16"}
        back = ["+ address 10.0.0.1/24 (was missing)", "+ route 10.9.0.0/16 (was missing)"]
        assert await scene.reload.run(ReloadRequest(dry_run=True)) == back
        assert scene.script == []
        assert await scene.reload.run(ReloadRequest(confirm=60)) == back
        assert not scene.reload.is_on_trial
    assert scene.script == ["address 10.0.0.1/24", "route 10.9.0.0/16 table 254", "device"]


async def test_along_with_what_the_file_changes(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.links.lost = {"10.9.0.0/16", "10.8.0.0/16", "10.0.0.0/24"}
        scene.write(BASE + MORE)
        said = await scene.reload.run(NOW)
    assert said[1:] == ["+ route 10.8.0.0/16", "+ route 10.9.0.0/16 (was missing)", "+ route 10.0.0.0/24 (was missing)"]
    assert scene.script == [
        "route 10.8.0.0/16 table None",
        "route of 10.0.0.1/24",
        "route 10.9.0.0/16 table 254",
        "device",
    ]


async def test_what_the_file_does_not_want_any_more_is_not_put_back(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.links.lost = {"10.9.0.0/16"}
        scene.write(BASE.replace("AllowedIPs = 10.9.0.0/16\n", ""))
        said = await scene.reload.run(NOW)
    assert "- route 10.9.0.0/16" in said
    assert scene.script == ["no route 10.9.0.0/16 table None", "device"]


async def test_where_it_cannot_be_put_back_nothing_else_is_changed_either(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.links.lost = {"10.9.0.0/16"}
        scene.links.routes["10.9.0.0/16 None"] = "eth0"
        scene.write(BASE + MORE)
        with pytest.raises(TunnelError, match=r"there is a route to 10\.9\.0\.0/16 already, by eth0"):
            await scene.reload.run(NOW)
    assert scene.script == []


async def test_what_was_put_back_goes_again_if_the_rest_is_refused(tmp_path: Path) -> None:
    async with open_scene(tmp_path, fails_at="no route 10.8") as scene:
        scene.write(BASE + MORE)
        await scene.reload.run(NOW)
        scene.script.clear()
        scene.links.lost = {"10.9.0.0/16"}
        scene.write(BASE)
        with pytest.raises(TunnelError, match="all is as before"):
            await scene.reload.run(NOW)
    assert scene.script == [
        "route 10.9.0.0/16 table 254",
        "route 10.8.0.0/16 table None",
        "no route 10.9.0.0/16 table 254",
    ]


async def test_while_the_link_is_down_routes_are_left_for_when_it_comes_up(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.upkeep.link_changed(is_up=False)
        scene.links.lost = {"10.9.0.0/16"}
        scene.write(BASE + MORE)
        assert "+ route 10.8.0.0/16" in await scene.reload.run(NOW)
    assert scene.script == ["device"]


# ---- another certificate ------------------------------------------------------------------------------------------


def certificate(address: str) -> LoadedIdentity:
    """With this address of its own."""
    network = Network()
    return enrol(network.host(), found_authority(network), "me", addresses=[address]).membership.identity


async def test_addresses_of_a_new_certificate_come_before_it_is_in_force(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.interface.identity_file = certificate("10.9.0.7")
        assert await scene.reload.run(NOW) == ["+ address 10.9.0.7/32"]
        assert scene.script == ["address 10.9.0.7/32", "device"]
        assert scene.interface.in_force is scene.interface.identity_file


async def test_a_certificate_whose_address_the_kernel_refuses_is_not_in_force(tmp_path: Path) -> None:
    async with open_scene(tmp_path, fails_at="address") as scene:
        scene.interface.identity_file = certificate("10.9.0.7")
        with pytest.raises(TunnelError, match="all is as before"):
            await scene.reload.run(NOW)
        assert scene.interface.in_force is None


async def test_a_dry_run_says_what_a_new_certificate_changes_and_does_not_take_it(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.interface.identity_file = certificate("10.9.0.7")
        assert await scene.reload.run(ReloadRequest(dry_run=True)) == ["+ address 10.9.0.7/32"]
        assert scene.interface.in_force is None
        assert scene.script == []


async def test_a_certificate_that_came_with_a_trial_stays_and_so_do_its_addresses(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.interface.identity_file = certificate("10.9.0.7")
        await on_trial(scene)
        scene.time_is_up.set()
    assert "no address 10.9.0.7/32" not in scene.script
    assert [str(one) for one in scene.interface.config.interface.addresses] == ["10.9.0.7/32", "10.0.0.1/24"]
    assert scene.interface.in_force is scene.interface.identity_file


# ---- on trial -----------------------------------------------------------------------------------------------------


async def on_trial(scene: Scene) -> None:
    scene.write(OTHER)
    await scene.reload.run(ReloadRequest(confirm=60))
    await asyncio.sleep(0)
    assert scene.slept == [60]
    scene.script.clear()


async def test_what_nobody_confirms_goes_back(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        await on_trial(scene)
        scene.time_is_up.set()
    assert scene.interface.config == parse_quick(BASE, "wg0.conf")
    assert scene.script[0] == "port 51820"
    assert "no address 10.0.0.2/24" in scene.script
    assert not scene.reload.is_on_trial


async def test_what_is_confirmed_stays(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        await on_trial(scene)
        scene.reload.confirm()
        scene.time_is_up.set()
    assert scene.script == []
    with pytest.raises(TunnelError, match="nothing waits"):
        scene.reload.confirm()


async def test_a_trial_says_how_long_it_lasts(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.write(BASE + MORE)
        said = await scene.reload.run(ReloadRequest(confirm=60))
        assert said[-1] == "back again in 60 s, unless: tunnel confirm wg0"
        scene.reload.confirm()


async def test_during_a_trial_nothing_else_is_changed_or_saved(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        await on_trial(scene)
        with pytest.raises(TunnelError, match="waits for `tunnel confirm wg0`"):
            await scene.reload.run(NOW)
        with pytest.raises(TunnelError, match="waits for `tunnel confirm wg0`"):
            await scene.reload.save(scene.interface.config)
        assert await scene.reload.run(ReloadRequest(dry_run=True)) == ["nothing to change"]
        scene.reload.confirm()


async def test_going_back_that_fails_is_logged_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene(tmp_path) as scene:
        await on_trial(scene)
        scene.links.fails_at = "address"
        scene.time_is_up.set()
    assert "going back failed: refused: address 10.0.0.1/24; all is as before" in caplog.text
    assert scene.interface.config == parse_quick(OTHER, "wg0.conf")
