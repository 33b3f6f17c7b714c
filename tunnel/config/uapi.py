"""The text protocol that wg(8) speaks with userspace implementations, without its socket.

https://www.wireguard.com/xplatform/ defines it: ``key=value`` lines, keys of ours first, then those of a peer after
each ``public_key``, a blank line at the end; keys in hexadecimal, numbers in decimal, no names.

    set=1\\n private_key=… public_key=… allowed_ip=… \\n\\n ──▶ parse_set ──▶ DevicePatch      ──▶ errno=N\\n\\n
    get=1\\n\\n                        DeviceSnapshot ──▶ format_get ──▶ private_key=… public_key=… errno=N\\n\\n

A ``set`` is all or nothing here: it is parsed whole before anything changes. (wireguard-go applies line by line, and
keeps what came before a bad one.) The errno values are those of wireguard-go.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from errno import EINVAL, EPROTO

from tunnel.config.patch import MAX_PERSISTENT_KEEPALIVE, AllowedIPChange, DevicePatch, IPNetwork, PeerPatch
from tunnel.config.snapshot import DeviceSnapshot, PeerSnapshot
from tunnel.config.values import MAX_FWMARK, MAX_PORT, parse_network, parse_number
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.errors import TunnelError
from tunnel.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey

NANOSECONDS = 1_000_000_000
MAX_COUNTER = 2**64 - 1
MAX_SECONDS = 2**63 - 1

ZoneIndex = Callable[[str], int]
"""The interface index of an IPv6 zone. wg(8) writes zones as names; `socket.if_nametoindex` knows them."""


class UapiError(TunnelError):
    """A request that cannot be granted, or an answer that says so. `errno` is positive."""

    def __init__(self, errno: int, why: str) -> None:
        super().__init__(why)
        self.errno = errno


class Operation(Enum):
    """The first line of a request."""

    GET = "get=1"
    SET = "set=1"


def format_errno(operation: Operation, errno: int = 0) -> str:
    """The last lines of an answer, for a positive `errno` or 0.

    wg(8) negates what a ``get`` answers and accepts digits only; of a ``set`` it takes the value as it is, and means
    that kernel habit in which errors are negative.
    """
    return f"errno={errno if operation is Operation.GET else -errno}\n\n"


# ---- set ----------------------------------------------------------------------------------------------------------


def parse_set(text: str, zone_index: ZoneIndex | None = None) -> DevicePatch:
    """What follows ``set=1``, up to the first blank line or the end.

    Raise `UapiError` and nothing else, whatever the text: EPROTO for a line without ``=``, EINVAL for an unknown or
    misplaced key and a bad value. `zone_index` may raise `OSError`.
    """
    device = _DeviceDraft()
    draft: _DeviceDraft | _PeerDraft = device
    for number, key, value in _lines(text):
        try:
            if key == "public_key":
                draft = _PeerDraft(PublicKey.from_hex(value), zone_index)
                device.peers.append(draft)
            else:
                draft.set(key, value)
        except (ValueError, OSError) as error:
            raise UapiError(EINVAL, f"set: line {number}: {_shown(key)}: {error}") from None
    return device.patch()


@dataclass(slots=True)
class _DeviceDraft:
    """The device's part of a patch while it is read; the last of repeated values counts."""

    private_key: PrivateKey | None = None
    listen_port: int | None = None
    fwmark: int | None = None
    replace_peers: bool = False
    peers: list["_PeerDraft"] = field(default_factory=list)

    def set(self, key: str, value: str) -> None:
        match key:
            case "private_key":
                self.private_key = PrivateKey.from_hex(value)
            case "listen_port":
                self.listen_port = parse_number(value, 0, MAX_PORT)
            case "fwmark":
                self.fwmark = parse_number(value, 0, MAX_FWMARK)
            case "replace_peers":
                self.replace_peers = _parse_true(value)
            case _:
                raise ValueError("not a key of a device")

    def patch(self) -> DevicePatch:
        peers = tuple(peer.patch() for peer in self.peers)
        return DevicePatch(self.private_key, self.listen_port, self.fwmark, self.replace_peers, peers)


