"""A configuration and what our certificate says, put together."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from tunnel.config.model import CertificateConfig, InterfaceConfig, PeerConfig, TunnelConfig
from tunnel.errors import ConfigError
from tunnel.keys import NO_PRIVATE_KEY, PrivateKey

KEY = PrivateKey(b"k" * 32)
V4, V6 = ip_address("10.9.0.1"), ip_address("fd09::1")
CONFIGURED = InterfaceConfig(NO_PRIVATE_KEY, certificates=CertificateConfig(Path("/i.pem")))


def identified(interface: InterfaceConfig, *, is_server: bool = False) -> InterfaceConfig:
    return TunnelConfig(interface).identified(KEY, [V4, V6], is_server=is_server).interface


def test_the_private_key_is_that_of_the_identity() -> None:
    config = TunnelConfig(CONFIGURED).identified(KEY, [V4], is_server=False)
    assert config.interface.private_key == config.device_patch().private_key == KEY


def test_each_address_of_the_certificate_is_there_alone() -> None:
    assert identified(CONFIGURED).addresses == (ip_interface("10.9.0.1/32"), ip_interface("fd09::1/128"))


def test_an_address_that_is_configured_keeps_its_prefix_and_comes_before_the_others() -> None:
    others = ip_interface("192.0.2.7/24"), ip_interface("fd09::1/64")
    assert identified(replace(CONFIGURED, addresses=others)).addresses == (
        ip_interface("10.9.0.1/32"),
        ip_interface("fd09::1/64"),
        ip_interface("192.0.2.7/24"),
    )


def test_a_server_listens_where_it_is_dialled_by_default() -> None:
    assert identified(CONFIGURED, is_server=True).listen_port == 51820
    assert identified(CONFIGURED, is_server=False).listen_port == 0


@pytest.mark.parametrize("is_server", [True, False])
def test_a_port_that_was_chosen_stays(is_server: bool) -> None:
    assert identified(replace(CONFIGURED, listen_port=443), is_server=is_server).listen_port == 443


def test_everything_else_stays() -> None:
    peer = PeerConfig(PrivateKey(b"p" * 32).public_key)
    config = TunnelConfig(replace(CONFIGURED, mtu=1380, fwmark=7), (peer,))
    now = config.identified(KEY, [], is_server=False)
    assert now == replace(config, interface=replace(config.interface, private_key=KEY))


def test_our_own_key_as_a_peer_is_refused() -> None:
    config = TunnelConfig(CONFIGURED, (PeerConfig(KEY.public_key),))
    with pytest.raises(ConfigError) as refusal:
        config.identified(KEY, [V4], is_server=False)
    assert str(refusal.value) == f"PublicKey: '{KEY.public_key}': our identity's own; we cannot be our own peer"


def test_an_ipv6_address_on_an_mtu_too_small_for_ipv6_is_refused() -> None:
    config = TunnelConfig(replace(CONFIGURED, mtu=1279))
    assert config.identified(KEY, [V4], is_server=False).interface.mtu == 1279
    with pytest.raises(ConfigError) as refusal:
        config.identified(KEY, [V4, V6], is_server=False)
    assert str(refusal.value) == "MTU: '1279': our certificate's IPv6 address needs at least 1280"
