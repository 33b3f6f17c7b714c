"""wg-quick files: text -> `TunnelConfig` -> text (wg-quick(8), and CONFIGURATION FILE FORMAT in wg(8)).

    text ─ quick_sections ─▶ sections of settings ─ values ─▶ settings of the model ─ here ─▶ TunnelConfig, checked

We read what wg-quick reads, and refuse in one line that says where and why what it would misread in silence: a setting
given twice, a peer given twice, an allowed IP that two peers claim (the last one got it), our own key as a peer
(ignored), an endpoint inside the tunnel (a loop). ``DNS`` and default routes are refused with what to do instead,
because half of what wg-quick does about them (resolvconf, policy rules, a firewall) would be worse than nothing.

``Offload``, ``Extensions`` and what `quick_certificates` reads are our own; wg-quick refuses a file with them, so we
write them only if need be.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tunnel.config.hairpin import hairpins
from tunnel.config.model import (
    MIN_IPV6_MTU,
    Hooks,
    InterfaceConfig,
    IPInterface,
    Offload,
    PeerConfig,
    RouteTable,
    TunnelConfig,
)
from tunnel.config.patch import IPNetwork
from tunnel.config.quick_certificates import format_certificates, read_certificates
from tunnel.config.quick_sections import HOOKS, Section, decode_quick, quote, read_sections
from tunnel.config.values import (
    parse_endpoint_name,
    parse_extensions,
    parse_fwmark,
    parse_identity,
    parse_keepalive,
    parse_listed_network,
    parse_mtu,
    parse_offload,
    parse_port,
    parse_prefix,
    parse_table,
    parse_truth,
)
from tunnel.errors import ConfigError
from tunnel.keys import NO_PRESHARED_KEY, NO_PRIVATE_KEY, PresharedKey, PrivateKey, PublicKey

__all__ = ["decode_quick", "format_quick", "is_world_accessible", "parse_quick"]


def parse_quick(text: str, source: str) -> TunnelConfig:
    """Read a whole file; `source` is its path, for errors and for relative paths in it.

    Raise `ConfigError` and nothing else, whatever the text.
    """
    sections = read_sections(text, source)
    interface_section = _only_interface(sections, source)
    peer_sections = [section for section in sections if section.name == "Peer"]
    interface = _read_interface(interface_section)
    peers = tuple(_read_peer(section) for section in peer_sections)
    config = TunnelConfig(interface, peers)
    _check_peer_keys(config, peer_sections)
    _check_networks(config, interface_section, peer_sections)
    _check_hairpins(config, peer_sections)
    return config


def is_world_accessible(file_mode: int, directory_mode: int) -> bool:
    """Whether a file with these modes shows its private key to, or takes it from, every user of the host."""
    return bool(file_mode & 0o006) and bool(directory_mode & 0o001)


# ---- reading ----------------------------------------------------------------------------------------------------


def _only_interface(sections: Sequence[Section], source: str) -> Section:
    interfaces = [section for section in sections if section.name == "Interface"]
    if not interfaces:
        raise ConfigError("no [Interface] section", source=source)
    for first, second in pairwise(interfaces):
        raise second.error(f"a second [Interface]; the first is on line {first.line}")
    return interfaces[0]


def _read_interface(section: Section) -> InterfaceConfig:
    _refuse_dns(section)
    certificates = read_certificates(section)
    interface = InterfaceConfig(
        private_key=section.scalar("PrivateKey", parse_identity(PrivateKey.from_base64), NO_PRIVATE_KEY),
        listen_port=section.scalar("ListenPort", parse_port, 0),
        fwmark=section.scalar("FwMark", parse_fwmark, 0),
        addresses=tuple(_read_addresses(section)),
        mtu=section.scalar("MTU", parse_mtu, None),
        table=section.scalar("Table", parse_table, parse_table("auto")),
        offload=section.scalar("Offload", parse_offload, Offload.AUTO),
        extensions=section.scalar("Extensions", parse_extensions, True),
        save_config=section.scalar("SaveConfig", parse_truth, False),
        hooks=Hooks(*(section.lines(key) for key in HOOKS)),
        certificates=certificates,
    )
    if interface.certificates and interface.save_config:
        raise section.error("'true': not with Identity, as it would write down what certificates say", "SaveConfig")
    if any(address.version == 6 for address in interface.addresses):
        _check_ipv6_mtu(interface, section)
    return interface


def _refuse_dns(section: Section) -> None:
    for value in section.lines("DNS"):
        why = f"{quote(value)}: not supported; call your resolver in a hook, as in PostUp = resolvectl dns %i ADDRESS"
        raise section.error(why, "DNS")


def _read_addresses(section: Section) -> Iterator[IPInterface]:
    lines: dict[IPInterface, int] = {}
    for address, line in section.items("Address", parse_prefix, by_space=True):
        if address in lines:
            raise section.error(f"{quote(str(address))}: on line {lines[address]} already", "Address", line)
        lines[address] = line
        yield address


def _read_peer(section: Section) -> PeerConfig:
    """One peer for itself; a network that it lists twice counts once."""
    return PeerConfig(
        public_key=section.required("PublicKey", parse_identity(PublicKey.from_base64)),
        preshared_key=section.scalar("PresharedKey", PresharedKey.from_base64, NO_PRESHARED_KEY),
        endpoint=section.scalar("Endpoint", parse_endpoint_name, None),
        persistent_keepalive=section.scalar("PersistentKeepalive", parse_keepalive, 0),
        allowed_ips=tuple(dict.fromkeys(network for network, _ in section.items("AllowedIPs", parse_listed_network))),
    )


# ---- what only shows when all is read -----------------------------------------------------------------------------


def _check_peer_keys(config: TunnelConfig, sections: Sequence[Section]) -> None:
    private_key = config.interface.private_key
    own = None if private_key.is_zero else private_key.public_key
    lines: dict[PublicKey, int] = {}
    for peer, section in zip(config.peers, sections, strict=True):
        quoted = f"'{peer.public_key}'"
        if peer.public_key == own:
            raise section.error(f"{quoted}: our own public key; we cannot be our own peer", "PublicKey")
        if peer.public_key in lines:
            raise section.error(f"{quoted}: a peer on line {lines[peer.public_key]} already", "PublicKey")
        lines[peer.public_key] = section.line_of("PublicKey")


def _check_networks(config: TunnelConfig, interface: Section, sections: Sequence[Section]) -> None:
    """Every allowed IP belongs to one peer, and can be routed."""
    owners: dict[IPNetwork, tuple[Section, int]] = {}
    for section in sections:
        for network, line in section.items("AllowedIPs", parse_listed_network):
            owner, owner_line = owners.setdefault(network, (section, line))
            if owner is not section:
                why = f"{quote(str(network))}: belongs to the peer of line {owner.line} already (line {owner_line})"
                raise section.error(why, "AllowedIPs", line)
            if config.interface.is_table_consulted and network.prefixlen == 0:
                why = "a default route needs Table = off, or a table's number, and routes and rules of your own"
                raise section.error(f"{quote(str(network))}: {why}", "AllowedIPs", line)
            if config.interface.table is not RouteTable.OFF and network.version == 6:
                _check_ipv6_mtu(config.interface, interface)


def _check_ipv6_mtu(interface: InterfaceConfig, section: Section) -> None:
    if interface.mtu is not None and interface.mtu < MIN_IPV6_MTU:
        raise section.error(f"'{interface.mtu}': IPv6 addresses and routes need at least {MIN_IPV6_MTU}", "MTU")


def _check_hairpins(config: TunnelConfig, sections: Sequence[Section]) -> None:
    """Numeric endpoints only; whoever resolves names asks `hairpins` again."""
    section_by_key = {peer.public_key: section for peer, section in zip(config.peers, sections, strict=True)}
    numeric = {peer.public_key: peer.endpoint.numeric() for peer in config.peers if peer.endpoint}
    for hairpin in hairpins(config, {peer: endpoint for peer, endpoint in numeric.items() if endpoint}):
        section = section_by_key[hairpin.peer]
        raise section.error(f"{quote(str(hairpin.endpoint))}: {hairpin}", "Endpoint")


# ---- writing ----------------------------------------------------------------------------------------------------


def format_quick(config: TunnelConfig) -> str:
    """A file that `parse_quick` reads back as `config`; without settings of our own wg-quick reads the same thing.

    Raise `ConfigError` for a hook, a path or a pattern that no file can hold: one with ``#``, a newline, or white space
    around it.
    """
    return (
        "\n\n".join(
            "\n".join(lines) for lines in [_format_interface(config.interface), *map(_format_peer, config.peers)]
        )
        + "\n"
    )


def _format_interface(interface: InterfaceConfig) -> list[str]:
    lines = ["[Interface]"]
    if interface.certificates:
        lines += format_certificates(interface.certificates)
    else:
        lines.append(f"PrivateKey = {interface.private_key.to_base64()}")
    lines += [f"Address = {address}" for address in interface.addresses]
    if interface.listen_port:
        lines.append(f"ListenPort = {interface.listen_port}")
    if interface.fwmark:
        lines.append(f"FwMark = {interface.fwmark:#x}")
    if interface.mtu is not None:
        lines.append(f"MTU = {interface.mtu}")
    if interface.table is not RouteTable.AUTO:
        lines.append(f"Table = {interface.table.value if isinstance(interface.table, RouteTable) else interface.table}")
    if interface.offload is not Offload.AUTO:
        lines.append(f"Offload = {interface.offload.value}")
    if not interface.extensions:
        lines.append("Extensions = off")
    if interface.save_config:
        lines.append("SaveConfig = true")
    return lines + list(_format_hooks(interface.hooks))


def _format_hooks(hooks: Hooks) -> Iterator[str]:
    for key, commands in zip(HOOKS, (hooks.pre_up, hooks.post_up, hooks.pre_down, hooks.post_down), strict=True):
        for command in commands:
            (section,) = read_sections(f"[Interface]\n{key} = {command.replace(chr(10), '#')}", "")
            if section.lines(key) != (command,):
                raise ConfigError("a hook with '#', a line break or white space around it cannot be written", key=key)
            yield f"{key} = {command}"


def _format_peer(peer: PeerConfig) -> list[str]:
    lines = ["[Peer]", f"PublicKey = {peer.public_key.to_base64()}"]
    if not peer.preshared_key.is_zero:
        lines.append(f"PresharedKey = {peer.preshared_key.to_base64()}")
    if peer.allowed_ips:
        lines.append(f"AllowedIPs = {', '.join(map(str, peer.allowed_ips))}")
    if peer.endpoint:
        lines.append(f"Endpoint = {peer.endpoint}")
    if peer.persistent_keepalive:
        lines.append(f"PersistentKeepalive = {peer.persistent_keepalive}")
    return lines