@dataclass(slots=True)
class _PeerDraft:
    """One peer's part. As in the kernel, ``remove`` and ``update_only`` hold for the peer wherever they stand in it."""

    public_key: PublicKey
    zone_index: ZoneIndex | None
    remove: bool = False
    update_only: bool = False
    preshared_key: PresharedKey | None = None
    endpoint: Endpoint | None = None
    persistent_keepalive: int | None = None
    replace_allowed_ips: bool = False
    allowed_ips: list[AllowedIPChange] = field(default_factory=list)
    replaced: int = 0

    def set(self, key: str, value: str) -> None:
        match key:
            case "remove":
                self.remove = _parse_true(value)
            case "update_only":
                self.update_only = _parse_true(value)
            case "preshared_key":
                self.preshared_key = PresharedKey.from_hex(value)
            case "endpoint":
                self.endpoint = _parse_endpoint(value, self.zone_index)
            case "persistent_keepalive_interval":
                self.persistent_keepalive = parse_number(value, 0, MAX_PERSISTENT_KEEPALIVE)
            case "replace_allowed_ips":
                self.replace_allowed_ips = _parse_true(value)
                self._drop_allowed_ips()
            case "allowed_ip":
                self.allowed_ips.append(_parse_allowed_ip_change(value))
            case "protocol_version":
                if value != "1":
                    raise ValueError("only version 1 is known")
            case _:
                raise ValueError("not a key of a peer")

    def _drop_allowed_ips(self) -> None:
        """Undo the changes so far, by further ones: a network taken from another peer is not given back to it."""
        added = [change.network for change in self.allowed_ips[self.replaced :] if not change.remove]
        self.allowed_ips += [AllowedIPChange(network, remove=True) for network in added]
        self.replaced = len(self.allowed_ips)

    def patch(self) -> PeerPatch:
        return PeerPatch(
            public_key=self.public_key,
            remove=self.remove,
            update_only=self.update_only,
            preshared_key=self.preshared_key,
            endpoint=self.endpoint,
            persistent_keepalive=self.persistent_keepalive,
            replace_allowed_ips=self.replace_allowed_ips,
            allowed_ips=tuple(self.allowed_ips),
        )


# ---- get ----------------------------------------------------------------------------------------------------------


def format_get(snapshot: DeviceSnapshot) -> str:
    """The answer to ``get`` without its errno, keys in wireguard-go's order; zero values of the device are left out."""
    return "".join(f"{key}={value}\n" for key, value in _get_lines(snapshot))


def _get_lines(snapshot: DeviceSnapshot) -> Iterator[tuple[str, object]]:
    if snapshot.private_key is not None and not snapshot.private_key.is_zero:
        yield "private_key", snapshot.private_key.to_hex()
    if snapshot.listen_port:
        yield "listen_port", snapshot.listen_port
    if snapshot.fwmark:
        yield "fwmark", snapshot.fwmark
    for peer in snapshot.peers:
        yield from _get_peer_lines(peer)


def _get_peer_lines(peer: PeerSnapshot) -> Iterator[tuple[str, object]]:
    seconds, nanoseconds = _split_time(peer.last_handshake)
    yield "public_key", peer.public_key.to_hex()
    yield "preshared_key", peer.preshared_key.to_hex()
    yield "protocol_version", 1
    if peer.endpoint is not None:
        yield "endpoint", peer.endpoint
    yield "last_handshake_time_sec", seconds
    yield "last_handshake_time_nsec", nanoseconds
    yield "tx_bytes", peer.tx_bytes
    yield "rx_bytes", peer.rx_bytes
    yield "persistent_keepalive_interval", peer.persistent_keepalive
    for network in peer.allowed_ips:
        yield "allowed_ip", network


def parse_get(text: str, zone_index: ZoneIndex | None = None) -> DeviceSnapshot:
    """The answer to ``get``, from us or any other implementation; keys that we do not know are passed over.

    Drop counters do not travel this way. Raise `UapiError`: the errno that was answered, or EPROTO for a bad answer.
    """
    device: dict[str, str] = {}
    peers: list[_PeerAnswer] = []
    for _, key, value in _lines(text):
        if key == "public_key":
            peers.append(_PeerAnswer({key: value}))
        elif key == "errno":
            _check_errno(value)
        elif not peers:
            device[key] = value
        elif key == "allowed_ip":
            peers[-1].allowed_ips.append(value)
        else:
            peers[-1].fields[key] = value
    try:
        return DeviceSnapshot(
            private_key=PrivateKey.from_hex(device["private_key"]) if "private_key" in device else None,
            listen_port=parse_number(device.get("listen_port", "0"), 0, MAX_PORT),
            fwmark=parse_number(device.get("fwmark", "0"), 0, MAX_FWMARK),
            peers=tuple(peer.snapshot(zone_index) for peer in peers),
            drops={},
        )
    except (ValueError, OSError) as error:
        raise UapiError(EPROTO, f"get: {error}") from None


