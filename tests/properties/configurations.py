"""Hypothesis strategies for configurations, patches and snapshots."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface
from pathlib import Path

from hypothesis import strategies as st

from tunnel.config.model import (
    CertificateConfig,
    Hooks,
    InterfaceConfig,
    IPInterface,
    Offload,
    PeerConfig,
    RouteTable,
    TunnelConfig,
)
from tunnel.config.patch import AllowedIPChange, DevicePatch, IPNetwork, PeerPatch
from tunnel.config.snapshot import DeviceSnapshot, PeerSnapshot
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.keys import NO_PRIVATE_KEY, PresharedKey, PrivateKey, PublicKey

raw_keys = st.binary(min_size=32, max_size=32)
nonzero_raw_keys = raw_keys.filter(any)
public_keys = st.builds(PublicKey, raw_keys)
nonzero_public_keys = st.builds(PublicKey, nonzero_raw_keys)
private_keys = st.builds(PrivateKey, nonzero_raw_keys)
preshared_keys = st.builds(PresharedKey, raw_keys)
ports = st.integers(1, 65535)
marks = st.integers(0, 2**32 - 1)
keepalives = st.integers(0, 65535)
host_names = st.from_regex(r"[a-z][a-z0-9-]{0,10}(\.[a-z][a-z0-9-]{0,10}){0,3}", fullmatch=True)


def networks(shortest: int = 0) -> st.SearchStrategy[IPNetwork]:
    """IPv4 and IPv6, with prefixes from `shortest` on."""
    v4 = st.builds(lambda a, n: IPv4Network((a, n), strict=False), st.integers(0, 2**32 - 1), st.integers(shortest, 32))
    v6 = st.builds(
        lambda a, n: IPv6Network((a, n), strict=False), st.integers(0, 2**128 - 1), st.integers(shortest, 128)
    )
    return v4 | v6


def _endpoint(address: IPv4Address | IPv6Address, port: int, scope_id: int) -> Endpoint:
    return Endpoint.create(str(address), port, scope_id if address.is_link_local and address.version == 6 else 0)


endpoints = st.builds(_endpoint, st.ip_addresses(), ports, st.integers(0, 2**32 - 1))
endpoint_names = st.builds(EndpointName, host_names | st.ip_addresses().map(str), ports)
interfaces: st.SearchStrategy[IPInterface] = st.builds(
    lambda address, host_bits: (
        ip_interface((int(address), max(0, address.max_prefixlen - host_bits)))
        if address.version == 4
        else ip_interface((address.packed, address.max_prefixlen - host_bits))
    ),
    st.ip_addresses(),
    st.integers(0, 128),
)

# What a line can hold: no comment, no line break, and white space only inside.
commands = st.text("ab=,;%i\"'$()[]é\x1c\x85\u2028 \t\v", min_size=1, max_size=20).filter(
    lambda command: command == command.strip(" \t\v\f\r")
)
hooks = st.builds(Hooks, *[st.lists(commands, max_size=3).map(tuple)] * 4)

# What an item of a list can be: as above, and no comma.
listed = st.text("abZ0=;*?[]!@%$'\"()é中. -", min_size=1, max_size=20).filter(lambda text: text == text.strip())
paths = st.lists(listed | st.just(".."), min_size=1, max_size=3).map(lambda parts: Path("/", *parts))
dialled = st.builds(
    EndpointName,
    host_names | st.builds(lambda address: Endpoint.create(str(address), 0).host, st.ip_addresses()),
    ports,
)
certificates = st.builds(
    CertificateConfig,
    identity=paths | st.just(Path("/etc/a, b.pem")),
    authorities=st.lists(paths, max_size=3, unique=True).map(tuple),
    crls=st.lists(paths, max_size=3, unique=True).map(tuple),
    peers=st.lists(dialled, max_size=3, unique=True).map(tuple),
    allow=st.lists(listed, max_size=3, unique=True).map(tuple),
    max_peers=st.integers(1, 100_000),
)


@st.composite
def tunnel_configs(draw: st.DrawFn) -> TunnelConfig:
    """Valid ones: each network has one owner, and a mark or a table of its own makes any endpoint and route right."""
    identity = draw(st.none() | certificates)
    interface = InterfaceConfig(
        private_key=NO_PRIVATE_KEY if identity else draw(private_keys),
        listen_port=draw(st.just(0) | ports),
        fwmark=draw(marks),
        addresses=tuple(draw(st.lists(interfaces, max_size=4, unique=True))),
        mtu=draw(st.none() | st.integers(1280, 65475)),
        table=draw(st.just(RouteTable.OFF) | st.integers(1, 252)),
        offload=draw(st.sampled_from(Offload)),
        extensions=draw(st.booleans()),
        save_config=not identity and draw(st.booleans()),
        hooks=draw(hooks),
        certificates=identity,
    )
    keys = draw(st.lists(nonzero_public_keys, max_size=4, unique=True))
    free = draw(st.lists(networks(), max_size=12, unique=True))
    return TunnelConfig(
        interface,
        tuple(
            PeerConfig(
                public_key=key,
                preshared_key=draw(preshared_keys),
                endpoint=draw(st.none() | endpoint_names),
                persistent_keepalive=draw(keepalives),
                allowed_ips=tuple(free[number :: len(keys)]),
            )
            for number, key in enumerate(keys)
            if key != interface.private_key.public_key
        ),
    )


peer_patches = st.builds(
    PeerPatch,
    public_key=public_keys,
    remove=st.booleans(),
    update_only=st.booleans(),
    preshared_key=st.none() | preshared_keys,
    endpoint=st.none() | endpoints,
    persistent_keepalive=st.none() | keepalives,
    replace_allowed_ips=st.booleans(),
    allowed_ips=st.lists(st.builds(AllowedIPChange, networks(), st.booleans()), max_size=5).map(tuple),
)
device_patches = st.builds(
    DevicePatch,
    private_key=st.none() | private_keys,
    listen_port=st.none() | st.integers(0, 65535),
    fwmark=st.none() | marks,
    replace_peers=st.booleans(),
    peers=st.lists(peer_patches, max_size=4).map(tuple),
)

# Times since 2000: a float then has less resolution than a nanosecond, so that nothing is lost on the way.
handshake_times = st.just(0.0) | st.floats(946_684_800, 2**33)
counters = st.integers(0, 2**64 - 1)
peer_snapshots = st.builds(
    PeerSnapshot,
    public_key=public_keys,
    preshared_key=preshared_keys,
    endpoint=st.none() | endpoints,
    allowed_ips=st.lists(networks(), max_size=5).map(tuple),
    persistent_keepalive=keepalives,
    last_handshake=handshake_times,
    rx_bytes=counters,
    tx_bytes=counters,
    drops=st.none(),
)
device_snapshots = st.builds(
    DeviceSnapshot,
    private_key=st.none() | private_keys,
    listen_port=st.integers(0, 65535),
    fwmark=marks,
    peers=st.lists(peer_snapshots, max_size=4).map(tuple),
    drops=st.just({}),
)