@dataclass(slots=True)
class _PeerAnswer:
    """The lines about one peer; only ``allowed_ip`` comes more than once."""

    fields: dict[str, str]
    allowed_ips: list[str] = field(default_factory=list)

    def snapshot(self, zone_index: ZoneIndex | None) -> PeerSnapshot:
        psk, endpoint = self.fields.get("preshared_key"), self.fields.get("endpoint")
        seconds = self._number("last_handshake_time_sec", MAX_SECONDS)
        nanoseconds = self._number("last_handshake_time_nsec", NANOSECONDS - 1)
        return PeerSnapshot(
            public_key=PublicKey.from_hex(self.fields["public_key"]),
            preshared_key=NO_PRESHARED_KEY if psk is None else PresharedKey.from_hex(psk),
            endpoint=None if endpoint is None else _parse_endpoint(endpoint, zone_index),
            allowed_ips=tuple(_parse_allowed_ip(network) for network in self.allowed_ips),
            persistent_keepalive=self._number("persistent_keepalive_interval", MAX_PERSISTENT_KEEPALIVE),
            last_handshake=seconds + nanoseconds / NANOSECONDS,
            rx_bytes=self._number("rx_bytes", MAX_COUNTER),
            tx_bytes=self._number("tx_bytes", MAX_COUNTER),
        )

    def _number(self, key: str, high: int) -> int:
        return parse_number(self.fields.get(key, "0"), 0, high)


# ---- lines and values ---------------------------------------------------------------------------------------------


def _lines(text: str) -> Iterable[tuple[int, str, str]]:
    """(number, key, value) up to the first blank line. Raise `UapiError` for a line without ``=``."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            return
        key, equals, value = line.partition("=")
        if not equals:
            raise UapiError(EPROTO, f"line {number}: no '='")
        yield number, key, value


def _shown(key: str) -> str:
    """A key for an error's text, unless it does not look like one: it may be a secret or control characters."""
    return key if key.isascii() and key.isidentifier() and len(key) <= 32 else "unreadable key"


def _check_errno(value: str) -> None:
    """wireguard-go answers a ``get`` with a negative errno too, whatever wg(8) makes of it."""
    try:
        errno = parse_number(value.removeprefix("-"), 0, 2**31 - 1)
    except ValueError as error:
        raise UapiError(EPROTO, f"get: errno: {error}") from None
    if errno:
        raise UapiError(errno, f"get: answered with errno {errno}")


def _split_time(time: float) -> tuple[int, int]:
    """Seconds since 1970, never negative, as whole seconds and nanoseconds."""
    return divmod(max(0, round(time % 1 * NANOSECONDS) + int(time // 1) * NANOSECONDS), NANOSECONDS)


def _parse_true(value: str) -> bool:
    if value != "true":
        raise ValueError("only 'true' is allowed")
    return True


def _parse_endpoint(value: str, zone_index: ZoneIndex | None) -> Endpoint:
    """``192.0.2.1:51820``, ``[fe80::1%3]:51820`` or, if `zone_index` knows it, ``[fe80::1%eth0]:51820``."""
    name = EndpointName.parse(value)
    host, percent, zone = name.host.partition("%")
    if percent and zone_index is not None and not zone.isdigit():
        return Endpoint.create(host, name.port, zone_index(zone))
    return Endpoint.create(name.host, name.port)


def _parse_allowed_ip(value: str) -> IPNetwork:
    if "/" not in value:
        raise ValueError("no prefix length")
    return parse_network(value)


def _parse_allowed_ip_change(value: str) -> AllowedIPChange:
    """A network to add, with or without ``+``, or after ``-`` one to take away (wg(8) of 2025)."""
    if value[:1] in ("+", "-"):
        return AllowedIPChange(_parse_allowed_ip(value[1:]), remove=value[0] == "-")
    return AllowedIPChange(_parse_allowed_ip(value))
